"""An adapter for LangChain's embedding functions, in both directions."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, TypeAlias, cast, overload

from pgchroma.embeddings.lancedb.fields import LanceDBMethods
from pgchroma.embeddings.protocol import (
    Embeddable,
    EmbeddingFunction,
    Embeddings,
    normalize_embeddings,
    validate_embeddings,
)

__all__ = ("ChromaLangchainEmbeddingFunction", "create_langchain_embedding")

Numbers: TypeAlias = list[float]
"""An embedding in LangChain's form."""


class ChromaLangchainEmbeddingFunction(LanceDBMethods, EmbeddingFunction[Embeddable]):
    """Adapts an object of LangChain as an embedding function, and a function for LangChain.

    It embeds with any object that has ``embed_documents`` and ``embed_query``, or with an embedding
    function. LangChain's stores and chains accept it as embeddings. A collection cannot store it,
    so the object must be passed each time.
    """

    def __init__(self, embedding_function: Any) -> None:
        """Set the object that embeds.

        Raises:
            ValueError: The object cannot embed.
        """
        if not _is_langchain(embedding_function) and not _is_function(embedding_function):
            raise ValueError(
                "The embedding_function must have embed_documents and embed_query, as LangChain's "
                f"Embeddings have, or be an embedding function; got "
                f"{type(embedding_function).__name__}"
            )
        self.embedding_function = embedding_function

    def __call__(self, input: Any) -> Embeddings:
        """Embed documents to store: one float32 array each, in their order.

        Args:
            input: Texts, or for an object with ``embed_image`` also ``("images", uris)``, the form
                in which LangChain's loaders return images.

        Raises:
            ValueError: The object cannot embed images.
        """
        match input:
            case ("images", uris) if isinstance(input, tuple):
                # LangChain's loader marks URIs as images, and the object loads them.
                return cast("Embeddings", self.embed_image(list(uris)))
        return cast("Embeddings", self.embed_documents(input))

    def embed_documents(self, documents: Sequence[str]) -> list[Numbers]:
        """Embed texts to store, for LangChain."""
        texts = list(documents)
        if _is_langchain(self.embedding_function):
            return cast("list[Numbers]", self.embedding_function.embed_documents(texts))
        return [embedding.tolist() for embedding in self.embedding_function(texts)]

    @overload
    def embed_query(self, input: str) -> Numbers: ...

    @overload
    def embed_query(self, input: Any) -> Embeddings: ...

    def embed_query(self, input: Any) -> Numbers | Embeddings:
        """Embed queries: a text for LangChain, a list of texts for a collection."""
        if isinstance(input, str):
            return self._embed_text_query(input)
        if not isinstance(input, list) or not all(isinstance(each, str) for each in input):
            # Images are embedded in the same way as queries.
            return self(input)
        embeddings = [self._embed_text_query(text) for text in input]
        return validate_embeddings(normalize_embeddings(embeddings))

    def _embed_text_query(self, text: str) -> Numbers:
        if _is_langchain(self.embedding_function):
            return cast("Numbers", self.embedding_function.embed_query(text))
        return cast("Numbers", self.embedding_function.embed_query([text])[0].tolist())

    async def aembed_documents(self, documents: Sequence[str]) -> list[Numbers]:
        """Call `embed_documents` in a thread."""
        return await asyncio.to_thread(self.embed_documents, documents)

    async def aembed_query(self, input: str) -> Numbers:
        """Call `embed_query` for a text in a thread."""
        return await asyncio.to_thread(self._embed_text_query, input)

    def embed_image(self, uris: list[str]) -> list[Numbers]:
        """Embed the images at URIs.

        Raises:
            ValueError: The object cannot embed images.
        """
        if not hasattr(self.embedding_function, "embed_image"):
            raise ValueError("The provided embedding function does not support image embeddings.")
        return cast("list[Numbers]", self.embedding_function.embed_image(uris))

    def is_legacy(self) -> bool:
        """Return true, because collections cannot store the object."""
        return True

    @staticmethod
    def name() -> str:
        """Return the name, which is not in the registry."""
        return "langchain"

    def get_config(self) -> dict[str, Any]:
        """Return the name of the object's class, which shows what embedded a collection."""
        return {
            "embedding_function_class": type(self.embedding_function).__name__,
            "note": "Pass the embedding function again: it cannot be built from this.",
        }

    @staticmethod
    def build_from_config(config: dict[str, Any]) -> ChromaLangchainEmbeddingFunction:
        """Raise an error, because the object is not in the configuration."""
        raise NotImplementedError(
            "An embedding function of LangChain cannot be built from a configuration; create it "
            "again and pass it to create_langchain_embedding"
        )

    def validate_config_update(
        self, old_config: dict[str, Any], new_config: dict[str, Any]
    ) -> None:
        """Raise an error, because the object is not in the configurations."""
        raise NotImplementedError(
            "The configuration of an embedding function of LangChain cannot be changed; create it "
            "again and pass it to create_langchain_embedding"
        )


def create_langchain_embedding(langchain_embedding_fn: Any) -> ChromaLangchainEmbeddingFunction:
    """Return an embedding function from an object of LangChain."""
    return ChromaLangchainEmbeddingFunction(embedding_function=langchain_embedding_fn)


def _is_langchain(value: Any) -> bool:
    return callable(getattr(value, "embed_documents", None)) and callable(
        getattr(value, "embed_query", None)
    )


def _is_function(value: Any) -> bool:
    return callable(value) and callable(getattr(value, "embed_query", None))
