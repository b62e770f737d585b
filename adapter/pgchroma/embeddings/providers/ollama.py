"""Embeddings of models that an Ollama server runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar
from urllib.parse import urlsplit

from pgchroma.embeddings.batched import Purpose
from pgchroma.embeddings.protocol import Documents
from pgchroma.embeddings.providers.http import VendorEmbeddingFunction, check_url

__all__ = ("OllamaEmbeddingFunction",)

_PORT = 11434


class OllamaEmbeddingFunction(VendorEmbeddingFunction[Documents]):
    """Embeds texts with a model that an Ollama server runs."""

    batch_size: ClassVar[int] = 64
    concurrency: ClassVar[int] = 2  # the server computes, and on one machine
    dimensions_of: ClassVar[Mapping[str, int]] = {
        "chroma/all-minilm-l6-v2-f32": 384,
        "all-minilm": 384,
        "bge-m3": 1024,
        "embeddinggemma": 768,
        "mxbai-embed-large": 1024,
        "nomic-embed-text": 768,
        "snowflake-arctic-embed2": 1024,
    }

    def __init__(
        self,
        url: str = "http://localhost:11434",
        model_name: str = "chroma/all-minilm-l6-v2-f32",
        timeout: int = 60,
    ) -> None:
        """Choose the server and the model.

        Args:
            url: Where the server is. A host alone, with or without a port, will do, and so will a
                URL that ends in ``/api/embeddings``.
            model_name: The model, which the server must have.
            timeout: Seconds that a request may take.

        Raises:
            ValueError: This is no URL, or no time.
        """
        self.url = url
        self.model_name = model_name
        self.timeout = timeout
        self._options = replace(self._options, timeout=timeout)
        self._base = check_url("url", _base_of(url))

    def _address(self) -> str:
        return f"{self._base}/api/embed"

    def _body(self, batch: list[Any], purpose: Purpose) -> dict[str, Any]:
        return {"model": self.model_name, "input": batch}

    @staticmethod
    def name() -> str:
        """The name in the registry."""
        return "ollama"


def _base_of(url: str) -> str:
    """Complete what names a server as Ollama's own programs do."""
    if "://" not in url:
        url = f"http://{url}"
        if urlsplit(url).port is None:
            url = f"{url}:{_PORT}"
    return url.rstrip("/").removesuffix("/api/embeddings")
