"""LangChain's vector store `Chroma`, over Chroma's Python client.

python with_langchain.py <base-url> [<api-key>]; the key is sent as `Authorization: Bearer`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import chromadb
import numpy as np
from chromadb.api.types import DefaultEmbeddingFunction
from chromadb.errors import InvalidArgumentError, NotFoundError
from langchain_chroma import Chroma
from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from support import arguments, connect, raises, unique

DOCUMENTS = [
    Document("cats purr", metadata={"topic": "animals", "n": 1}),
    Document("dogs bark", metadata={"topic": "animals", "n": 2}),
    Document("cars honk", metadata={"topic": "machines", "n": 3}),
    Document("a bare text"),
]
IDS = ["cats", "dogs", "cars", "bare"]


class Letters(Embeddings):
    """How often a text has each of some letters."""

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        return [[float(text.count(letter)) for letter in "abcdgknoprstu"] for text in texts]

    def embed_query(self, text: str) -> list[float]:
        return self.embed_documents([text])[0]


def main() -> None:
    client = connect(*arguments())
    documents_are_added_and_searched(client)
    searches_are_filtered(client)
    scores_are_distances(client)
    results_are_diverse(client)
    documents_are_read(client)
    documents_are_replaced(client)
    documents_are_deleted(client)
    a_store_is_made_from_texts(client)
    stores_are_reset(client)
    texts_are_embedded_by_default(client)
    errors_are_raised(client)
    client.close()


@contextmanager
def store(client: chromadb.ClientAPI, **arguments: Any) -> Iterator[Chroma]:
    """A store with the four documents, its collection deleted in the end."""
    made = Chroma(unique("langchain"), Letters(), client=client, **arguments)
    try:
        assert made.add_documents(DOCUMENTS, ids=IDS) == IDS
        yield made
    finally:
        made.delete_collection()


def ids(documents: list[Document]) -> list[str | None]:
    return [document.id for document in documents]


def documents_are_added_and_searched(client: chromadb.ClientAPI) -> None:
    with store(client) as s:
        found = s.similarity_search("cats purr", k=2)
        assert found[0] == Document("cats purr", metadata=DOCUMENTS[0].metadata, id="cats"), found
        assert len(found) == 2
        by_vector = s.similarity_search_by_vector(Letters().embed_query("dogs"), k=1)
        assert ids(by_vector) == ["dogs"]
        assert len(s.add_texts(["no id given"])) == 1, "ids are made up"
        assert ids(s.as_retriever(search_kwargs={"k": 1}).invoke("cars honk")) == ["cars"]


def searches_are_filtered(client: chromadb.ClientAPI) -> None:
    with store(client) as s:
        assert ids(s.similarity_search("cats purr", filter={"topic": "machines"})) == ["cars"]
        both = {"$and": [{"topic": "animals"}, {"n": {"$gt": 1}}]}
        assert ids(s.similarity_search("cats purr", filter=both)) == ["dogs"]
        text = {"$contains": "honk"}
        assert ids(s.similarity_search("cats purr", where_document=text)) == ["cars"]
        assert s.similarity_search("cats purr", filter={"topic": "none"}) == []


def scores_are_distances(client: chromadb.ClientAPI) -> None:
    with store(client) as s:
        (first, distance), *others = s.similarity_search_with_score("cats purr")
        assert (first.id, distance) == ("cats", 0.0)
        assert all(d > 0 for _, d in others)
        (first, vector), *_ = s.similarity_search_with_vectors("dogs bark", k=1)
        assert first.id == "dogs"
        assert vector.tolist() == Letters().embed_query("dogs bark")
    with store(client, collection_configuration={"hnsw": {"space": "cosine"}}) as s:
        (first, relevance), *_ = s.similarity_search_with_relevance_scores("cats purr", k=2)
        assert first.id == "cats"
        assert np.isclose(relevance, 1.0), "the space is read from the collection"


def results_are_diverse(client: chromadb.ClientAPI) -> None:
    with store(client) as s:
        s.add_texts(["cats purr"], ids=["again"])
        found = s.max_marginal_relevance_search("cats purr", k=2, fetch_k=5, lambda_mult=0.1)
        assert len({d.page_content for d in found}) == 2, "no text twice"


def documents_are_read(client: chromadb.ClientAPI) -> None:
    with store(client) as s:
        got = s.get()
        assert got["ids"] == IDS
        assert got["documents"] == [d.page_content for d in DOCUMENTS]
        assert s.get(where={"n": {"$in": [1, 3]}})["ids"] == ["cats", "cars"]
        assert s.get(where_document={"$contains": "bark"})["ids"] == ["dogs"]
        assert s.get(limit=2, offset=1)["ids"] == ["dogs", "cars"]
        assert ids(s.get_by_ids(["dogs", "nope", "cars"])) == ["dogs", "cars"]


def documents_are_replaced(client: chromadb.ClientAPI) -> None:
    with store(client) as s:
        s.update_document("cats", Document("cats nap", metadata={"n": 10}))
        assert s.get("cats")["documents"] == ["cats nap"]
        assert s.get("cats")["metadatas"] == [{"topic": "animals", "n": 10}], "merged"
        s.add_texts(["dogs nap"], ids=["dogs"], metadatas=[{"n": 20}])
        assert s.get("dogs")["metadatas"] == [{"topic": "animals", "n": 20}], "merged"
        assert len(s.get()["ids"]) == 4
        assert ids(s.similarity_search("dogs nap", k=1)) == ["dogs"]


def documents_are_deleted(client: chromadb.ClientAPI) -> None:
    with store(client) as s:
        s.delete(["cats"])
        s.delete(where={"topic": "machines"})
        assert s.get()["ids"] == ["dogs", "bare"]


def a_store_is_made_from_texts(client: chromadb.ClientAPI) -> None:
    name = unique("langchain")
    made = Chroma.from_texts(
        ["one", "two"], Letters(), [{"n": 1}, {"n": 2}], ["1", "2"], name, client=client
    )
    again = Chroma(name, Letters(), client=client, create_collection_if_not_exists=False)
    assert ids(again.similarity_search("two", k=1, filter={"n": 2})) == ["2"]
    made.delete_collection()


def stores_are_reset(client: chromadb.ClientAPI) -> None:
    with store(client, collection_metadata={"k": "v"}) as s:
        s.reset_collection()
        assert s.get()["ids"] == []
        assert client.get_collection(s._collection_name).metadata == {"k": "v"}


def texts_are_embedded_by_default(client: chromadb.ClientAPI) -> None:
    letters = Letters()
    default = DefaultEmbeddingFunction.__call__
    # Its weights would be downloaded.
    DefaultEmbeddingFunction.__call__ = lambda _, input: [  # noqa: A006
        np.array(vector, np.float32) for vector in letters.embed_documents(input)
    ]
    try:
        made = Chroma(unique("langchain"), client=client)
        made.add_texts(["cats purr", "dogs bark"], ids=["cats", "dogs"])
        assert ids(made.similarity_search("dogs", k=1)) == ["dogs"]
        made.delete_collection()
    finally:
        DefaultEmbeddingFunction.__call__ = default


def errors_are_raised(client: chromadb.ClientAPI) -> None:
    with raises(NotFoundError, "does not exist"):
        Chroma(unique("missing"), client=client, create_collection_if_not_exists=False)
    with store(client) as s:
        with raises(InvalidArgumentError, "expecting embedding with dimension of 13, got 2"):
            s.similarity_search_by_vector([1.0, 2.0])
        with raises(ValueError, "Expected where operator to be one of"):
            s.similarity_search("cats", filter={"n": {"$bogus": 1}})
        with raises(InvalidArgumentError, "Invalid where clause"):
            s.similarity_search("cats", filter={"n": {"$gt": True}})


if __name__ == "__main__":
    main()
