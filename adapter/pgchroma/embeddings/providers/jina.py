"""Jina AI's embeddings of texts and of images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, TypedDict

from pgchroma.embeddings.calls.batched import Purpose
from pgchroma.embeddings.images.pictures import check_texts_and_images
from pgchroma.embeddings.keys import ApiKey
from pgchroma.embeddings.lancedb.fields import LanceDBMethods
from pgchroma.embeddings.protocol import Embeddable
from pgchroma.embeddings.providers.openai import OpenAIProtocolFunction
from pgchroma.embeddings.providers.png import is_image, png_base64

__all__ = ("JinaEmbeddingFunction", "JinaQueryConfig")

_OPTIONAL = ("task", "late_chunking", "truncate", "dimensions", "embedding_type", "normalized")
"""The settings that requests contain if they are set."""


class JinaQueryConfig(TypedDict):
    """The settings of queries; see `JinaEmbeddingFunction`."""

    task: str


class JinaEmbeddingFunction(OpenAIProtocolFunction[Embeddable]):
    """Embeds texts, and images with some models, with a Jina AI model."""

    endpoint: ClassVar[str] = "https://api.jina.ai/v1/embeddings"
    batch_size: ClassVar[int] = 512  # the most of newer models; older ones take 2,048
    vendor_env_var: ClassVar[str | None] = "JINA_API_KEY"
    dimensions_of: ClassVar[Mapping[str, int]] = {
        "jina-embeddings-v2-small-en": 512,
        "jina-embeddings-v2-base-en": 768,
        "jina-embeddings-v2-base-de": 768,
        "jina-embeddings-v2-base-es": 768,
        "jina-embeddings-v2-base-zh": 768,
        "jina-embeddings-v2-base-code": 768,
        "jina-embeddings-v3": 1024,
        "jina-embeddings-v4": 2048,
        "jina-clip-v1": 768,
        "jina-clip-v2": 1024,
    }

    def __init__(
        self,
        api_key: str | None = None,
        model_name: str = "jina-embeddings-v2-base-en",
        api_key_env_var: str = "CHROMA_JINA_API_KEY",
        task: str | None = None,
        late_chunking: bool | None = None,
        truncate: bool | None = None,
        dimensions: int | None = None,
        embedding_type: str | None = None,
        normalized: bool | None = None,
        query_config: Mapping[str, Any] | None = None,
    ) -> None:
        """Choose the model and its settings.

        Args:
            api_key: The key. Prefer the environment variable, which reopened collections can use.
            model_name: The model.
            api_key_env_var: The environment variable of the key. ``JINA_API_KEY`` takes precedence.
            task: The purpose of the embeddings, such as ``retrieval.passage``.
            late_chunking: Whether the texts of a call are chunks of one document, so that each
                embedding depends on all. They are sent in one request, and not cached.
            truncate: Whether a text that is too long is truncated. Otherwise it is an error.
            dimensions: The length of the embeddings, for models that can change it.
            embedding_type: ``float``, ``base64``, ``binary`` or ``ubinary``.
            normalized: Whether the embeddings are scaled to length 1.
            query_config: Settings that differ for queries, such as
                ``{"task": "retrieval.query"}``.

        Raises:
            ValueError: The key is missing.
        """
        self._key = ApiKey(api_key, api_key_env_var, self.vendor_env_var)
        self.model_name = model_name
        self.task = task
        self.late_chunking = late_chunking
        self.truncate = truncate
        self.dimensions = dimensions
        self.embedding_type = embedding_type
        self.normalized = normalized
        self.query_config = query_config

    def check_inputs(self, inputs: Sequence[Any]) -> None:
        """Raise `ValueError` unless all inputs are texts or images."""
        check_texts_and_images(inputs)

    def embeds_jointly(self, purpose: Purpose) -> bool:
        """Whether the inputs of a call are chunks of one document."""
        return bool(self._settings(purpose).get("late_chunking"))

    def ndims(self) -> int:
        """Return the length of the embeddings. Binary ones have eight dimensions in a number."""
        is_packed = self.embedding_type in ("binary", "ubinary")
        return LanceDBMethods.ndims(self) if is_packed else super().ndims()

    def _body(self, batch: list[Any], purpose: Purpose) -> dict[str, Any]:
        inputs = batch
        if any(map(is_image, batch)):
            inputs = [
                {"image": png_base64(each)} if is_image(each) else {"text": each} for each in batch
            ]
        return {**super()._body(inputs, purpose), **self._settings(purpose)}

    def _settings(self, purpose: Purpose) -> dict[str, Any]:
        settings = {key: getattr(self, key) for key in _OPTIONAL if getattr(self, key) is not None}
        return {**settings, **(self.query_config or {})} if purpose == "query" else settings

    @staticmethod
    def name() -> str:
        """Return the name in the registry."""
        return "jina"
