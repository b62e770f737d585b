"""Queries: distances, order, filters and edge cases, in every mode."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from pgchroma import errors

RANDOM = np.random.default_rng(7)


def _distances(space: str, vectors: np.ndarray, query: np.ndarray) -> np.ndarray:
    vectors, query = vectors.astype(np.float64), query.astype(np.float64)
    if space == "l2":
        return np.asarray(((vectors - query) ** 2).sum(axis=1))
    dots = vectors @ query
    if space == "ip":
        return np.asarray(1 - dots)
    norms = np.linalg.norm(vectors, axis=1) * np.linalg.norm(query)
    return np.where(norms > 0, 1 - dots / np.where(norms > 0, norms, 1), 1.0)


@pytest.mark.parametrize("space", ["l2", "cosine", "ip"])
async def test_distances_and_order_are_those_of_exact_search(mode: Any, space: str) -> None:
    collection = await mode.create_collection("query", configuration={"hnsw": {"space": space}})
    vectors = RANDOM.normal(size=(300, 17)).astype(np.float32)
    vectors[5] = 0
    ids = [f"id{i}" for i in range(300)]
    await collection.add(ids=ids, embeddings=vectors)
    queries = RANDOM.normal(size=(4, 17)).astype(np.float32)
    found = await collection.query(query_embeddings=queries, n_results=300)
    for query, got_ids, got in zip(queries, found["ids"], found["distances"], strict=True):
        expected = _distances(space, vectors, query)
        order = [int(id[2:]) for id in got_ids]
        assert sorted(order) == list(range(300))
        assert np.allclose(got, expected[order], rtol=1e-5, atol=1e-5)
        assert got == sorted(got)


async def test_a_zero_vector_is_found_at_distance_one_by_cosine(mode: Any) -> None:
    collection = await mode.create_collection("query", configuration={"hnsw": {"space": "cosine"}})
    await collection.add(ids=["zero", "x", "-x"], embeddings=[[0.0, 0.0], [1.0, 0.0], [-1.0, 0.0]])
    found = await collection.query(query_embeddings=[1.0, 0.0])
    assert found["ids"] == [["x", "zero", "-x"]]
    assert found["distances"] == [[0.0, 1.0, 2.0]]
    assert (await collection.query(query_embeddings=[0.0, 0.0]))["distances"] == [[1.0, 1.0, 1.0]]


async def test_l2_is_squared_and_ip_is_one_minus_the_product(mode: Any) -> None:
    for space, expected in (("l2", 25.0), ("ip", -24.0)):
        collection = await mode.create_collection(
            f"space-{space}", configuration={"hnsw": {"space": space}}
        )
        await collection.add(ids="a", embeddings=[3.0, 4.0] if space == "ip" else [0.0, 0.0])
        found = await collection.query(query_embeddings=[3.0, 4.0])
        assert found["distances"] == [[expected]]


async def test_ties_come_in_insertion_order(mode: Any) -> None:
    collection = await mode.create_collection("query")
    ids = [f"id{i}" for i in RANDOM.permutation(50)]
    await collection.add(ids=ids, embeddings=[[1.0, 1.0]] * 50)
    found = await collection.query(query_embeddings=[0.0, 0.0], n_results=20)
    assert found["ids"] == [ids[:20]]


async def test_equal_distances_by_cosine_are_ties_too(mode: Any) -> None:
    collection = await mode.create_collection("query", configuration={"hnsw": {"space": "cosine"}})
    vectors = RANDOM.integers(1, 4, size=(300, 3)) * RANDOM.integers(1, 9, size=(300, 1))
    ids = [f"id{i:03}" for i in range(300)]
    await collection.add(ids=ids, embeddings=vectors)
    found = await collection.query(query_embeddings=[1.0, 2.0, 3.0], n_results=300)
    pairs = list(zip(found["distances"][0], found["ids"][0], strict=True))
    assert pairs == sorted(pairs)


async def test_no_ids_are_no_candidates(mode: Any) -> None:
    collection = await mode.create_collection("query")
    await collection.add(ids="a", embeddings=[1.0])
    assert (await collection.query(query_embeddings=[[1.0], [2.0]], ids=[]))["ids"] == [[], []]
    both = await collection.query(query_embeddings=[1.0], query_texts="embeddings win")
    assert both["ids"] == [["a"]]


async def test_every_query_is_answered_on_its_own_and_in_order(mode: Any) -> None:
    collection = await mode.create_collection("query")
    await collection.add(
        ids=["a", "b", "c"], embeddings=[[0.0], [1.0], [2.0]], documents=["A", "B", "C"]
    )
    found = await collection.query(
        query_embeddings=[[2.0], [0.0]], n_results=2, include=["documents", "embeddings"]
    )
    assert found["ids"] == [["c", "b"], ["a", "b"]]
    assert found["documents"] == [["C", "B"], ["A", "B"]]
    assert [e.tolist() for e in found["embeddings"]] == [[[2.0], [1.0]], [[0.0], [1.0]]]
    assert found["metadatas"] is None


async def test_fewer_come_back_only_when_fewer_match(mode: Any) -> None:
    collection = await mode.create_collection("query")
    await collection.add(
        ids=[f"id{i}" for i in range(100)],
        embeddings=RANDOM.normal(size=(100, 8)),
        metadatas=[{"k": i} for i in range(100)],
        documents=[f"text {i}" for i in range(100)],
    )
    query = [0.0] * 8
    for arguments, matching in (
        ({"where": {"k": {"$gte": 95}}}, 5),
        ({"where": {"k": 1000}}, 0),
        ({"where_document": {"$contains": "text 7"}}, 11),
        ({"ids": ["id1", "id2"]}, 2),
        ({"ids": ["id1", "id99"], "where": {"k": {"$gt": 50}}}, 1),
        ({"where": {"k": {"$lt": 20}}, "where_document": {"$regex": r"\b1\d$"}}, 10),
    ):
        found = await collection.query(query_embeddings=query, n_results=50, **arguments)
        assert len(found["ids"][0]) == matching, arguments


async def test_bad_queries_are_refused(mode: Any) -> None:
    collection = await mode.create_collection("query", embedding_function=None)
    await collection.add(ids="a", embeddings=[1.0])
    cases: list[tuple[dict[str, Any], type[Exception], str]] = [
        ({}, ValueError, "At least one of one of embeddings, documents, images, uris"),
        ({"query_texts": "x", "query_uris": "x"}, ValueError, "Exactly one of images, uris, doc"),
        ({"query_embeddings": [1.0], "n_results": 10**30}, ValueError, "at most"),
        ({"query_embeddings": ["x"]}, ValueError, "Expected embeddings to be a list of floats"),
        ({"query_embeddings": [1.0], "n_results": 0}, TypeError, "cannot be negative, or zero"),
        ({"query_embeddings": [1.0], "n_results": -3}, TypeError, "cannot be negative, or zero"),
        ({"query_embeddings": [1.0], "n_results": 1.5}, ValueError, "to be a int"),
        ({"query_texts": "x"}, ValueError, "must provide an embedding function"),
        ({"query_uris": "x"}, ValueError, "must set a data loader"),
        ({"query_embeddings": [1.0], "include": ["data"]}, ValueError, "must set a data loader"),
        ({"query_embeddings": [1.0], "include": ["bogus"]}, ValueError, "Expected include item"),
        ({"query_embeddings": [float("nan")]}, Exception, "NaN"),
    ]
    for arguments, kind, message in cases:
        with pytest.raises(kind, match=message) as caught:
            await collection.query(**arguments)
        assert "in query." in str(caught.value)


@pytest.mark.parametrize("count", [1, 15, 16, 50])
async def test_a_fault_is_the_same_for_any_number_of_queries(mode: Any, count: int) -> None:
    collection = await mode.create_collection("query", embedding_function=None)
    await collection.add(ids=["1"], embeddings=[[1.0, 2.0]])
    with pytest.raises(errors.InvalidArgumentError, match="dimension of 2, got 3"):
        await collection.query(query_embeddings=np.ones((count, 3)))
    await mode.delete_collection("query")
    with pytest.raises(errors.NotFoundError):
        await collection.query(query_embeddings=np.ones((count, 2)))


async def test_a_query_among_ids_that_are_not_there_names_them(mode: Any) -> None:
    collection = await mode.create_collection("papers", embedding_function=None)
    with pytest.raises(errors.InvalidArgumentError, match=r"Error finding id: .* 'never'"):
        await collection.query(query_embeddings=[1.0, 2.0], ids="never")
    ids = [f"id{number}" for number in range(30)]
    await collection.add(ids=ids, embeddings=[[float(number), 1.0] for number in range(30)])
    await collection.delete(ids=["id3", "id4"])
    for arguments in ({}, {"n_results": 1}, {"where": {"k": 1}}, {"where": {"k": {"$ne": 1}}}):
        for embeddings in ([1.0, 2.0], [[1.0, 2.0], [2.0, 1.0]]):
            with pytest.raises(errors.InvalidArgumentError) as caught:
                await collection.query(
                    query_embeddings=embeddings, ids=["id5", "id3", "id4"], **arguments
                )
            assert "Error finding id: the collection has no record 'id3', 'id4';" in str(
                caught.value
            )
    with pytest.raises(errors.InvalidArgumentError, match="'gone9' and others") as caught:
        await collection.query(query_embeddings=[1.0, 2.0], ids=[f"gone{n}" for n in range(5_000)])
    assert len(str(caught.value)) < 300
    found = await collection.query(query_embeddings=[1.0, 2.0], ids=["id5", "id6"])
    assert found["ids"] == [["id5", "id6"]]
    nothing = await collection.query(query_embeddings=[1.0, 2.0], ids=["id5"], where={"k": 1})
    assert nothing["ids"] == [[]]
    # Reading and deleting ignore missing ids, as Chroma does.
    assert (await collection.get(ids=["id3", "id5"]))["ids"] == ["id5"]
    await collection.delete(ids=["id3"])
