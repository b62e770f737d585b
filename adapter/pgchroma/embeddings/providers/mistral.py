"""Mistral's embeddings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from pgchroma.embeddings.keys import ApiKey
from pgchroma.embeddings.protocol import Documents
from pgchroma.embeddings.providers.openai import OpenAIProtocolFunction

__all__ = ("MistralEmbeddingFunction",)


class MistralEmbeddingFunction(OpenAIProtocolFunction[Documents]):
    """Embeds texts with a Mistral model."""

    endpoint: ClassVar[str] = "https://api.mistral.ai/v1/embeddings"
    batch_size: ClassVar[int] = 128
    max_batch_bytes: ClassVar[int | None] = 40_000  # 16,384 tokens are the most of a request
    model_parameter: ClassVar[str | None] = "model"
    created_model: ClassVar[str | None] = "mistral-embed"
    dimensions_of: ClassVar[Mapping[str, int]] = {"mistral-embed": 1024, "codestral-embed": 1536}

    def __init__(self, model: str, api_key_env_var: str = "MISTRAL_API_KEY") -> None:
        """Choose the model.

        Args:
            model: The model, such as ``mistral-embed``.
            api_key_env_var: The environment variable of the key.

        Raises:
            ValueError: The key is missing.
        """
        self._key = ApiKey(None, api_key_env_var)
        self.model = model

    @staticmethod
    def name() -> str:
        """Return the name in the registry."""
        return "mistral"
