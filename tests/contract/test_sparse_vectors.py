"""Sparse vectors in the metadata of records, in every mode: given back as they were written."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pgchroma import K, Knn, Schema, Search, SparseVector, SparseVectorIndexConfig, errors
from pgchroma.execution.expression import GroupBy, MinK

SPARSE = SparseVector([1, 5, 2**32 - 1], [0.5, 0.1, -3e-7])


INDEXED = Schema().create_index(SparseVectorIndexConfig(), key="sv")


@pytest.fixture(params=[None, INDEXED], ids=["no index", "index"])
async def collection(mode: Any, request: pytest.FixtureRequest) -> Any:
    return await mode.create_collection("sparse", request.param, embedding_function=None)


async def _metadata(collection: Any, id: str = "a") -> Any:
    found = await collection.get(ids=id)
    return found["metadatas"][0]


@pytest.mark.parametrize(
    "vector",
    [
        SPARSE,
        SparseVector([], []),
        SparseVector([0, 7], [0.0, -0.0]),
        SparseVector([3, 4], [1.0, 1e22], ["one", "two"]),
        SparseVector([2], [1]),
    ],
    ids=["plain", "empty", "zeros", "labels", "int"],
)
@pytest.mark.parametrize("method", ["add", "upsert"])
async def test_a_vector_is_given_back_as_it_was_written(
    collection: Any, vector: SparseVector, method: str
) -> None:
    await getattr(collection, method)("a", [1.0], {"n": 1, "sv": vector})
    stored = await _metadata(collection)
    assert stored == {"n": 1, "sv": vector}
    assert isinstance(stored["sv"], SparseVector)
    found = await collection.query(query_embeddings=[1.0])
    assert found["metadatas"] == [[stored]]
    found = await collection.search(Search(select=["sv"]))
    assert found["metadatas"] == [[{"sv": vector}]]


async def test_values_are_rounded_to_float32(collection: Any) -> None:
    await collection.add("a", [1.0], {"sv": SparseVector([1, 2, 3], [0.1, 1 / 3, 1e-46])})
    assert (await _metadata(collection))["sv"].values == [0.1, 0.33333334, 0.0]


async def test_an_update_replaces_a_vector_as_a_whole(collection: Any) -> None:
    await collection.add("a", [1.0], {"n": 1, "sv": SPARSE, "other": SPARSE})
    await collection.update("a", metadatas={"sv": SparseVector([9], [1.0])})
    assert await _metadata(collection) == {
        "n": 1, "sv": SparseVector([9], [1.0]), "other": SPARSE,
    }  # fmt: skip
    await collection.update("a", metadatas={"sv": None, "other": 5})
    assert await _metadata(collection) == {"n": 1, "other": 5}


async def test_the_dictionary_form_is_accepted(collection: Any) -> None:
    await collection.add("a", [1.0], {"sv": SPARSE.to_dict()})
    assert await _metadata(collection) == {"sv": SPARSE}


async def test_filters_do_not_see_a_vector(collection: Any) -> None:
    await collection.add(["a", "b"], [[1.0], [2.0]], metadatas=[{"sv": SPARSE}, {"sv": 5}])
    for where, ids in (
        ({"sv": 5}, ["b"]),
        ({"sv": {"$ne": 5}}, ["a"]),
        ({"sv": {"$gt": -1}}, ["b"]),
        ({"sv": {"$in": [1, 5]}}, ["b"]),
        ({"sv": {"$contains": 1}}, []),
    ):
        assert (await collection.get(where=where))["ids"] == ids
    with pytest.raises(ValueError, match="where"):
        await collection.get(where={"sv": {"$eq": SPARSE.to_dict()}})


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ({"indices": [2, 1], "values": [1.0, 1.0]}, "strictly ascending order"),
        ({"indices": [1, 1], "values": [1.0, 1.0]}, "strictly ascending order"),
        ({"indices": [1], "values": [1.0, 1.0]}, "same length"),
        ({"indices": [2**32], "values": [1.0]}, "at most 4294967295"),
        ({"indices": [1], "values": [1e39]}, "too large for a float of 32 bits"),
        ({"indices": [1], "values": [float("nan")]}, "must be finite"),
        ({"indices": [1], "values": [1.0], "tokens": ["a\0"]}, r"U\+0000"),
    ],
    ids=lambda value: json.dumps(value) if isinstance(value, dict) else None,
)
async def test_a_vector_that_is_not_valid_is_refused(
    collection: Any, written: dict[str, Any], message: str
) -> None:
    with pytest.raises(errors.InvalidArgumentError, match=message):
        metadatas = [{"n": 1}, {"sv": {"#type": "sparse_vector", **written}}]
        await collection.add(["a", "b"], [[1.0], [2.0]], metadatas=metadatas)
    assert await collection.count() == 0


async def test_a_large_vector_is_stored(collection: Any) -> None:
    large = SparseVector(list(range(0, 300_000, 3)), [1.5] * 100_000)
    await collection.add("a", [1.0], {"other": large})
    assert (await _metadata(collection))["other"] == large


async def test_an_index_has_vectors_of_a_limited_length(mode: Any) -> None:
    collection = await mode.create_collection("long", INDEXED, embedding_function=None)
    longest = SparseVector(list(range(16_000)), [1.5] * 16_000)
    await collection.add("a", [1.0], {"sv": longest})
    assert (await _metadata(collection))["sv"] == longest
    longer = SparseVector(list(range(16_001)), [1.5] * 16_001)
    with pytest.raises(errors.InvalidArgumentError, match=r"metadatas\[0\]\.sv: .* 16000 values"):
        await collection.add("b", [1.0], {"sv": longer})
    assert await collection.count() == 1


async def test_records_are_grouped_by_equal_vectors(collection: Any) -> None:
    labelled = SparseVector(SPARSE.indices, SPARSE.values, ["a", "b", "c"])
    metadatas = [{"sv": SPARSE}, {"sv": SparseVector([1], [1.0])}, {"sv": labelled}]
    await collection.add(["a", "b", "c"], [[1.0], [2.0], [3.0]], metadatas=metadatas)
    groups = GroupBy("sv", MinK(K.SCORE, 1))
    found = await collection.search(Search(rank=Knn([0.0]), group_by=groups))
    assert found["ids"] == [["a", "b"]]


async def test_a_collections_metadata_holds_none(mode: Any, collection: Any) -> None:
    with pytest.raises(errors.InvalidArgumentError, match="no lists and no sparse vectors"):
        await mode.create_collection("refused", metadata={"sv": SPARSE})
    with pytest.raises(errors.InvalidArgumentError, match="no lists and no sparse vectors"):
        await collection.modify(metadata={"sv": SPARSE})
