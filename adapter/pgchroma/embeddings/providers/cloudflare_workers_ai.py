"""Embeddings of the open models on Cloudflare."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from pgchroma.embeddings.calls.batched import Purpose
from pgchroma.embeddings.keys import ApiKey
from pgchroma.embeddings.protocol import Documents
from pgchroma.embeddings.providers.http import VendorEmbeddingFunction, in_path

__all__ = ("CloudflareWorkersAIEmbeddingFunction",)


class CloudflareWorkersAIEmbeddingFunction(VendorEmbeddingFunction[Documents]):
    """Embeds texts with a model on Cloudflare Workers AI, directly or through an AI gateway."""

    endpoint: ClassVar[str] = "https://api.cloudflare.com/client/v4/accounts"
    gateway: ClassVar[str] = "https://gateway.ai.cloudflare.com/v1"
    batch_size: ClassVar[int] = 100  # the most that Cloudflare takes
    response_path: ClassVar[tuple[str, ...]] = ("result", "data")
    vendor_env_var: ClassVar[str | None] = "CLOUDFLARE_API_KEY"
    dimensions_of: ClassVar[Mapping[str, int]] = {
        "@cf/baai/bge-small-en-v1.5": 384,
        "@cf/baai/bge-base-en-v1.5": 768,
        "@cf/baai/bge-large-en-v1.5": 1024,
        "@cf/baai/bge-m3": 1024,
        "@cf/google/embeddinggemma-300m": 768,
        "@cf/qwen/qwen3-embedding-0.6b": 1024,
    }

    def __init__(
        self,
        model_name: str,
        account_id: str,
        api_key: str | None = None,
        api_key_env_var: str = "CHROMA_CLOUDFLARE_API_KEY",
        gateway_id: str | None = None,
    ) -> None:
        """Choose the model and the account.

        Args:
            model_name: The model, such as ``@cf/baai/bge-base-en-v1.5``.
            account_id: The account.
            api_key: The key. Prefer the environment variable, which reopened collections can use.
            api_key_env_var: The environment variable of the key. ``CLOUDFLARE_API_KEY`` takes
                precedence.
            gateway_id: The account's gateway for requests. The default is no gateway.

        Raises:
            ValueError: The key is missing, or a name is malformed.
        """
        self._key = ApiKey(api_key, api_key_env_var, self.vendor_env_var)
        self.model_name = model_name
        self.account_id = account_id
        self.gateway_id = gateway_id
        model = "/".join(in_path("model_name", part) for part in model_name.split("/"))
        account = in_path("account_id", account_id)
        self._path = f"{account}/ai/run/{model}"
        if gateway_id:
            self._path = f"{account}/{in_path('gateway_id', gateway_id)}/workers-ai/{model}"

    def _address(self) -> str:
        return f"{self.gateway if self.gateway_id else self.endpoint}/{self._path}"

    def _body(self, batch: list[Any], purpose: Purpose) -> dict[str, Any]:
        return {"text": batch}

    @staticmethod
    def name() -> str:
        """Return the name in the registry."""
        return "cloudflare_workers_ai"
