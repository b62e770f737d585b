"""Cohere's embeddings of texts and of images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from pgchroma.embeddings.calls.batched import Purpose
from pgchroma.embeddings.images.pictures import check_texts_and_images
from pgchroma.embeddings.keys import ApiKey
from pgchroma.embeddings.protocol import Embeddable, Space
from pgchroma.embeddings.providers.http import VendorEmbeddingFunction
from pgchroma.embeddings.providers.png import is_image, png_base64

__all__ = ("CohereEmbeddingFunction",)

_SPACES: Mapping[str, list[Space]] = {
    "embed-english-v2.0": ["cosine"],
    "embed-english-light-v2.0": ["cosine"],
    "embed-multilingual-v2.0": ["ip"],
}


class CohereEmbeddingFunction(VendorEmbeddingFunction[Embeddable]):
    """Embeds texts, and images with models since v3, with a Cohere model.

    Models since v3 embed queries differently from documents. Older models do not.
    """

    endpoint: ClassVar[str] = "https://api.cohere.com/v1/embed"
    batch_size: ClassVar[int] = 96  # the most texts that Cohere takes
    vendor_env_var: ClassVar[str | None] = "COHERE_API_KEY"
    created_model: ClassVar[str | None] = "embed-english-v3.0"
    optional_settings: ClassVar[frozenset[str]] = frozenset(
        ["source_input_type", "query_input_type"]
    )
    dimensions_of: ClassVar[Mapping[str, int]] = {
        "embed-v4.0": 1536,
        "embed-english-v3.0": 1024,
        "embed-english-light-v3.0": 384,
        "embed-multilingual-v3.0": 1024,
        "embed-multilingual-light-v3.0": 384,
        "embed-english-v2.0": 4096,
        "embed-english-light-v2.0": 1024,
        "embed-multilingual-v2.0": 768,
    }

    def __init__(
        self,
        api_key: str | None = None,
        model_name: str = "large",
        api_key_env_var: str = "CHROMA_COHERE_API_KEY",
        source_input_type: str = "search_document",
        query_input_type: str = "search_query",
    ) -> None:
        """Choose the model.

        Args:
            api_key: The key. Prefer the environment variable, which reopened collections can use.
            model_name: The model.
            api_key_env_var: The environment variable of the key. ``COHERE_API_KEY`` takes
                precedence.
            source_input_type: The purpose of the embeddings of documents.
            query_input_type: The purpose of the embeddings of queries.

        Raises:
            ValueError: The key is missing.
        """
        self._key = ApiKey(api_key, api_key_env_var, self.vendor_env_var)
        self.model_name = model_name
        self.source_input_type = source_input_type
        self.query_input_type = query_input_type

    def check_inputs(self, inputs: Sequence[Any]) -> None:
        """Raise `ValueError` unless all inputs are texts, or all are images."""
        check_texts_and_images(inputs)
        if len(set(map(is_image, inputs))) > 1:
            raise ValueError("Expected either texts or images, got both")

    def max_inputs(self, inputs: Sequence[Any]) -> int | None:
        """Return 1 for images, because Cohere accepts one in a call."""
        return 1 if any(map(is_image, inputs)) else None

    def _body(self, batch: list[Any], purpose: Purpose) -> dict[str, Any]:
        if any(map(is_image, batch)):
            images = [f"data:image/png;base64,{png_base64(image)}" for image in batch]
            return {"model": self.model_name, "input_type": "image", "images": images}
        kind = self.query_input_type if purpose == "query" else self.source_input_type
        return {"model": self.model_name, "input_type": kind, "texts": batch}

    @staticmethod
    def name() -> str:
        """Return the name in the registry."""
        return "cohere"

    def default_space(self) -> Space:
        """Return the distance of new collections: cosine, except for one model."""
        return self.supported_spaces()[0]

    def supported_spaces(self) -> list[Space]:
        """Return the distances that the model is trained for. Newer models support all."""
        return list(_SPACES.get(self.model_name, ["cosine", "l2", "ip"]))
