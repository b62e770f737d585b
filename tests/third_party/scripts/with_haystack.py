"""Haystack's `ChromaDocumentStore`, which makes Chroma's Python clients itself.

python with_haystack.py <base-url> [<api-key>]; the key is sent as `Authorization: Bearer`. The
asynchronous methods are tried without a key only: they have no way to pass one.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

os.environ["HAYSTACK_TELEMETRY_ENABLED"] = "False"  # read at import

from chromadb.errors import InvalidArgumentError
from haystack import Document
from haystack.document_stores.errors import DocumentStoreError, DuplicateDocumentError
from haystack.document_stores.types import DuplicatePolicy
from haystack_integrations.components.retrievers.chroma import ChromaEmbeddingRetriever
from haystack_integrations.document_stores.chroma import ChromaDocumentStore
from support import arguments, connect, host_and_port, raises, settings, unique

DOCUMENTS = [
    Document("one", "the first", embedding=[1.0, 0.0], meta={"n": 1, "odd": True}),
    Document("two", "the second", embedding=[0.0, 1.0], meta={"n": 2, "odd": False}),
    Document("three", "the third", embedding=[0.8, 0.6], meta={"n": 3, "odd": True, "x": 0.5}),
    Document("bare", "no metadata", embedding=[-1.0, 0.0]),
]


def main() -> None:
    url, key = arguments()
    server = Server(url, key)
    documents_are_written_and_counted(server)
    documents_are_filtered(server)
    documents_are_retrieved(server)
    duplicates_follow_the_policy(server)
    documents_are_changed(server)
    documents_are_deleted(server)
    metadata_is_summed_up(server)
    errors_are_raised(server)
    if key is None:
        asyncio.run(documents_are_read_asynchronously(server))
    server.client.close()


class Server:
    """Where the stores are."""

    def __init__(self, url: str, key: str | None) -> None:
        self.client = connect(url, key)
        self._parameters = {**host_and_port(url), "client_settings": settings(key)}

    @contextmanager
    def store(self, **parameters: Any) -> Iterator[ChromaDocumentStore]:
        """A new store, its collection deleted in the end."""
        name = unique("haystack")
        made = ChromaDocumentStore(name, **self._parameters, **parameters)
        try:
            yield made
        finally:
            made.close()
            self.client.delete_collection(name)

    @contextmanager
    def filled_store(self, **parameters: Any) -> Iterator[ChromaDocumentStore]:
        """A new store with the four documents."""
        with self.store(**parameters) as made:
            assert made.write_documents(DOCUMENTS) == 4
            yield made


def ids(documents: list[Document]) -> list[str]:
    return [document.id for document in documents]


def condition(field: str, operator: str, value: object) -> dict[str, Any]:
    return {"field": field, "operator": operator, "value": value}


def documents_are_written_and_counted(server: Server) -> None:
    with server.filled_store() as s:
        assert s.count_documents() == 4
        assert s.filter_documents() == DOCUMENTS, "with content, metadata and embedding"
        again = ChromaDocumentStore.from_dict(s.to_dict())
        assert again.count_documents() == 4, "a second store finds the collection by its name"
        again.close()


def documents_are_filtered(server: Server) -> None:
    first, odd = condition("meta.n", "<=", 1), condition("meta.odd", "==", True)
    text = condition("content", "contains", "the")
    cases = [
        (condition("meta.n", "==", 2), "two"),
        (condition("meta.n", "!=", 2), "one three bare"),
        (condition("meta.n", ">", 1), "two three"),
        (condition("meta.x", ">=", 0.5), "three"),
        (condition("meta.n", "in", [1, 3]), "one three"),
        (condition("meta.n", "not in", [1, 3]), "two bare"),
        ({"operator": "AND", "conditions": [odd, condition("meta.n", ">", 1)]}, "three"),
        ({"operator": "OR", "conditions": [first, condition("meta.x", "<", 1.0)]}, "one three"),
        (text, "one two three"),
        (condition("content", "not contains", "the"), "bare"),
        ({"operator": "AND", "conditions": [text, condition("content", "contains", "ir")]},
         "one three"),
        (condition("id", "==", "two"), "two"),
    ]  # fmt: skip
    with server.filled_store() as s:
        for filters, expected in cases:
            assert ids(s.filter_documents(filters)) == expected.split(), filters
            assert s.count_documents_by_filter(filters) == len(expected.split()), filters


def documents_are_retrieved(server: Server) -> None:
    with server.filled_store() as s:
        retriever = ChromaEmbeddingRetriever(s, top_k=2)
        found = retriever.run([1.0, 0.0])["documents"]
        assert ids(found) == ["one", "three"]
        assert found[0].score == 0.0, "the score is the distance"
        assert abs(found[1].score - 0.4) < 1e-6, found[1].score
        assert found[1].meta == {"n": 3, "odd": True, "x": 0.5}
        assert found[1].embedding == [0.8, 0.6]
        few = retriever.run([1.0, 0.0], filters=condition("meta.n", ">=", 2), top_k=1)
        assert ids(few["documents"]) == ["three"]
        text = retriever.run([1.0, 0.0], filters=condition("content", "contains", "no"))
        assert ids(text["documents"]) == ["bare"]
    with server.filled_store(distance_function="ip") as s:
        found = s.search_embeddings([[2.0, 0.0]], top_k=1)[0]
        assert (found[0].id, found[0].score) == ("one", -1.0), "by the inner product"


def duplicates_follow_the_policy(server: Server) -> None:
    one = Document("one", "changed", embedding=[5.0, 5.0], meta={"n": 10})
    with server.filled_store() as s:
        with raises(DuplicateDocumentError, "one"):
            s.write_documents([one])
        assert s.write_documents([one], DuplicatePolicy.SKIP) == 0
        assert s.filter_documents()[0].content == "the first"
        assert s.write_documents([one], DuplicatePolicy.OVERWRITE) == 1
        changed = s.filter_documents()[0]
        assert (changed.content, changed.embedding) == ("changed", [5.0, 5.0])
        assert changed.meta == {"n": 10, "odd": True}, "Chroma merges metadata"
        assert s.count_documents() == 4


def documents_are_changed(server: Server) -> None:
    with server.filled_store() as s:
        assert s.update_by_filter(condition("meta.odd", "==", True), {"odd": "yes", "new": 1}) == 2
        got = s.filter_documents(condition("meta.odd", "==", "yes"))
        assert [d.meta for d in got] == [
            {"n": 1, "odd": "yes", "new": 1},
            {"n": 3, "odd": "yes", "x": 0.5, "new": 1},
        ]


def documents_are_deleted(server: Server) -> None:
    with server.filled_store(metadata={"kept": "yes"}) as s:
        s.delete_documents(["one", "missing"])
        assert s.delete_by_filter(condition("meta.n", "==", 2)) == 1
        assert s.delete_by_filter(condition("meta.n", "==", 99)) == 0
        assert ids(s.filter_documents()) == ["three", "bare"]
        s.delete_all_documents()
        assert s.count_documents() == 0
        s.write_documents(DOCUMENTS)
        s.delete_all_documents(recreate_index=True)
        assert s.count_documents() == 0
        s.write_documents([Document("wide", "three dimensions", embedding=[1.0, 2.0, 3.0])])
        assert s.count_documents() == 1, "the new collection has no dimension yet"


def metadata_is_summed_up(server: Server) -> None:
    with server.filled_store() as s:
        assert s.get_metadata_field_min_max("meta.n") == {"min": 1, "max": 3}
        fields = {name: info["type"] for name, info in s.get_metadata_fields_info().items()}
        assert fields.items() >= {"n": "long", "odd": "boolean", "x": "float"}.items(), fields


def errors_are_raised(server: Server) -> None:
    with server.filled_store() as s:
        with raises(InvalidArgumentError, "expecting embedding with dimension of 2, got 3"):
            s.write_documents([Document("long", "too long", embedding=[1.0, 2.0, 3.0])])
        with raises(DocumentStoreError, "Failed to delete documents by filter"):
            s.delete_by_filter(condition("meta.n", ">", True))
        with raises(InvalidArgumentError, "Invalid where clause"):
            s.filter_documents(condition("meta.n", ">", True))
        with raises(InvalidArgumentError, "expecting embedding with dimension of 2, got 1"):
            s.search_embeddings([[1.0]], top_k=1)


async def documents_are_read_asynchronously(server: Server) -> None:
    with server.store() as s:
        assert await s.write_documents_async(DOCUMENTS) == 4
        assert await s.count_documents_async() == 4
        got = await s.filter_documents_async(condition("meta.odd", "==", True))
        assert ids(got) == ["one", "three"]
        found = await ChromaEmbeddingRetriever(s).run_async([0.0, 1.0], top_k=1)
        assert ids(found["documents"]) == ["two"]
        await s.delete_documents_async(["two"])
        assert await s.count_documents_async() == 3


if __name__ == "__main__":
    main()
