"""Perplexity's embeddings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from pgchroma.embeddings.calls.batched import Purpose
from pgchroma.embeddings.keys import ApiKey
from pgchroma.embeddings.protocol import Documents
from pgchroma.embeddings.providers.openai import OpenAIProtocolFunction, read_embeddings

__all__ = ("PerplexityEmbeddingFunction",)


class PerplexityEmbeddingFunction(OpenAIProtocolFunction[Documents]):
    """Embeds texts with a Perplexity model.

    The numbers are integers from -128 to 127, and the lengths of the vectors vary, so only cosine
    is meaningful.
    """

    endpoint: ClassVar[str] = "https://api.perplexity.ai/v1/embeddings"
    batch_size: ClassVar[int] = 512  # the most that Perplexity takes
    max_batch_bytes: ClassVar[int | None] = 300_000  # of 120,000 tokens
    vendor_env_var: ClassVar[str | None] = "PERPLEXITY_API_KEY"
    dimensions_of: ClassVar[Mapping[str, int]] = {
        "pplx-embed-v1-0.6b": 1024,
        "pplx-embed-v1-4b": 2560,
    }

    def __init__(
        self,
        api_key: str | None = None,
        model_name: str = "pplx-embed-v1-0.6b",
        api_key_env_var: str = "PERPLEXITY_API_KEY",
        dimensions: int | None = None,
    ) -> None:
        """Choose the model.

        Args:
            api_key: The key. Prefer the environment variable, which reopened collections can use.
            model_name: The model.
            api_key_env_var: The environment variable of the key.
            dimensions: The length of the embeddings, at least 128. The default is the model's.

        Raises:
            ValueError: The key is missing.
        """
        self._key = ApiKey(api_key, api_key_env_var, self.vendor_env_var)
        self.model_name = model_name
        self.dimensions = dimensions

    def _body(self, batch: list[Any], purpose: Purpose) -> dict[str, Any]:
        body = {**super()._body(batch, purpose), "encoding_format": "base64_int8"}
        return body if self.dimensions is None else {**body, "dimensions": self.dimensions}

    def _read(self, answer: Any) -> object:
        return read_embeddings(self.name(), answer, np.int8)

    @staticmethod
    def name() -> str:
        """Return the name in the registry."""
        return "perplexity"

    def get_config(self) -> dict[str, Any]:
        """Return all settings except the key, and without `dimensions` if it is not set.

        Chroma's schema of this configuration does not allow null.
        """
        settings = super().get_config()
        return {key: value for key, value in settings.items() if value is not None}
