"""The parts of Chroma's API that pgchroma lacks, in every mode: refused with Chroma's messages."""

from __future__ import annotations

from typing import Any

import pytest

from pgchroma import Knn, Search, SparseVector, errors

SPARSE = SparseVector([1, 5], [0.5, 0.25])
NO_FUNCTIONS = (
    "Attached functions are only supported when connecting to a Chroma server via HttpClient. "
    "The Rust bindings (embedded mode) do not support attached function operations."
)


@pytest.fixture
async def collection(mode: Any) -> Any:
    return await mode.create_collection("unimplemented", embedding_function=None)


@pytest.mark.parametrize(
    ("method", "arguments", "message"),
    [
        ("search", [Search()], "Search is not implemented for Local Chroma"),
        ("search", [[Search().rank(Knn("text"))]], "Search is not implemented for Local Chroma"),
        ("fork", ["copy"], "Collection forking is not implemented for Local Chroma"),
        ("fork_count", [], "Fork count is not implemented for Local Chroma"),
        ("attach_function", ["statistics", "stats", "output"], NO_FUNCTIONS),
        ("get_attached_function", ["stats"], NO_FUNCTIONS),
        ("detach_function", ["stats"], NO_FUNCTIONS),
    ],
)
async def test_methods_are_refused(
    collection: Any, method: str, arguments: list[Any], message: str
) -> None:
    with pytest.raises(NotImplementedError) as raised:
        await getattr(collection, method)(*arguments)
    assert str(raised.value) == message
    assert isinstance(raised.value, errors.ChromaError)


@pytest.mark.parametrize("value", [SPARSE, SPARSE.to_dict()], ids=["object", "dictionary"])
@pytest.mark.parametrize("method", ["add", "update", "upsert"])
async def test_sparse_vectors_in_metadata_are_refused(
    collection: Any, method: str, value: Any
) -> None:
    with pytest.raises(NotImplementedError, match=r"Sparse vector is not supported.*: sv in "):
        await getattr(collection, method)("a", [1.0], {"n": 1, "sv": value})
    assert await collection.count() == 0


async def test_sparse_vectors_in_a_collections_metadata_are_refused(
    mode: Any, collection: Any
) -> None:
    with pytest.raises(NotImplementedError, match="Sparse vector is not supported"):
        await mode.create_collection("sparse", metadata={"sv": SPARSE})
    with pytest.raises(NotImplementedError, match="Sparse vector is not supported"):
        await collection.modify(metadata={"sv": SPARSE})
