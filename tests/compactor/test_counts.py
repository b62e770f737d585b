"""The number of records: each write inserts a row of counts, and the compactor merges them."""

from __future__ import annotations

import threading
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import psycopg
import pytest

import pgchroma
from pgchroma.compactor import maintenance, state
from pgchroma.store import run
from pgchroma.store.layout.tables import CollectionTables
from tests.compactor.conftest import QUIET, compact, filled, more, vectors

SCHEMA = "default_tenant__default_database"


def _rows(url: str, collection: pgchroma.Collection) -> int:
    with psycopg.connect(url) as plain:
        found = plain.execute(f"select count(*) from {SCHEMA}.counts_{collection.id.hex}")
        return int((found.fetchone() or (0,))[0])


def _truth(url: str, collection: pgchroma.Collection) -> int:
    with psycopg.connect(url) as plain:
        found = plain.execute(f"select count(*) from {SCHEMA}.records_{collection.id.hex}")
        return int((found.fetchone() or (0,))[0])


def test_every_way_to_write_is_counted(url: str, client: pgchroma.ClientAPI) -> None:
    collection = filled(client, count=50)
    expected = 50

    def holds(change: int) -> None:
        nonlocal expected
        expected += change
        assert collection.count() == expected == _truth(url, collection)

    collection.add(ids=["0", "new", "new2"], embeddings=vectors(3))
    holds(2)
    collection.add(ids=["0", "1"], embeddings=vectors(2))
    holds(0)
    collection.upsert(ids=["0", "newer"], embeddings=vectors(2))
    holds(1)
    collection.update(ids=["0", "nobody"], embeddings=vectors(2))
    holds(0)
    collection.delete(ids=["0", "nobody"])
    holds(-1)
    collection.delete(where={"number": {"$gte": 40}})
    holds(-10)
    collection.delete(where={"number": {"$gte": 0}}, limit=5)
    holds(-5)
    collection.delete(where={"number": -1})
    holds(0)
    compact(url)
    holds(0)
    collection.delete(where={"number": {"$gte": 0}})
    collection.delete(ids=["new", "new2", "newer"])
    assert collection.count() == _truth(url, collection) == 0
    bare = client.create_collection("bare")
    assert bare.count() == 0
    bare.upsert(ids=["a", "b"], documents=["x", "y"], embeddings=vectors(2))
    assert bare.count() == 2


def test_what_fails_or_is_rolled_back_is_not_counted(url: str) -> None:
    from sqlalchemy import create_engine  # noqa: PLC0415

    engine = create_engine("postgresql+psycopg://", creator=lambda: psycopg.connect(url))
    with pgchroma.PostgresClient(url, QUIET) as client:
        collection = filled(client, count=10)
        with pytest.raises(pgchroma.errors.InvalidArgumentError):
            collection.add(ids=["x", "y"], embeddings=[[1.0], [2.0]])
        with engine.connect() as joined, pgchroma.PostgresClient(joined) as inside:
            same = inside.get_collection("papers", embedding_function=None)
            same.add(ids=["x", "y"], embeddings=vectors(2))
            same.delete(ids=["0"])
            assert same.count() == 11
            joined.rollback()
        assert collection.count() == 10
    engine.dispose()


def test_many_writes_are_added_up(url: str, client: pgchroma.ClientAPI) -> None:
    collection = filled(client, count=10)
    for n in range(state.MAX_COUNT_ROWS - 1):
        more(collection, 1, start=10 + n)
    compact(url)
    assert _rows(url, collection) == state.MAX_COUNT_ROWS
    collection.delete(ids=["0"])
    compact(url)
    assert _rows(url, collection) == 1
    assert collection.count() == _truth(url, collection) == 72


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Counts are merged whenever the compactor polls."""
    monkeypatch.setattr(state, "MAX_COUNT_ROWS", 3)


@pytest.mark.usefixtures("hasty")
def test_adding_up_while_others_write_and_add_up_loses_nothing(
    url: str, client: pgchroma.ClientAPI
) -> None:
    collection = filled(client, count=100)
    tables, stop = CollectionTables(SCHEMA, collection.id), threading.Event()

    def fold() -> int:
        folded = 0
        with psycopg.connect(url, autocommit=True) as plain:
            while not stop.is_set():
                run(plain, _folding(tables))
                folded += 1
        return folded

    def write(number: int) -> None:
        for turn in range(25):
            ids = [f"{number}-{turn}-{n}" for n in range(3)]
            collection.upsert(ids=ids, embeddings=vectors(3))
            collection.delete(ids=ids[:1])

    def watch() -> None:
        while not stop.is_set():
            assert 100 <= collection.count() <= 100 + 4 * 25 * 3

    with ThreadPoolExecutor(8) as pool:
        others: list[Future[Any]] = [pool.submit(each) for each in (fold, fold, watch)]
        try:
            list(pool.map(write, range(4)))
        finally:
            stop.set()
        for each in others:
            each.result()
    assert collection.count() == _truth(url, collection) == 100 + 4 * 25 * 2


def _folding(tables: CollectionTables) -> Any:
    class OfTables:
        def __init__(self) -> None:
            self.tables, self.role = tables, None

    yield maintenance.merge_counts(OfTables()).step  # type: ignore[arg-type]


@pytest.mark.usefixtures("hasty")
def test_adding_up_that_is_killed_has_not_happened(
    url: str, client: pgchroma.ClientAPI, superuser: psycopg.Connection[Any]
) -> None:
    collection = filled(client, count=10)
    for n in range(10):
        more(collection, 1, start=10 + n)
    tables = CollectionTables(SCHEMA, collection.id)
    with psycopg.connect(url) as dying:
        run(dying, _folding(tables))
        assert collection.count() == 20, "others see it only after the commit"
        superuser.execute("select pg_terminate_backend(%s)", [dying.info.backend_pid])
        with pytest.raises(psycopg.OperationalError):
            dying.commit()
    assert _rows(url, collection) == 11
    assert collection.count() == _truth(url, collection) == 20
    compact(url)
    assert _rows(url, collection) == 1
    assert collection.count() == 20
