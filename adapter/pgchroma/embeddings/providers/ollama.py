"""Embeddings of models on an Ollama server."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar, Self
from urllib.parse import urlsplit

from pgchroma.embeddings.calls.batched import Purpose
from pgchroma.embeddings.protocol import Documents
from pgchroma.embeddings.providers.http import VendorEmbeddingFunction, check_url

__all__ = ("OllamaEmbeddingFunction",)

_PORT = 11434


class OllamaEmbeddingFunction(VendorEmbeddingFunction[Documents]):
    """Embeds texts with a model on an Ollama server."""

    batch_size: ClassVar[int] = 64
    concurrency: ClassVar[int] = 2  # the model runs on one machine
    created_names: ClassVar[Mapping[str, str]] = {"host": "url", "options": "model_options"}
    optional_settings: ClassVar[frozenset[str]] = frozenset(["model_options", "keep_alive"])
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
        model_options: Mapping[str, Any] | None = None,
        keep_alive: float | str | None = None,
    ) -> None:
        """Choose the server and the model.

        Args:
            url: The server's URL. A host with or without a port is also accepted, and a URL that
                ends with ``/api/embeddings``.
            model_name: The model, which the server must have.
            timeout: The maximum seconds of a request.
            model_options: Parameters of the model, such as ``{"num_ctx": 8192}``.
            keep_alive: How long the server keeps the model loaded, in seconds or as ``"10m"``.

        Raises:
            ValueError: `url` is not a URL, or `timeout` is out of range.
        """
        self.url = url
        self.model_name = model_name
        self.timeout = timeout
        self.model_options = model_options
        self.keep_alive = keep_alive
        self._options = replace(self._options, timeout=timeout)
        self._base = check_url("url", _base_of(url))

    @classmethod
    def create(cls, **settings: Any) -> Self:
        """Create a function in LanceDB's way; see `BatchedEmbeddingFunction.create`.

        ``ollama_client_kwargs`` can only contain ``timeout``.

        Raises:
            TypeError: They contain another argument.
        """
        more = dict(settings.pop("ollama_client_kwargs", None) or {})
        if "timeout" in more:
            settings["timeout"] = more.pop("timeout")
        if more:
            raise TypeError(
                f"ollama_client_kwargs: expected only timeout, got {', '.join(sorted(more))}"
            )
        return super().create(**settings)

    def _address(self) -> str:
        return f"{self._base}/api/embed"

    def _body(self, batch: list[Any], purpose: Purpose) -> dict[str, Any]:
        body = {"model": self.model_name, "input": batch}
        optional = {"options": self.model_options, "keep_alive": self.keep_alive}
        return body | {key: value for key, value in optional.items() if value is not None}

    @staticmethod
    def name() -> str:
        """Return the name in the registry."""
        return "ollama"


def _base_of(url: str) -> str:
    """Return the server's base URL, completed like in Ollama's own programs."""
    if "://" not in url:
        url = f"http://{url}"
        if urlsplit(url).port is None:
            url = f"{url}:{_PORT}"
    return url.rstrip("/").removesuffix("/api/embeddings")
