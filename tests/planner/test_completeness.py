"""A query returns fewer than `n_results` records only if fewer match, in any state of the log."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import psycopg
import pytest
from numpy.typing import NDArray
from psycopg.conninfo import make_conninfo

import pgchroma
from pgchroma.store.search import planner
from tests.planner.segments import (
    compact,
    context_of,
    create,
    forget,
    nearest,
    quiet,
    seal,
    tables,
)

DIMENSION = 8
BOUND = 20


@pytest.fixture(autouse=True)
def small_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """A limit: with more matching records, a query may search the index."""
    monkeypatch.setattr(planner, "MIN_EXACT_SCAN", BOUND)
    monkeypatch.setattr(planner, "INDEX_ROW_COST", 0)


@pytest.fixture
def client(url: str) -> Iterator[pgchroma.ClientAPI]:
    """A client whose PostgreSQL prefers indexes even if a sequential scan is cheaper."""
    options = make_conninfo(url, options="-c enable_sort=off -c enable_seqscan=off")
    with quiet(options, pgchroma_pool_size=1) as direct:
        yield direct


@dataclass
class Truth:
    """The records of a collection, in the order in which they were added."""

    vectors: dict[str, NDArray[np.float32]] = field(default_factory=dict)
    numbers: dict[str, int] = field(default_factory=dict)

    def matching(self, arguments: dict[str, Any]) -> list[int]:
        bound = arguments.get("where", {}).get("k", {}).get("$lt", 10**9)
        ids = arguments.get("ids")
        return [
            row
            for row, id in enumerate(self.vectors)
            if self.numbers[id] < bound and (ids is None or id in ids)
        ]


class Log:
    """A collection whose log has segments, a gap, a tail, dead entries and orphaned rows."""

    def __init__(self, client: pgchroma.ClientAPI, url: str, **hnsw: Any) -> None:
        self.random = np.random.default_rng(11)
        self.collection = create(client, **hnsw)
        self.client, self.url, self.truth = client, url, Truth()
        self.rows = 0

    def add(self, count: int, *, zeros: int = 0, first: int | None = None) -> None:
        """Add or, from a row on, replace."""
        start = self.rows if first is None else first
        ids = [f"id{n}" for n in range(start, start + count)]
        vectors = self.random.integers(-9, 10, size=(count, DIMENSION)).astype(np.float32)
        vectors[:zeros] = 0
        numbers = [n * 7919 % 1000 for n in range(start, start + count)]
        self.collection.upsert(
            ids=ids, embeddings=vectors, metadatas=[{"k": number} for number in numbers]
        )
        self.truth.vectors |= dict(zip(ids, vectors, strict=True))
        self.truth.numbers |= dict(zip(ids, numbers, strict=True))
        self.rows = max(self.rows, start + count)

    def delete(self, ids: list[str]) -> None:
        self.collection.delete(ids=ids)
        for id in ids:
            self.truth.vectors.pop(id, None)
            self.truth.numbers.pop(id, None)

    def check(self, space: str, arguments: dict[str, Any], n_results: int, count: int) -> float:
        """Check an answer, and return its recall."""
        stored = np.array(list(self.truth.vectors.values()))
        ids = list(self.truth.vectors)
        places = {id: place for place, id in enumerate(ids)}
        which = self.truth.matching(arguments)
        asked = self.random.normal(size=(count, DIMENSION)).astype(np.float32) * 4
        found: Any = self.collection.query(
            query_embeddings=asked,
            n_results=n_results,
            include=["distances", "embeddings"],
            **arguments,
        )
        is_exact = self.is_exact(arguments, n_results)
        recalls = []
        for n, query in enumerate(asked):
            order, distances = nearest(space, stored, query, which)
            got = [places[id] for id in found["ids"][n]]
            assert len(set(got)) == len(got) == min(n_results, len(which)), arguments
            assert set(got) <= set(which)
            told = found["distances"][n]
            assert np.allclose(told, distances[got], rtol=1e-5, atol=1e-5)
            pairs = list(zip(told, got, strict=True))
            assert pairs == sorted(pairs)
            assert np.array_equal(found["embeddings"][n], stored[got].reshape(len(got), DIMENSION))
            best = distances[order[: len(got)]]
            good = np.isclose(sorted(distances[got]), best, rtol=1e-5, atol=1e-5)
            recalls.append(good.mean() if len(good) else 1.0)
            assert not is_exact or good.all(), arguments
        return float(np.mean(recalls))

    def is_exact(self, arguments: dict[str, Any], n_results: int) -> bool:
        (resolved,) = context_of(self.client)._collections.values()
        indexes = resolved.indexes
        is_below = bool(arguments) and len(self.truth.matching(arguments)) <= BOUND
        return is_below or not indexes.segments or n_results * 10 > indexes.entries


def _hostile(client: pgchroma.ClientAPI, url: str, connection: Any, **hnsw: Any) -> Log:
    log = Log(client, url, **hnsw)
    for zeros in (3, 0, 2, 0):
        log.add(400, zeros=zeros)
        seal(url, log.collection)
    # The third segment's index is dropped, and the catalog knows: a gap.
    names = connection.execute(
        "select index_name from pgchroma.segments where is_ready order by first_pos"
    ).fetchall()
    assert len(names) == 4
    connection.execute(f"drop index default_tenant__default_database.{names[2][0]}")
    connection.execute("delete from pgchroma.segments where index_name = %s", names[2])
    log.delete([f"id{n}" for n in range(0, 1600, 9)])
    log.add(60, first=100, zeros=1)
    log.add(40, first=1210)
    log.add(50, zeros=1)
    log.delete(["id1601", "id1605"])
    forget(client)
    return log


def _plant_orphans(log: Log, connection: psycopg.Connection[Any]) -> None:
    """Insert rows that belong to no record, among the segments' rows and in the tail."""
    for pos, seq, value in ((1, 10**9, 1.0), (10, 3, 0.0), (5, 12, 2.0), (10**6, 3, 1.0)):
        connection.execute(
            f"insert into {tables(log.collection).vectors.as_string(None)} values (%s, %s, %s) "
            "on conflict do nothing",
            [pos, seq, str([value] * DIMENSION)],
        )


FORMS = [
    ("l2", "none"), ("cosine", "none"), ("ip", "none"), ("ip", "halfvec"), ("cosine", "halfvec"),
    ("cosine", "bit"),
]  # fmt: skip


@pytest.mark.heavy
@pytest.mark.parametrize(("space", "quantization"), FORMS)
def test_answers_are_complete(
    client: pgchroma.ClientAPI,
    url: str,
    connection: Any,
    space: str,
    quantization: Any,
    memory_indexes: bool,
) -> None:
    log = _hostile(client, url, connection, space=space, quantization=quantization)
    plan = log.collection.explain(query_embeddings=np.ones((1, DIMENSION)), n_results=3)
    assert (plan.strategy, len(plan.segments)) == ("index", 3)
    assert all(segment.rows_read for segment in plan.segments)
    for is_planted in (False, True):
        if is_planted:
            _plant_orphans(log, connection)
        recalls = [
            log.check(space, arguments, n_results, count)
            for arguments in _arguments(log)
            for n_results, count in ((1, 1), (7, 2), (90, 1), (115, 2), (121, 1), (5_000, 1))
        ]
        assert np.mean(recalls) >= (0.7 if quantization == "bit" else 0.99)
    if memory_indexes:
        from tests.memory.at_once import ANSWERS  # noqa: PLC0415  (it imports faiss)

        assert ANSWERS.complete > 20
    # Results are as complete after compaction.
    compact(url, log.collection, merges_all=True)
    recalls = [log.check(space, arguments, 12, 2) for arguments in _arguments(log)]
    assert np.mean(recalls) >= (0.7 if quantization == "bit" else 0.99)


def _arguments(log: Log) -> list[dict[str, Any]]:
    ids = list(log.truth.vectors)
    return [
        {},
        *({"where": {"k": {"$lt": bound}}} for bound in (0, 1, 12, 14, 16, 60, 500, 990, 1_000)),
        {"ids": ids[::3]},
        {"ids": ids},
        {"ids": ids[5:30]},
        {"ids": ids[::2], "where": {"k": {"$lt": 300}}},
        {"ids": ids[:1]},
    ]


def test_filters_right_at_the_bound_are_exact_below_and_complete_above(
    client: pgchroma.ClientAPI, url: str
) -> None:
    log = Log(client, url)
    log.add(1_000)
    compact(url, log.collection)
    for matches, strategy in ((BOUND - 1, "exact"), (BOUND, "exact"), (BOUND + 1, "index")):
        where: dict[str, Any] = {"where": {"k": {"$lt": matches}}}
        plan = log.collection.explain(
            query_embeddings=np.ones((1, DIMENSION)), n_results=5, **where
        )
        assert plan.matches == matches
        # The number of matches decides, whichever plan PostgreSQL chooses.
        assert strategy == "index" or plan.strategy == "exact"
        for n_results in (1, 5, matches - 1, matches, matches + 1):
            log.check("l2", where, n_results, 3)


def test_a_segment_may_be_shorter_than_its_index(
    client: pgchroma.ClientAPI, url: str, connection: psycopg.Connection[Any]
) -> None:
    """The state while a long segment is rebuilt in pieces."""
    log = Log(client, url)
    log.add(600)
    seal(url, log.collection)
    log.add(20)
    vectors = tables(log.collection).vectors.as_string(None)
    connection.execute(
        f"create index shorter on {vectors} using hnsw (embedding vector_l2_ops) "
        "where pos >= 1 and pos < 251"
    )
    connection.execute("update pgchroma.segments set first_pos = 251")
    connection.execute(
        "insert into pgchroma.segments (collection_id, first_pos, end_pos, index_name, entries, "
        "is_ready, quantization, max_neighbors, ef_construction) "
        "select collection_id, 1, 251, 'shorter', 250, true, quantization, max_neighbors, "
        "ef_construction from pgchroma.segments"
    )
    forget(client)
    plan = log.collection.explain(query_embeddings=np.ones((1, DIMENSION)), n_results=5)
    assert (plan.strategy, len(plan.segments)) == ("index", 2)
    assert all(segment.rows_read >= 5 for segment in plan.segments)
    for arguments in ({}, {"where": {"k": {"$lt": 500}}}, {"where": {"k": {"$lt": 15}}}):
        for n_results in (1, 30, 59):
            assert log.check("l2", arguments, n_results, 2) >= 0.98


def test_everything_in_a_segment_is_dead(client: pgchroma.ClientAPI, url: str) -> None:
    log = Log(client, url, space="cosine")
    log.add(500)
    compact(url, log.collection)
    log.add(5)
    log.delete([f"id{n}" for n in range(500)])
    for arguments in ({}, {"where": {"k": {"$lt": 10**6}}}):
        for n_results in (1, 5, 10, 50):
            assert log.check("cosine", arguments, n_results, 2) == 1
    log.delete([f"id{n}" for n in range(500, 505)])
    assert log.collection.query(query_embeddings=np.ones((2, DIMENSION)))["ids"] == [[], []]


def test_what_matches_may_lie_far_from_the_query(client: pgchroma.ClientAPI, url: str) -> None:
    """The index returns the nearest records first, and none of them matches."""
    collection = create(client)
    random = np.random.default_rng(5)
    near, far = random.normal(size=(3_000, 8)), random.normal(size=(60, 8)) + 1_000
    collection.add(
        ids=[f"id{n}" for n in range(3_060)],
        embeddings=np.concatenate([near, far]),
        metadatas=[{"far": n >= 3_000} for n in range(3_060)],
    )
    compact(url, collection)
    for n_results in (1, 10, 60, 100):
        found = collection.query(
            query_embeddings=np.zeros((2, 8)), n_results=n_results, where={"far": True}
        )
        for ids in found["ids"]:
            assert len(ids) == min(n_results, 60)
            assert all(int(id[2:]) >= 3_000 for id in ids)
    plan = collection.explain(query_embeddings=np.zeros((1, 8)), where={"far": True})
    assert plan.matches == BOUND + 1


def test_equal_embeddings_come_in_insertion_order_where_answers_are_exact(
    client: pgchroma.ClientAPI, url: str
) -> None:
    collection = create(client)
    ids = [f"id{n}" for n in np.random.default_rng(2).permutation(600)]
    collection.add(ids=ids, embeddings=np.ones((600, 4)), metadatas=[{"k": n} for n in range(600)])
    compact(url, collection)
    found = collection.query(query_embeddings=np.zeros((2, 4)), n_results=100)
    assert found["ids"] == [ids[:100]] * 2
    found = collection.query(
        query_embeddings=np.zeros((2, 4)), n_results=10, where={"k": {"$gte": 600 - BOUND}}
    )
    assert found["ids"] == [ids[-BOUND : -BOUND + 10]] * 2
    # Where an index is searched they are as many, and no record comes twice.
    (found_ids,) = collection.query(query_embeddings=np.zeros((1, 4)), n_results=50)["ids"]
    assert len(set(found_ids)) == 50


def test_what_is_known_of_segments_may_be_old(
    client: pgchroma.ClientAPI, url: str, connection: psycopg.Connection[Any]
) -> None:
    log = Log(client, url, space="cosine")
    log.add(400, zeros=2)
    seal(url, log.collection)
    log.add(400)
    seal(url, log.collection)
    known = context_of(client)
    log.check("cosine", {}, 5, 1)
    (resolved,) = known._collections.values()
    fresh = resolved.seen_at + 10**6
    log.add(30)
    compact(url, log.collection, merges_all=True)
    for indexes in (resolved.indexes, replace(resolved.indexes, ef_search=1)):
        known.cache(replace(resolved, indexes=indexes, seen_at=fresh))
        names = {segment.index_name for segment in indexes.segments}
        there = connection.execute(
            "select count(*) from pg_class where relname = any(%s)", [list(names)]
        ).fetchone()
        assert there == (0,)
        for arguments in ({}, {"where": {"k": {"$lt": 400}}}):
            for n_results in (1, 40):
                assert log.check("cosine", arguments, n_results, 2) == 1
