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
    """The settings of queries; see `NomicEmbeddingFunction`."""

    task_type: str


class NomicEmbeddingFunction(VendorEmbeddingFunction[Documents]):
    """Embeds texts with a Nomic model."""

    endpoint: ClassVar[str] = "https://api-atlas.nomic.ai/v1/embedding/text"
    batch_size: ClassVar[int] = 50  # as in Nomic's own package
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
        """Choose the model and the purpose of the embeddings.

        Args:
            model: The model.
            task_type: The purpose: ``search_document``, ``search_query``, ``classification`` or
                ``clustering``.
            query_config: The settings of queries, such as ``{"task_type": "search_query"}``.
                `None` means that queries are embedded like documents.
            api_key_env_var: The environment variable of the key.

        Raises:
            ValueError: The key is missing.
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
