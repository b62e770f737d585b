"""The bridge to LangChain, both ways, with LangChain's own interface."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from pgchroma.embeddings import EmbeddingFunction, embedding_function_to_config
from pgchroma.embeddings.providers.langchain import (
    ChromaLangchainEmbeddingFunction,
    create_langchain_embedding,
)


class Duck:
    """A class with the methods of LangChain's Embeddings."""

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        assert type(texts) is list
        return [[float(len(text)), 1.0] for text in texts]

    def embed_query(self, text: str) -> list[float]:
        assert type(text) is str
        return [float(len(text)), 2.0]


class Seeing(Duck):
    def embed_image(self, uris: list[str]) -> list[list[float]]:
        return [[float(len(uri)), 3.0] for uri in uris]


class Ours(EmbeddingFunction[Any]):
    def __init__(self) -> None:
        """Need nothing."""

    def __call__(self, input: Any) -> Any:
        return np.array([[len(text), 1.0] for text in input])

    def embed_query(self, input: Any) -> Any:
        return [np.array([len(text), 2.0], dtype=np.float32) for text in input]


def _lists(made: Any) -> list[list[float]]:
    assert all(isinstance(each, np.ndarray) and each.dtype == np.float32 for each in made)
    return [each.tolist() for each in made]


@pytest.mark.parametrize("inner", [Duck(), Ours()], ids=["langchain", "ours"])
def test_it_embeds_for_a_collection_and_for_langchain(inner: Any) -> None:
    function = create_langchain_embedding(inner)
    assert _lists(function(["ab", "c"])) == [[2, 1], [1, 1]]
    assert _lists(function.embed_query(["ab", "c"])) == [[2, 2], [1, 2]]
    assert function.embed_documents(("ab",)) == [[2.0, 1.0]]
    assert function.embed_query("ab") == [2.0, 2.0]
    assert function.ndims() == 2
    assert function.default_space() == "l2"
    # Wrapped once more it is still the same.
    assert _lists(create_langchain_embedding(function)(["ab"])) == [[2, 1]]


async def test_langchain_may_call_it_asynchronously() -> None:
    function = create_langchain_embedding(Duck())
    assert await function.aembed_documents(["ab"]) == [[2.0, 1.0]]
    assert await function.aembed_query("ab") == [2.0, 2.0]


def test_images_go_by_their_uris() -> None:
    images = ("images", ["file.png"])
    assert _lists(create_langchain_embedding(Seeing())(images)) == [[8, 3]]
    assert _lists(create_langchain_embedding(Seeing()).embed_query(images)) == [[8, 3]]
    with pytest.raises(ValueError, match="does not support image"):
        create_langchain_embedding(Duck())(images)


@pytest.mark.parametrize("inner", [None, "text", object(), lambda texts: []])
def test_what_cannot_embed_is_refused(inner: Any) -> None:
    with pytest.raises(ValueError, match="must have embed_documents"):
        ChromaLangchainEmbeddingFunction(inner)


def test_a_collection_does_not_remember_it() -> None:
    function = create_langchain_embedding(Duck())
    assert function.name() == "langchain"
    assert function.get_config()["embedding_function_class"] == "Duck"
    assert embedding_function_to_config(function) == {"type": "legacy"}
    with pytest.raises(NotImplementedError, match="create_langchain_embedding"):
        function.build_from_config(function.get_config())
    with pytest.raises(NotImplementedError, match="create_langchain_embedding"):
        function.validate_config_update({}, {})


def test_langchains_own_functions_and_stores_work_with_it() -> None:
    langchain = pytest.importorskip("langchain_core.embeddings")
    stores = pytest.importorskip("langchain_core.vectorstores")
    fake = langchain.DeterministicFakeEmbedding(size=4)
    function = create_langchain_embedding(fake)
    made = _lists(function(["a", "b"]))
    assert made == np.array(fake.embed_documents(["a", "b"]), dtype=np.float32).tolist()
    store = stores.InMemoryVectorStore(function)
    store.add_texts(["a", "b"])
    assert [found.page_content for found in store.similarity_search("b", k=1)] == ["b"]
