"""Nomic's embeddings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, TypedDict

from pgchroma.embeddings.calls.batched import Purpose
from pgchroma.embeddings.keys import ApiKey
from pgchroma.embeddings.protocol import Documents
from pgchroma.embeddings.providers.http import VendorEmbeddingFunction

__all__ = ("NomicEmbeddingFunction", "NomicQueryConfig")


class NomicQueryConfig(TypedDict):
    """What is different for queries; see `NomicEmbeddingFunction`."""

    task_type: str


class NomicEmbeddingFunction(VendorEmbeddingFunction[Documents]):
    """Embeds texts with a model of Nomic's."""

    endpoint: ClassVar[str] = "https://api-atlas.nomic.ai/v1/embedding/text"
    batch_size: ClassVar[int] = 50  # as Nomic's own package sends
    model_parameter: ClassVar[str | None] = "model"
    created_model: ClassVar[str | None] = "nomic-embed-text-v1.5"
    dimensions_of: ClassVar[Mapping[str, int]] = {
        "nomic-embed-text-v1": 768,
        "nomic-embed-text-v1.5": 768,
    }

    def __init__(
        self,
        model: str,
        task_type: str,
        query_config: Mapping[str, Any] | None,
        api_key_env_var: str = "NOMIC_API_KEY",
    ) -> None:
        """Choose the model, and what it embeds for.

        Args:
            model: The model.
            task_type: What stored texts are embedded for: ``search_document``, ``search_query``,
                ``classification`` or ``clustering``.
            query_config: The same for queries, such as ``{"task_type": "search_query"}``; None if
                they are embedded as what is stored.
            api_key_env_var: The environment variable that has the key.

        Raises:
            ValueError: There is no key.
        """
        self._key = ApiKey(None, api_key_env_var)
        self.model = model
        self.task_type = task_type
        self.query_config = query_config

    def _body(self, batch: list[Any], purpose: Purpose) -> dict[str, Any]:
        task_type = self.task_type
        if purpose == "query" and self.query_config:
            task_type = self.query_config.get("task_type", task_type)
        return {"model": self.model, "texts": batch, "task_type": task_type}

    @staticmethod
    def name() -> str:
        """Return the name in the registry."""
        return "nomic"
