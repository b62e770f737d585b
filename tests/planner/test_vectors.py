"""Embeddings that are special cases for indexes: zeros, large values, many dimensions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import psycopg
import pytest
from psycopg.conninfo import make_conninfo

import pgchroma
from pgchroma import errors
from tests.planner.segments import compact, create, forget, nearest, quiet, seal

RANDOM = np.random.default_rng(17)


@pytest.fixture
def client(url: str) -> Iterator[pgchroma.ClientAPI]:
    """A client whose PostgreSQL prefers indexes even if a sequential scan is cheaper."""
    options = make_conninfo(url, options="-c enable_sort=off -c enable_seqscan=off")
    with quiet(options, pgchroma_pool_size=1) as direct:
        yield direct


def _fill(collection: pgchroma.Collection, vectors: Any, first: int = 0) -> None:
    collection.add(ids=[f"id{n}" for n in range(first, first + len(vectors))], embeddings=vectors)


@pytest.mark.parametrize("quantization", ["none", "halfvec", "bit"])
def test_zero_vectors_are_found_in_every_segment_and_in_the_tail(
    client: pgchroma.ClientAPI, url: str, quantization: str
) -> None:
    collection = create(client, space="cosine", quantization=quantization)
    away = -np.abs(RANDOM.normal(size=(1_000, 8))) - 0.1
    away[[5, 700, 990]] = 0
    for first, last in ((0, 500), (500, 900), (900, 1_000)):
        _fill(collection, away[first:last], first)
        if last < 1_000:
            seal(url, collection)
    query = np.ones((2, 8))
    plan = collection.explain(query_embeddings=query, n_results=3)
    assert (plan.strategy, plan.tail_rows) == ("index", 100)
    for count in (1, 2):
        found = collection.query(query_embeddings=query[:count], n_results=4)
        for ids, distances in zip(found["ids"], found["distances"] or [], strict=True):
            assert ids[:3] == ["id5", "id700", "id990"]
            assert distances[:3] == [1.0] * 3
            assert distances[3] > 1.5
    # A direction is all there is to compare: without one everything is as far.
    for count in (1, 2):
        found = collection.query(query_embeddings=np.zeros((count, 8)), n_results=50)
        assert [len(set(ids)) for ids in found["ids"]] == [50] * count
        assert found["distances"] == [[1.0] * 50] * count
    where: Any = {"#id": {"$in": [f"id{n}" for n in range(1_000)]}}
    found = collection.query(query_embeddings=query, n_results=4, where=where)
    assert [ids[:3] for ids in found["ids"]] == [["id5", "id700", "id990"]] * 2


@pytest.mark.parametrize("quantization", ["none", "halfvec", "bit"])
def test_a_very_short_or_long_vector_has_a_direction(
    client: pgchroma.ClientAPI, url: str, quantization: str
) -> None:
    collection = create(client, space="cosine", quantization=quantization)
    vectors = RANDOM.normal(size=(500, 32)).astype(np.float32)
    for row, length in ((7, 1e-9), (8, 1e-6), (9, 1e7), (10, 1e12)):
        vectors[row] *= length
    vectors[11] = 0
    _fill(collection, vectors)
    compact(url, collection)
    for length in (1e-9, 1.0, 1e9):
        for row in range(7, 11):
            query = vectors[row] / np.linalg.norm(vectors[row]) * length
            for count in (1, 2):
                found = collection.query(query_embeddings=[query] * count, n_results=3)
                assert [ids[0] for ids in found["ids"]] == [f"id{row}"] * count
                assert found["distances"][0][0] == pytest.approx(0, abs=1e-5)  # type: ignore[index]
    plan = collection.explain(query_embeddings=vectors[:1] * 1e9, n_results=3)
    assert plan.strategy == "index"


def test_vectors_too_short_to_have_a_length_are_found(client: pgchroma.ClientAPI, url: str) -> None:
    collection = create(client, space="cosine")
    vectors = RANDOM.normal(size=(300, 4)).astype(np.float32)
    vectors[7] = 1e-30
    _fill(collection, vectors)
    compact(url, collection)
    exact = collection.query(query_embeddings=[[1e-30] * 4, [1.0] * 4], n_results=300)
    assert all(len(set(ids)) == 300 for ids in exact["ids"])
    found = collection.query(query_embeddings=[[1e-30] * 4, [1.0] * 4], n_results=30)
    assert all(len(set(ids)) == 30 for ids in found["ids"])


@pytest.mark.parametrize("quantization", ["none", "halfvec"])
def test_products_that_are_negative_come_last(
    client: pgchroma.ClientAPI, url: str, quantization: str
) -> None:
    collection = create(client, space="ip", quantization=quantization)
    vectors = RANDOM.normal(size=(800, 8)).astype(np.float32) * 3
    _fill(collection, vectors)
    compact(url, collection)
    for query in (vectors[3], -vectors[3], -np.ones(8)):
        found: Any = collection.query(query_embeddings=[query], n_results=10)
        order, distances = nearest("ip", vectors, query)
        got = [int(id[2:]) for id in found["ids"][0]]
        assert len(set(got) & set(order[:10])) >= 9
        assert np.allclose(found["distances"], distances[got], rtol=1e-5, atol=1e-5)
    away = collection.query(query_embeddings=[[-1e3] * 8], n_results=80)["distances"][0]  # type: ignore[index]
    assert away == sorted(away)
    assert away[0] < 0


@pytest.mark.parametrize("space", ["l2", "ip", "cosine"])
def test_a_query_that_fits_no_half_is_answered(
    client: pgchroma.ClientAPI, url: str, space: str
) -> None:
    collection = create(client, space=space, quantization="halfvec")
    vectors = RANDOM.normal(size=(200, 4)).astype(np.float32)
    _fill(collection, vectors)
    compact(url, collection)
    for great in (65_504.0, 65_519.0, 65_520.0, 1e6, 1e18, -1e18, 3e38):
        query = np.array([great, 0, 0, 0], dtype=np.float32)
        for count in (1, 2):
            found = collection.query(query_embeddings=[query] * count, n_results=5)
            assert all(len(set(ids)) == 5 for ids in found["ids"])
        if space == "ip" and abs(great) < 1e38:
            order, _ = nearest(space, vectors, query)
            assert found["ids"][0][0] == f"id{order[0]}"


def test_embeddings_that_fit_no_half_are_kept_and_found(
    client: pgchroma.ClientAPI, url: str
) -> None:
    collection = create(client, quantization="halfvec")
    vectors = RANDOM.normal(size=(100, 4)).astype(np.float32)
    vectors[50] = 1e6
    _fill(collection, vectors)
    with pytest.raises(psycopg.errors.NumericValueOutOfRange):
        compact(url, collection)
    forget(client)
    found = collection.query(query_embeddings=[[1e6] * 4], n_results=3)
    assert found["ids"][0][0] == "id50"
    assert found["distances"][0][0] == 0  # type: ignore[index]
    _fill(collection, RANDOM.normal(size=(20, 4)), 100)
    assert collection.query(query_embeddings=np.zeros((2, 4)), n_results=500)["ids"][0]
    collection.delete(ids=["id50"])
    compact(url, collection)
    assert collection.explain(query_embeddings=np.zeros((1, 4)), n_results=2).strategy == "index"


def test_bits_of_positive_values_tell_little_but_lose_nothing(
    client: pgchroma.ClientAPI, url: str
) -> None:
    collection = create(client, quantization="bit")
    vectors = np.abs(RANDOM.normal(size=(1_000, 16))) + 0.1
    _fill(collection, vectors)
    compact(url, collection)
    for n_results in (1, 10, 90, 99, 100, 1_000):
        found = collection.query(query_embeddings=vectors[:2], n_results=n_results)
        for ids, distances in zip(found["ids"], found["distances"] or [], strict=True):
            assert len(set(ids)) == n_results
            assert distances == sorted(distances)


@pytest.mark.parametrize(
    ("dimension", "quantization"),
    [
        (16, {"l2": "none", "cosine": "halfvec"}),
        (2_000, {"l2": "none", "cosine": "halfvec"}),
        (2_001, {"l2": "halfvec", "cosine": "halfvec"}),
        (4_000, {"l2": "halfvec", "cosine": "halfvec"}),
        (4_001, {"l2": "bit", "cosine": "bit"}),
        (16_000, {"l2": "bit", "cosine": "bit"}),
    ],
)
def test_an_index_takes_the_form_that_holds_so_many_dimensions(
    client: pgchroma.ClientAPI,
    url: str,
    connection: psycopg.Connection[Any],
    dimension: int,
    quantization: dict[str, str],
) -> None:
    for space in ("l2", "cosine"):
        collection = create(client, f"wide-{space}", space=space)
        vectors = RANDOM.normal(size=(60, dimension)).astype(np.float32)
        _fill(collection, vectors[:55])
        compact(url, collection)
        _fill(collection, vectors[55:], 55)
        forms = connection.execute(
            "select quantization from pgchroma.segments where collection_id = %s", [collection.id]
        ).fetchall()
        assert forms == [(quantization[space],)]
        query = vectors[[3, 57]] + RANDOM.normal(size=(2, dimension)).astype(np.float32) * 0.1
        plan = collection.explain(query_embeddings=query[:1], n_results=2)
        assert (plan.strategy, plan.tail_rows) == ("index", 5)
        for count in (1, 2):
            found: Any = collection.query(
                query_embeddings=query[:count], n_results=3, include=["distances", "embeddings"]
            )
            for n in range(count):
                order, distances = nearest(space, vectors, query[n])
                got = [int(id[2:]) for id in found["ids"][n]]
                assert got[0] == order[0]
                # The values in an index are less exact than this.
                assert np.allclose(found["distances"][n], distances[got], rtol=2e-5, atol=2e-6)
                assert np.array_equal(found["embeddings"][n], vectors[got])


def test_long_embeddings_are_searched_though_reading_them_looks_cheap(url: str) -> None:
    with quiet(url, pgchroma_pool_size=1) as client:
        collection = create(client)
        vectors = RANDOM.normal(size=(150, 3_000)).astype(np.float32)
        _fill(collection, vectors)
        compact(url, collection)
        for count in (1, 3):
            plan = collection.explain(query_embeddings=vectors[:count], n_results=5)
            assert plan.strategy == "index"


def test_more_dimensions_than_a_vector_has_are_refused(client: pgchroma.ClientAPI) -> None:
    collection = create(client)
    with pytest.raises(errors.InvalidArgumentError, match="16001 dimensions is too long"):
        collection.add(ids="a", embeddings=[0.0] * 16_001)
    assert collection.query(query_embeddings=[[0.0] * 20_000])["ids"] == [[]]
