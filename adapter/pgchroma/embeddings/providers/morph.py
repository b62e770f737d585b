"""Morph's embeddings of code."""

from __future__ import annotations

from typing import Any, ClassVar

from pgchroma.embeddings.calls.batched import Purpose
from pgchroma.embeddings.keys import ApiKey
from pgchroma.embeddings.protocol import Documents
from pgchroma.embeddings.providers.http import check_url
from pgchroma.embeddings.providers.openai import OpenAIProtocolFunction

__all__ = ("MorphEmbeddingFunction",)


class MorphEmbeddingFunction(OpenAIProtocolFunction[Documents]):
    """Embeds texts with a Morph model."""

    batch_size: ClassVar[int] = 128

    def __init__(
        self,
        api_key: str | None = None,
        model_name: str = "morph-embedding-v2",
        api_base: str = "https://api.morphllm.com/v1",
        encoding_format: str = "float",
        api_key_env_var: str = "MORPH_API_KEY",
    ) -> None:
        """Choose the model.

        Args:
            api_key: The key. Prefer the environment variable, which reopened collections can use.
            model_name: The model.
            api_base: The base URL of the API.
            encoding_format: The encoding of embeddings: ``float`` or ``base64``.
            api_key_env_var: The environment variable of the key.

        Raises:
            ValueError: The key is missing, or `api_base` is not a URL.
        """
        self._key = ApiKey(api_key, api_key_env_var)
        self.model_name = model_name
        self.api_base = check_url("api_base", api_base)
        self.encoding_format = encoding_format

    def _address(self) -> str:
        return f"{self.api_base.rstrip('/')}/embeddings"

    def _body(self, batch: list[Any], purpose: Purpose) -> dict[str, Any]:
        return {**super()._body(batch, purpose), "encoding_format": self.encoding_format}

    @staticmethod
    def name() -> str:
        """Return the name in the registry."""
        return "morph"
