"""A query's round trips and statements, and that its settings apply to nothing else."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
import pytest
from numpy.typing import NDArray
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from sqlalchemy import Connection, create_engine, text

import pgchroma
from pgchroma import K, Knn, Rrf, Search, errors
from pgchroma.backends import pool_state
from pgchroma.store import resolved
from pgchroma.store.search import planner
from tests.planner.proxy import Counted, counting
from tests.planner.segments import compact, create, quiet, watched

ROWS, DIMENSION = 3_000, 32
CONDITIONS: tuple[dict[str, Any], ...] = (
    {},
    {"where": {"k": {"$gte": 10}}},
    {"where": {"k": {"$lt": 10}}},
    {"where_document": {"$regex": "number [1-9]"}},
    {"ids": [f"id{n}" for n in range(0, ROWS, 7)]},
)
SHOWN = ("hnsw.ef_search", "hnsw.iterative_scan", "hnsw.scan_mem_multiplier", "enable_sort", "jit",
         "statement_timeout")  # fmt: skip


@pytest.fixture(autouse=True)
def small_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planner, "MIN_EXACT_SCAN", 50)
    monkeypatch.setattr(planner, "INDEX_ROW_COST", 0)
    # Once a second the client looks for new indexes.
    monkeypatch.setattr(resolved, "FRESH_SECONDS", 3_600.0)


@pytest.fixture(scope="module")
def stored() -> NDArray[np.float32]:
    return np.random.default_rng(29).normal(size=(ROWS, DIMENSION)).astype(np.float32)


@pytest.fixture(scope="module")
def place(module_url: str, stored: NDArray[np.float32]) -> str:
    """A database with a collection that has a segment and a tail."""
    with quiet(module_url) as client:
        collection = create(client, space="cosine")
        for first, last in ((0, ROWS - 20), (ROWS - 20, ROWS)):
            collection.add(
                ids=[f"id{n}" for n in range(first, last)],
                embeddings=stored[first:last],
                documents=[f"number {n}" for n in range(first, last)],
                metadatas=[{"k": n} for n in range(first, last)],
            )
            if first == 0:
                compact(module_url, collection)
    return module_url


def _papers(client: pgchroma.ClientAPI) -> pgchroma.Collection:
    return client.get_collection("papers", embedding_function=None)


@pytest.fixture(scope="module")
def counted(place: str) -> Iterator[Counted]:
    with tempfile.TemporaryDirectory() as directory, counting(place, Path(directory)) as found:
        yield found


def _searches(turn: int) -> list[Search]:
    near = [Knn([float(turn + n)] * DIMENSION, limit=5 + n, return_rank=True) for n in range(2)]
    return [Search(rank=Rrf(near)), Search(where=K("k") >= 10, rank=near[0]), Search(K("k") == 1)]


@pytest.mark.parametrize("prepares", [True, False])
def test_a_query_is_one_round_trip(
    counted: Counted, stored: NDArray[np.float32], prepares: bool
) -> None:
    options = {"pgchroma_pool_size": 1, "pgchroma_prepared_statements": prepares}
    with quiet(counted.conninfo, **options) as client:
        collection = _papers(client)
        collection.query(query_embeddings=stored[:1])
        trips: dict[str, list[int]] = {}
        for turn in range(14):
            for arguments in CONDITIONS:
                for count in (1, 3):
                    counted.drain()
                    collection.query(
                        query_embeddings=stored[turn : turn + count], n_results=5, **arguments
                    )
                    taken = trips.setdefault(f"{count} {[*arguments]}", [])
                    taken.append(counted.drain())
        assert {form: taken for form, taken in trips.items() if max(taken) > 1} == {}
        counted.drain()
        collection.query(query_embeddings=np.resize(stored, (50, DIMENSION)))
        assert counted.drain() == 1
        for turn in range(10):
            collection.search(_searches(turn))
            assert counted.drain() == 1
        collection.count()
        assert counted.drain() == 1
        collection.get(where={"k": 1})
        assert counted.drain() == 1
        collection.get(where_document={"$regex": "number 1$"})
        assert counted.drain() == 1


async def test_a_query_of_an_asynchronous_client_is_one_round_trip(
    counted: Counted, stored: NDArray[np.float32]
) -> None:
    settings = pgchroma.Settings(pgchroma_compaction=False, pgchroma_pool_size=1)
    async with await pgchroma.AsyncPostgresClient(counted.conninfo, settings) as client:
        collection = await client.get_collection("papers", embedding_function=None)
        await collection.query(query_embeddings=stored[:1])
        for arguments in CONDITIONS:
            for count in (1, 3):
                counted.drain()
                await collection.query(query_embeddings=stored[:count], **arguments)
                assert counted.drain() == 1


READS: dict[str, Callable[[Any, NDArray[np.float32]], Any]] = {
    "query": lambda papers, stored: papers.query(query_embeddings=stored[:1]),
    "filtered query": lambda papers, stored: papers.query(
        query_embeddings=stored[:1], where={"k": {"$lt": 100}}
    ),
    "get": lambda papers, _: papers.get(where={"k": 1}),
    "search": lambda papers, stored: papers.search(
        [Search(rank=Knn(stored[0].tolist(), limit=5), limit=5)] * 2
    ),
}


@pytest.mark.parametrize("kind", READS)
def test_a_look_up_of_indexes_goes_along_with_a_read(
    counted: Counted, stored: NDArray[np.float32], kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Each read finds that the last look-up is too old.
    monkeypatch.setattr(resolved, "FRESH_SECONDS", 0.001)
    monkeypatch.setattr(resolved, "LAG_PERIODS", 10**6)
    with quiet(counted.conninfo, pgchroma_pool_size=1) as client:
        papers = _papers(client)
        trips, looked_up = [], []
        context = client._backend._context  # type: ignore[attr-defined]
        for _ in range(6):
            time.sleep(0.01)
            counted.drain()
            READS[kind](papers, stored)
            trips.append(counted.drain())
            (known,) = context._collections.values()
            looked_up.append(known.seen_at)
        assert trips[2:] == [1] * 4
        assert looked_up == sorted(set(looked_up))

        # After a longer pause, it goes ahead.
        monkeypatch.setattr(resolved, "LAG_PERIODS", 0)
        time.sleep(0.01)
        counted.drain()
        READS[kind](papers, stored)
        assert counted.drain() > 1


def test_a_read_is_right_whatever_its_look_up_finds(
    url: str, stored: NDArray[np.float32], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resolved, "FRESH_SECONDS", 0.001)
    monkeypatch.setattr(resolved, "LAG_PERIODS", 10**6)
    with quiet(url) as client, quiet(url) as other:
        collection = create(client, space="cosine")
        collection.add(ids=[f"id{n}" for n in range(ROWS)], embeddings=stored)
        context = client._backend._context  # type: ignore[attr-defined]

        def ids() -> Any:
            time.sleep(0.01)
            return collection.query(query_embeddings=stored[:1], n_results=5)["ids"]

        def segments() -> int:
            (known,) = context._collections.values()
            return len(known.indexes.segments)

        expected = ids()
        assert [ids() for _ in range(2)] == [expected] * 2
        assert segments() == 0
        compact(url, collection)
        # The first read does not know of the index; its look-up does.
        assert ids() == expected
        assert segments() == 1
        assert ids() == expected
        other.delete_collection("papers")
        for _ in range(2):
            with pytest.raises(pgchroma.errors.NotFoundError):
                ids()


CALLS: dict[str, Callable[[Any, Any, int], Any]] = {
    "count": lambda _, papers, __: papers.count(),
    "get": lambda _, papers, __: papers.get(ids=["id1"]),
    "get where": lambda _, papers, __: papers.get(where={"k": 1}),
    "get page": lambda _, papers, n: papers.get(limit=2, offset=n),
    "peek": lambda _, papers, __: papers.peek(),
    "query": lambda _, papers, __: papers.query(query_embeddings=[[1.0] * DIMENSION]),
    "add": lambda _, papers, n: papers.add(ids=[f"new{n}"], embeddings=[[1.0] * DIMENSION]),
    "update": lambda _, papers, n: papers.update(ids=[f"new{n}"], metadatas=[{"n": n}]),
    "upsert": lambda _, papers, n: papers.upsert(ids=[f"new{n}"], embeddings=[[2.0] * DIMENSION]),
    "delete": lambda _, papers, n: papers.delete(ids=[f"new{n}"]),
    "delete where": lambda _, papers, __: papers.delete(where={"k": -1}),
    "modify": lambda _, papers, n: papers.modify(metadata={"turn": n}),
    "indexing status": lambda _, papers, __: papers.get_indexing_status(),
    "list": lambda client, _, __: client.list_collections(),
    "count collections": lambda client, _, __: client.count_collections(),
    "get collection": lambda client, _, __: _papers(client),
    "get or create": lambda client, _, __: client.get_or_create_collection(
        "papers", embedding_function=None
    ),
    "create": lambda client, _, n: client.create_collection(f"other{n}", embedding_function=None),
    "delete collection": lambda client, _, n: client.delete_collection(f"other{n}"),
}
"""Calls of a client, its collection and the number of the call."""

SEVERAL = {"get page", "peek", "modify", "indexing status", "get or create", "create",
           "delete collection"}  # fmt: skip
"""The calls that take more than one round trip."""


def _check_trips(trips: dict[str, list[int]]) -> None:
    # When a table is dropped, psycopg deallocates what it prepared on the connection.
    dropping = trips["delete collection"]
    assert dropping[0] - dropping[1] in (0, 1)
    dropping[0] = dropping[1]
    assert {name: taken for name, taken in trips.items() if len(set(taken)) > 1} == {}
    assert {name for name, taken in trips.items() if taken[0] != 1} <= SEVERAL


@pytest.fixture
def is_never_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool_state, "UNCHECKED_SECONDS", 3_600.0)


@pytest.mark.usefixtures("is_never_checked")
def test_no_call_takes_another_round_trip_to_prepare_a_statement(counted: Counted) -> None:
    with quiet(counted.conninfo, pgchroma_pool_size=1) as client:
        papers = _papers(client)
        trips: dict[str, list[int]] = {}
        for name, call in CALLS.items():
            call(client, papers, 0)
            for number in range(1, 11):
                counted.drain()
                call(client, papers, number)
                trips.setdefault(name, []).append(counted.drain())
    _check_trips(trips)


@pytest.mark.usefixtures("is_never_checked")
async def test_no_call_of_an_asynchronous_client_does_either(counted: Counted) -> None:
    settings = pgchroma.Settings(pgchroma_compaction=False, pgchroma_pool_size=1)
    async with await pgchroma.AsyncPostgresClient(counted.conninfo, settings) as client:
        papers = await client.get_collection("papers", embedding_function=None)
        trips: dict[str, list[int]] = {}
        for name, call in CALLS.items():
            await call(client, papers, 0)
            for number in range(1, 11):
                counted.drain()
                await call(client, papers, number)
                trips.setdefault(name, []).append(counted.drain())
    _check_trips(trips)


def test_queries_together_find_what_each_finds_alone(
    place: str, stored: NDArray[np.float32]
) -> None:
    include: Any = ["distances", "documents", "metadatas", "embeddings"]
    with quiet(place, pgchroma_pool_size=1) as client, watched(client) as seen:
        collection = _papers(client)
        asked = stored[::60][:50] + np.float32(0.05)
        for arguments in CONDITIONS:
            seen.plans.clear()
            together: Any = collection.query(
                query_embeddings=asked, n_results=7, include=include, **arguments
            )
            assert len(seen.plans) == 1, "many queries are one statement"
            for n, query in enumerate(asked):
                alone: Any = collection.query(
                    query_embeddings=[query], n_results=7, include=include, **arguments
                )
                for column in ("ids", "distances", "documents", "metadatas"):
                    assert together[column][n] == alone[column][0]
                assert np.array_equal(together["embeddings"][n], alone["embeddings"][0])


def _shown(connection: Connection) -> dict[str, str]:
    return {name: connection.execute(text(f"show {name}")).scalar_one() for name in SHOWN}


def test_settings_do_not_outlast_a_query_in_the_callers_transaction(
    place: str, stored: NDArray[np.float32]
) -> None:
    engine = create_engine("postgresql+psycopg://", creator=lambda: psycopg.connect(place))
    with engine.connect() as connection:
        connection.execute(text("create temp table orders (id int)"))
        connection.execute(text("select '[1]'::vector"))
        connection.execute(text("set local hnsw.ef_search = 77"))
        connection.execute(text("set enable_sort = on"))
        connection.execute(text("insert into orders values (1)"))
        before = _shown(connection)
        assert before["hnsw.ef_search"] == "77"
        collection = _papers(pgchroma.PostgresClient(connection))
        for turn in range(8):
            for arguments in CONDITIONS:
                for count in (1, 2):
                    found = collection.query(query_embeddings=stored[:count], **arguments)
                    assert len(found["ids"]) == count
                    collection.explain(query_embeddings=stored[:count], **arguments)
                    assert _shown(connection) == before
            collection.recall(sample=2)
            # A query that PostgreSQL ends is undone by itself. It takes seconds, and the statements
            # around it must not be ended.
            connection.execute(text("set local statement_timeout = '100ms'"))
            with pytest.raises(errors.DeadlineExceededError):
                collection.query(query_embeddings=stored[:900], where={"k": {"$gte": 10}})
            connection.execute(text("set local statement_timeout = 0"))
            assert _shown(connection) == before
            connection.execute(text("insert into orders values (:turn)"), {"turn": turn})
        assert connection.execute(text("select count(*) from orders")).scalar_one() == 9
        connection.rollback()
    engine.dispose()


def test_settings_do_not_outlast_a_query_on_a_pools_connection(
    place: str, stored: NDArray[np.float32]
) -> None:
    engine = create_engine(
        "postgresql+psycopg://", creator=lambda: psycopg.connect(place), pool_size=1, max_overflow=0
    )
    with pgchroma.PostgresClient(engine, pgchroma.Settings(pgchroma_compaction=False)) as client:
        collection = _papers(client)
        with engine.connect() as connection:
            connection.execute(text("select '[1]'::vector"))
            before = _shown(connection)
        for arguments in CONDITIONS:
            collection.query(query_embeddings=stored[:1], **arguments)
            with engine.connect() as connection:
                assert _shown(connection) == before
    engine.dispose()


def test_settings_do_not_outlast_a_query_behind_a_pooler(
    bouncer: str, place: str, stored: NDArray[np.float32]
) -> None:
    through = make_conninfo(bouncer, dbname=conninfo_to_dict(place)["dbname"])
    with quiet(through, pgchroma_prepared_statements=False) as client:
        collection = _papers(client)
        alone = [
            collection.query(query_embeddings=stored[:1], **each)["ids"] for each in CONDITIONS
        ]

        def work(turn: int) -> None:
            number = turn % len(CONDITIONS)
            found = collection.query(query_embeddings=stored[:1], **CONDITIONS[number])
            assert found["ids"] == alone[number]
            with psycopg.connect(through, autocommit=True, prepare_threshold=None) as plain:
                # One statement: the next may run on another server.
                rows = plain.execute(
                    "select current_setting('hnsw.ef_search'), current_setting('enable_sort'), "
                    "current_setting('hnsw.iterative_scan'), current_setting('statement_timeout') "
                    "where '[1]'::vector is not null"
                ).fetchall()
                assert rows == [("40", "on", "off", "0")]

        with ThreadPoolExecutor(6) as pool:
            list(pool.map(work, range(60)))
