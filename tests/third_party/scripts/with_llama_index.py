"""LlamaIndex's `ChromaVectorStore`, over Chroma's Python client.

python with_llama_index.py <base-url> [<api-key>]; the key is sent as `Authorization: Bearer`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

import chromadb
from chromadb.errors import InvalidArgumentError, NotFoundError
from llama_index.core.schema import NodeRelationship, RelatedNodeInfo, TextNode
from llama_index.core.vector_stores.types import (
    FilterCondition,
    FilterOperator,
    MetadataFilter,
    MetadataFilters,
    VectorStoreQuery,
    VectorStoreQueryMode,
)
from llama_index.vector_stores.chroma import ChromaVectorStore
from support import arguments, collection, connect, raises, unique


def main() -> None:
    client = connect(*arguments())
    nodes_are_added_and_queried(client)
    queries_are_filtered(client)
    queries_take_what_chroma_takes(client)
    results_are_diverse(client)
    nodes_are_read(client)
    nodes_are_deleted(client)
    errors_are_raised(client)
    client.close()


def node(id: str, text: str, embedding: list[float], document: str, **metadata: object) -> TextNode:
    """A node of a document, with its embedding."""
    source = {NodeRelationship.SOURCE: RelatedNodeInfo(node_id=document)}
    return TextNode(id_=id, text=text, embedding=embedding, relationships=source, metadata=metadata)


@contextmanager
def store(client: chromadb.ClientAPI) -> Iterator[ChromaVectorStore]:
    """A store with four nodes of two documents, its collection deleted in the end."""
    with collection(client, metadata={"made": "here"}) as made:
        filled = ChromaVectorStore(chroma_collection=made)
        nodes = [
            node("n1", "the north", [0.0, 1.0], "compass", degrees=0, name="north"),
            node("n2", "the east", [1.0, 0.0], "compass", degrees=90, name="east"),
            node("n3", "the south", [0.0, -1.0], "compass", degrees=180, name="south"),
            node("n4", "a café", [0.9, 0.1], "guide", stars=4.5, open=True),
        ]
        assert filled.add(nodes) == ["n1", "n2", "n3", "n4"]
        yield filled


def where(*filters: tuple[str, str, object], condition: str = "and") -> MetadataFilters:
    """Filters of LlamaIndex: keys, operators and values."""
    return MetadataFilters(
        filters=[
            MetadataFilter(key=key, operator=FilterOperator(operator), value=value)
            for key, operator, value in filters
        ],
        condition=FilterCondition(condition),
    )


def east(**others: object) -> VectorStoreQuery:
    return VectorStoreQuery(query_embedding=[1.0, 0.0], similarity_top_k=4, **others)


def nodes_are_added_and_queried(client: chromadb.ClientAPI) -> None:
    with store(client) as s:
        found = s.query(VectorStoreQuery(query_embedding=[1.0, 0.0], similarity_top_k=2))
        assert found.ids == ["n2", "n4"]
        first, second = found.nodes
        assert (first.text, first.metadata) == ("the east", {"degrees": 90, "name": "east"})
        assert first.ref_doc_id == "compass", "the node is rebuilt, with its relationships"
        assert (second.text, second.metadata) == ("a café", {"stars": 4.5, "open": True})
        assert math.isclose(found.similarities[0], 1.0), "e to the minus distance"
        assert math.isclose(found.similarities[1], math.exp(-0.02), rel_tol=1e-5)


def queries_are_filtered(client: chromadb.ClientAPI) -> None:
    cases = [
        (where(("name", "==", "south")), {"n3"}),
        (where(("name", "!=", "south")), {"n1", "n2", "n4"}),
        (where(("degrees", ">", 0), ("degrees", "<=", 180)), {"n2", "n3"}),
        (where(("degrees", "in", [0, 90])), {"n1", "n2"}),
        (where(("degrees", "nin", [0, 90])), {"n3", "n4"}),
        (where(("stars", ">=", 4.5), ("degrees", "<", 90), condition="or"), {"n1", "n4"}),
        (where(("open", "==", "true")), set()),
    ]
    with store(client) as s:
        for filters, expected in cases:
            assert set(s.query(east(filters=filters)).ids) == expected, filters
        either = where(("degrees", "==", 0), ("degrees", "==", 90), condition="or")
        nested = MetadataFilters(filters=[either, *where(("name", "==", "east")).filters])
        assert s.query(east(filters=nested)).ids == ["n2"]


def queries_take_what_chroma_takes(client: chromadb.ClientAPI) -> None:
    with store(client) as s:
        assert s.query(east(), where={"degrees": {"$gt": 90}}).ids == ["n3"]
        assert s.query(east(), where={"open": True}).ids == ["n4"]
        assert s.query(east(), where_document={"$contains": "café"}).ids == ["n4"]
        plain = VectorStoreQuery(query_embedding=None, similarity_top_k=3)
        assert s.query(plain).ids == ["n1", "n2", "n3"], "without an embedding, the first ones"


def results_are_diverse(client: chromadb.ClientAPI) -> None:
    with store(client) as s:
        query = VectorStoreQuery(
            query_embedding=[1.0, 0.0], similarity_top_k=2, mode=VectorStoreQueryMode.MMR
        )
        assert s.query(query, mmr_threshold=0.1).ids[0] == "n2"
        assert s.query(query, mmr_threshold=0.1).ids[1] != "n4", "n4 is as good as n2"


def nodes_are_read(client: chromadb.ClientAPI) -> None:
    with store(client) as s:
        assert [n.node_id for n in s.get_nodes(["n3", "n1"])] == ["n1", "n3"]
        assert [n.text for n in s.get_nodes(None, where(("degrees", "==", 90)))] == ["the east"]
        assert len(s.get_nodes(None)) == 4
        assert s.client.count() == 4


def nodes_are_deleted(client: chromadb.ClientAPI) -> None:
    with store(client) as s:
        s.delete_nodes(["n1"])
        assert [n.node_id for n in s.get_nodes(None)] == ["n2", "n3", "n4"]
        s.delete_nodes(["n2", "n3"], where(("name", "==", "south")))
        assert [n.node_id for n in s.get_nodes(None)] == ["n2", "n4"]
        s.delete("compass")
        assert [n.node_id for n in s.get_nodes(None)] == ["n4"]
        s.clear()
        assert s.client.count() == 0


def errors_are_raised(client: chromadb.ClientAPI) -> None:
    with store(client) as s:
        with raises(InvalidArgumentError, "expecting embedding with dimension of 2, got 3"):
            s.add([node("n5", "up", [0.0, 0.0, 1.0], "compass")])
        with raises(InvalidArgumentError, "expecting embedding with dimension of 2, got 1"):
            s.query(VectorStoreQuery(query_embedding=[1.0]))
        with raises(InvalidArgumentError, "Invalid where clause"):
            s.query(east(), where={"degrees": {"$gt": True}})
    with raises(NotFoundError, "does not exist"):
        s.query(east())
    with raises(NotFoundError, "does not exist"):
        client.get_collection(unique("missing"))


if __name__ == "__main__":
    main()
