"""Models on Hugging Face, and on your own servers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from pgchroma.embeddings.calls.batched import Purpose
from pgchroma.embeddings.keys import ApiKey
from pgchroma.embeddings.protocol import Documents
from pgchroma.embeddings.providers.http import VendorEmbeddingFunction, check_url, in_path

__all__ = ("HuggingFaceEmbeddingFunction", "HuggingFaceEmbeddingServer")


class HuggingFaceEmbeddingFunction(VendorEmbeddingFunction[Documents]):
    """Embeds texts with a sentence model on Hugging Face."""

    # Chroma's host, api-inference.huggingface.co, no longer exists.
    endpoint: ClassVar[str] = "https://router.huggingface.co/hf-inference/models"
    batch_size: ClassVar[int] = 64
    response_path: ClassVar[tuple[str, ...]] = ()
    vendor_env_var: ClassVar[str | None] = "HUGGINGFACE_API_KEY"
    dimensions_of: ClassVar[Mapping[str, int]] = {
        "sentence-transformers/all-MiniLM-L6-v2": 384,
        "sentence-transformers/all-MiniLM-L12-v2": 384,
        "sentence-transformers/all-mpnet-base-v2": 768,
        "BAAI/bge-small-en-v1.5": 384,
        "BAAI/bge-base-en-v1.5": 768,
        "BAAI/bge-large-en-v1.5": 1024,
        "BAAI/bge-m3": 1024,
        "intfloat/multilingual-e5-large": 1024,
    }

    def __init__(
        self,
        api_key: str | None = None,
        model_name: str = "sentence-transformers/all-MiniLM-L6-v2",
        api_key_env_var: str = "CHROMA_HUGGINGFACE_API_KEY",
    ) -> None:
        """Choose the model.

        Args:
            api_key: The key. Prefer the environment variable, which reopened collections can use.
            model_name: The model, by its name on the hub.
            api_key_env_var: The environment variable of the key. ``HUGGINGFACE_API_KEY`` takes
                precedence.

        Raises:
            ValueError: The key is missing, or the model's name is malformed.
        """
        self._key = ApiKey(api_key, api_key_env_var, self.vendor_env_var)
        self.model_name = model_name
        self._path = "/".join(in_path("model_name", part) for part in model_name.split("/"))

    def _address(self) -> str:
        return f"{self.endpoint}/{self._path}/pipeline/feature-extraction"

    def _body(self, batch: list[Any], purpose: Purpose) -> dict[str, Any]:
        return {"inputs": batch}

    @staticmethod
    def name() -> str:
        """Return the name in the registry."""
        return "huggingface"


class HuggingFaceEmbeddingServer(VendorEmbeddingFunction[Documents]):
    """Embeds texts with a server of Hugging Face's text-embeddings-inference."""

    batch_size: ClassVar[int] = 32  # the server's default limit
    response_path: ClassVar[tuple[str, ...]] = ()
    vendor_env_var: ClassVar[str | None] = "HUGGINGFACE_API_KEY"
    model_parameter: ClassVar[str | None] = None
    immutable_settings: ClassVar[tuple[str, ...]] = ("url",)

    def __init__(
        self, url: str, api_key_env_var: str | None = None, api_key: str | None = None
    ) -> None:
        """Choose the server.

        Args:
            url: The URL of the endpoint, such as ``http://localhost:8080/embed``.
            api_key_env_var: The environment variable of the key, if the server requires one.
                ``HUGGINGFACE_API_KEY`` takes precedence.
            api_key: The key. Prefer the environment variable.

        Raises:
            ValueError: `url` is not a URL.
        """
        self.url = check_url("url", url)
        self._key = ApiKey(api_key, api_key_env_var, self.vendor_env_var, is_required=False)

    def _address(self) -> str:
        return self.url

    def _body(self, batch: list[Any], purpose: Purpose) -> dict[str, Any]:
        return {"inputs": batch}

    @staticmethod
    def name() -> str:
        """Return the name in the registry."""
        return "huggingface_server"
