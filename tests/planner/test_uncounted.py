"""Queries whose filter many records match do not count them again, and stay complete."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from psycopg.conninfo import make_conninfo

import pgchroma
from pgchroma.store import context
from pgchroma.store.context import StoreContext
from pgchroma.store.search import planner
from tests.planner.segments import (
    compact,
    context_of,
    create,
    nearest,
    nodes,
    quiet,
    seal,
    watched,
)

ROWS, DIMENSION = 1_000, 8
BROAD: Any = {"k": {"$lt": 500}}


@pytest.fixture(autouse=True)
def small_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """A limit: with more matching records, a query may search the index."""
    monkeypatch.setattr(planner, "MIN_EXACT_SCAN", 50)
    monkeypatch.setattr(planner, "INDEX_ROW_COST", 0)


@pytest.fixture
def client(url: str) -> Iterator[pgchroma.ClientAPI]:
    """A client whose PostgreSQL prefers indexes even if a sequential scan is cheaper."""
    options = make_conninfo(url, options="-c enable_sort=off -c enable_seqscan=off")
    with quiet(options, pgchroma_pool_size=1) as direct:
        yield direct


@pytest.fixture
def vectors() -> NDArray[np.float32]:
    """Vectors whose first coordinate tells the rows with a small `k` from the others."""
    drawn = np.random.default_rng(5).normal(size=(ROWS, DIMENSION)).astype(np.float32)
    drawn[:, 0] += np.where(np.arange(ROWS) % 2 == 0, 0.0, 20.0)
    return drawn


@pytest.fixture
def collection(
    client: pgchroma.ClientAPI, url: str, vectors: NDArray[np.float32]
) -> pgchroma.Collection:
    """Two segments and a tail, in which records with a small `k` and others alternate."""
    made = create(client, ef_search=20)
    numbers = _numbers()
    for first, end in ((0, 500), (500, 900), (900, ROWS)):
        made.add(
            ids=[f"id{n}" for n in range(first, end)],
            embeddings=vectors[first:end],
            metadatas=[{"k": int(numbers[n])} for n in range(first, end)],
        )
        if end < ROWS:
            seal(url, made)
    return made


def _numbers() -> NDArray[np.int64]:
    """Below 500 in even rows, above in odd ones."""
    return np.where(np.arange(ROWS) % 2 == 0, np.arange(ROWS) // 2, 500 + np.arange(ROWS) // 2)


def _near(first: float = 0.0) -> NDArray[np.float32]:
    query = np.zeros((1, DIMENSION), np.float32)
    query[0, 0] = first
    return query


def _counts(
    client: pgchroma.ClientAPI, collection: pgchroma.Collection, **query: Any
) -> list[bool]:
    """Whether each statement of a query counts the records that match."""
    with watched(client) as seen:
        collection.query(**query)
    return [
        any(node.get("Subplan Name") == "CTE matching" for node in nodes(plan["Plan"]))
        for plan in seen.plans
    ]


def test_the_second_query_with_the_same_values_does_not_count(
    client: pgchroma.ClientAPI, collection: pgchroma.Collection, vectors: NDArray[np.float32]
) -> None:
    query: Any = {"query_embeddings": _near(), "n_results": 5, "where": BROAD}
    assert _counts(client, collection, **query) == [True]
    assert _counts(client, collection, **query) == [False]
    assert _counts(client, collection, **query) == [False]
    found = collection.query(**query)["ids"][0]
    which = np.flatnonzero(_numbers() < 500).tolist()
    order, _ = nearest("l2", vectors, query["query_embeddings"][0], which)
    assert found == [f"id{n}" for n in order[:5]]
    others: list[Any] = [
        {**query, "where": {"k": {"$lt": 499}}},
        {**query, "where": {"k": {"$gte": 0}}},
        {**query, "n_results": 6},
        {**query, "ids": [f"id{n}" for n in range(ROWS)]},
    ]
    for other in others:
        assert _counts(client, collection, **other) == [True], other
    assert _counts(client, collection, **others[-1]) == [True], "a list of ids is not remembered"


def test_few_matches_are_read_exactly_each_time(
    client: pgchroma.ClientAPI, collection: pgchroma.Collection
) -> None:
    query: Any = {"query_embeddings": _near(), "n_results": 5, "where": {"k": {"$lt": 50}}}
    for _ in range(3):
        assert _counts(client, collection, **query) == [True]


def test_a_short_answer_is_counted_and_for_a_while_all_are(
    client: pgchroma.ClientAPI,
    collection: pgchroma.Collection,
    url: str,
    vectors: NDArray[np.float32],
) -> None:
    compact(url, collection, merges_all=True)
    near: Any = {"query_embeddings": _near(), "n_results": 5, "where": BROAD}
    far: Any = {**near, "query_embeddings": _near(20.0)}
    collection.query(**near)
    assert _counts(client, collection, **near) == [False]
    # No record near this query matches: the search is repeated with a count, and then exactly.
    assert _counts(client, collection, **far) == [False, True, True]
    which = np.flatnonzero(_numbers() < 500).tolist()
    for query in (far, near):
        found = collection.query(**query)["ids"][0]
        order, _ = nearest("l2", vectors, query["query_embeddings"][0], which)
        assert found == [f"id{n}" for n in order[:5]]
        assert _counts(client, collection, **query)[0], "it is not tried again at once"


def test_it_is_remembered_for_a_minute(
    client: pgchroma.ClientAPI, collection: pgchroma.Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    query: Any = {"query_embeddings": _near(), "n_results": 5, "where": BROAD}
    monkeypatch.setattr(context, "COUNTED_SECONDS", -1.0)
    for _ in range(2):
        assert _counts(client, collection, **query) == [True]


def test_answers_are_complete_when_few_records_are_left(
    client: pgchroma.ClientAPI, collection: pgchroma.Collection, url: str
) -> None:
    query: Any = {"query_embeddings": _near(), "n_results": 30, "where": BROAD}
    for _ in range(2):
        assert len(collection.query(**query)["ids"][0]) == 30
    collection.delete(where={"$and": [{"k": {"$gte": 20}}, BROAD]})
    assert len(collection.query(**query)["ids"][0]) == 20
    collection.delete(where=BROAD)
    assert collection.query(**query)["ids"] == [[]]
    compact(url, collection)
    assert collection.query(**query)["ids"] == [[]]


@pytest.mark.parametrize("space", ["l2", "ip", "cosine"])
@pytest.mark.parametrize("quantization", ["none", "halfvec"])
def test_recall_does_not_fall(
    client: pgchroma.ClientAPI, url: str, space: str, quantization: str
) -> None:
    random = np.random.default_rng(9)
    vectors = random.normal(size=(ROWS, DIMENSION)).astype(np.float32)
    vectors[::100] = 0
    collection = create(client, space=space, quantization=quantization)
    collection.add(
        ids=[f"id{n}" for n in range(ROWS)],
        embeddings=vectors,
        metadatas=[{"k": n % 10} for n in range(ROWS)],
    )
    compact(url, collection)
    queries = random.normal(size=(20, DIMENSION)).astype(np.float32)
    for share in (9, 5, 3):
        query: Any = {"query_embeddings": queries, "n_results": 10, "where": {"k": {"$lt": share}}}
        counted = collection.query(**query)
        assert _counts(client, collection, **query) == [False]
        assert collection.query(**query)["ids"] == counted["ids"]
        which = np.flatnonzero(np.arange(ROWS) % 10 < share).tolist()
        hits = sum(
            len({f"id{n}" for n in nearest(space, vectors, each, which)[0][:10]} & set(ids))
            for each, ids in zip(queries, counted["ids"], strict=True)
        )
        assert hits >= 0.95 * 200


def test_what_is_remembered_is_bounded(
    client: pgchroma.ClientAPI, collection: pgchroma.Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(context, "MAX_CACHED", 10)
    for bound in range(100, 130):
        collection.query(query_embeddings=_near(), n_results=5, where={"k": {"$lt": bound}})
    assert 0 < len(context_of(client)._frequent) <= 10


def test_nothing_is_remembered_in_the_callers_transaction() -> None:
    known = StoreContext(0, caches_nothing=True)
    known.record_frequent(1, is_frequent=True)
    assert known.is_frequent(1) is None
