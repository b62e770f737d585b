"""A bridge to LangChain, over which embedding functions go both ways."""

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
"""One embedding, as LangChain has it."""


class ChromaLangchainEmbeddingFunction(LanceDBMethods, EmbeddingFunction[Embeddable]):
    """Makes an embedding function of an object of LangChain's, and one of LangChain's of ours.

    It embeds with whatever has ``embed_documents`` and ``embed_query``, or is an embedding function
    already; and is itself such an object, which LangChain's stores and chains take. A collection
    cannot remember it: the object has to be given anew each time.
    """

    def __init__(self, embedding_function: Any) -> None:
        """Take the object that embeds.

        Raises:
            ValueError: It cannot.
        """
        if not _is_langchain(embedding_function) and not _is_function(embedding_function):
            raise ValueError(
                "The embedding_function must have embed_documents and embed_query, as LangChain's "
                f"Embeddings have, or be an embedding function; got "
                f"{type(embedding_function).__name__}"
            )
        self.embedding_function = embedding_function

    def __call__(self, input: Any) -> Embeddings:
        """Embed what is to be stored; one float32 array each, in their order.

        Args:
            input: Texts; or ``("images", uris)``, as LangChain's loaders give images, for an object
                that has ``embed_image``.

        Raises:
            ValueError: The object embeds no images.
        """
        match input:
            case ("images", uris) if isinstance(input, tuple):
                # LangChain's loader passes URIs on, marked, and the object itself loads them.
                return cast("Embeddings", self.embed_image(list(uris)))
        return cast("Embeddings", self.embed_documents(input))

    def embed_documents(self, documents: Sequence[str]) -> list[Numbers]:
        """Embed texts to be stored, for LangChain."""
        texts = list(documents)
        if _is_langchain(self.embedding_function):
            return cast("list[Numbers]", self.embedding_function.embed_documents(texts))
        return [embedding.tolist() for embedding in self.embedding_function(texts)]

    @overload
    def embed_query(self, input: str) -> Numbers: ...

    @overload
    def embed_query(self, input: Any) -> Embeddings: ...

    def embed_query(self, input: Any) -> Numbers | Embeddings:
        """Embed queries: a text for LangChain, a list of them for a collection."""
        if isinstance(input, str):
            return self._one_query(input)
        if not isinstance(input, list) or not all(isinstance(each, str) for each in input):
            # Images have no other form as queries.
            return self(input)
        made = [self._one_query(text) for text in input]
        return validate_embeddings(normalize_embeddings(made))

    def _one_query(self, text: str) -> Numbers:
        if _is_langchain(self.embedding_function):
            return cast("Numbers", self.embedding_function.embed_query(text))
        return cast("Numbers", self.embedding_function.embed_query([text])[0].tolist())

    async def aembed_documents(self, documents: Sequence[str]) -> list[Numbers]:
        """Do in a thread what `embed_documents` does."""
        return await asyncio.to_thread(self.embed_documents, documents)

    async def aembed_query(self, input: str) -> Numbers:
        """Do in a thread what `embed_query` does for a text."""
        return await asyncio.to_thread(self._one_query, input)

    def embed_image(self, uris: list[str]) -> list[Numbers]:
        """Embed the images that URIs lead to.

        Raises:
            ValueError: The object embeds no images.
        """
        if not hasattr(self.embedding_function, "embed_image"):
            raise ValueError("The provided embedding function does not support image embeddings.")
        return cast("list[Numbers]", self.embedding_function.embed_image(uris))

    def is_legacy(self) -> bool:
        """Whether it cannot be stored with a collection: always."""
        return True

    @staticmethod
    def name() -> str:
        """The name, under which it is in no registry."""
        return "langchain"

    def get_config(self) -> dict[str, Any]:
        """The name of the object's class, for those who look for what embedded a collection."""
        return {
            "embedding_function_class": type(self.embedding_function).__name__,
            "note": "Pass the embedding function again: it cannot be built from this.",
        }

    @staticmethod
    def build_from_config(config: dict[str, Any]) -> ChromaLangchainEmbeddingFunction:
        """Refuse, as the object is not in the configuration."""
        raise NotImplementedError(
            "An embedding function of LangChain cannot be built from a configuration: make it "
            "again and pass it to create_langchain_embedding"
        )

    def validate_config_update(
        self, old_config: dict[str, Any], new_config: dict[str, Any]
    ) -> None:
        """Refuse, as the object is in neither configuration."""
        raise NotImplementedError(
            "The configuration of an embedding function of LangChain cannot be changed: make it "
            "again and pass it to create_langchain_embedding"
        )


def create_langchain_embedding(langchain_embedding_fn: Any) -> ChromaLangchainEmbeddingFunction:
    """Make an embedding function of an object of LangChain's."""
    return ChromaLangchainEmbeddingFunction(embedding_function=langchain_embedding_fn)


def _is_langchain(value: Any) -> bool:
    return callable(getattr(value, "embed_documents", None)) and callable(
        getattr(value, "embed_query", None)
    )


def _is_function(value: Any) -> bool:
    return callable(value) and callable(getattr(value, "embed_query", None))
