"""Voyage AI's embeddings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from pgchroma.embeddings.calls.batched import Purpose
from pgchroma.embeddings.keys import ApiKey
from pgchroma.embeddings.protocol import Documents
from pgchroma.embeddings.providers.openai import OpenAIProtocolFunction

__all__ = ("VoyageAIEmbeddingFunction",)


class VoyageAIEmbeddingFunction(OpenAIProtocolFunction[Documents]):
    """Embeds texts with a Voyage AI model."""

    endpoint: ClassVar[str] = "https://api.voyageai.com/v1/embeddings"
    batch_size: ClassVar[int] = 128  # the most that older models take
    max_batch_bytes: ClassVar[int | None] = 300_000  # 120,000 tokens are the most of large models
    vendor_env_var: ClassVar[str | None] = "VOYAGE_API_KEY"
    dimensions_of: ClassVar[Mapping[str, int]] = {
        "voyage-large-2": 1536,
        "voyage-large-2-instruct": 1024,
        "voyage-2": 1024,
        "voyage-code-2": 1536,
        "voyage-law-2": 1024,
        "voyage-finance-2": 1024,
        "voyage-multilingual-2": 1024,
        "voyage-3": 1024,
        "voyage-3-lite": 512,
        "voyage-3-large": 1024,
        "voyage-code-3": 1024,
        "voyage-3.5": 1024,
        "voyage-3.5-lite": 1024,
    }

    def __init__(
        self,
        api_key: str | None = None,
        model_name: str = "voyage-large-2",
        api_key_env_var: str = "CHROMA_VOYAGE_API_KEY",
        input_type: str | None = None,
        truncation: bool = True,
    ) -> None:
        """Choose the model, and how it embeds.

        Args:
            api_key: The key. Prefer the environment variable, which reopened collections can use.
            model_name: The model.
            api_key_env_var: The environment variable of the key. ``VOYAGE_API_KEY`` takes
                precedence.
            input_type: ``document`` or ``query``, for documents and queries alike. `None` means
                neither, which is suitable for both.
            truncation: Whether a text that is too long is truncated. Otherwise it is an error.

        Raises:
            ValueError: The key is missing.
        """
        self._key = ApiKey(api_key, api_key_env_var, self.vendor_env_var)
        self.model_name = model_name
        self.input_type = input_type
        self.truncation = truncation

    def _body(self, batch: list[Any], purpose: Purpose) -> dict[str, Any]:
        return {
            **super()._body(batch, purpose),
            "input_type": self.input_type,
            "truncation": self.truncation,
            "encoding_format": "base64",
        }

    @staticmethod
    def name() -> str:
        """Return the name in the registry."""
        return "voyageai"
