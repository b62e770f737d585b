"""Embeddings of the open models on Together AI."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from pgchroma.embeddings.keys import ApiKey
from pgchroma.embeddings.protocol import Documents
from pgchroma.embeddings.providers.openai import OpenAIProtocolFunction

__all__ = ("TogetherAIEmbeddingFunction",)


class TogetherAIEmbeddingFunction(OpenAIProtocolFunction[Documents]):
    """Embeds texts with a model on Together AI."""

    endpoint: ClassVar[str] = "https://api.together.xyz/v1/embeddings"
    batch_size: ClassVar[int] = 128
    vendor_env_var: ClassVar[str | None] = "TOGETHER_API_KEY"
    dimensions_of: ClassVar[Mapping[str, int]] = {
        "BAAI/bge-base-en-v1.5": 768,
        "BAAI/bge-large-en-v1.5": 1024,
        "Alibaba-NLP/gte-modernbert-base": 768,
        "intfloat/multilingual-e5-large-instruct": 1024,
        "togethercomputer/m2-bert-80M-8k-retrieval": 768,
        "togethercomputer/m2-bert-80M-32k-retrieval": 768,
    }

    def __init__(
        self,
        model_name: str,
        api_key: str | None = None,
        api_key_env_var: str = "CHROMA_TOGETHER_AI_API_KEY",
    ) -> None:
        """Choose the model.

        Args:
            model_name: The model.
            api_key: The key. Prefer the environment variable, which reopened collections can use.
            api_key_env_var: The environment variable of the key. ``TOGETHER_API_KEY`` takes
                precedence.

        Raises:
            ValueError: The key is missing.
        """
        self._key = ApiKey(api_key, api_key_env_var, self.vendor_env_var)
        self.model_name = model_name

    @staticmethod
    def name() -> str:
        """Return the name in the registry."""
        return "together_ai"
