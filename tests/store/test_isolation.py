"""pgchroma's transactions are read committed, whatever the default of the role or the database."""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import errors as pg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from sqlalchemy import create_engine, text

import pgchroma
from pgchroma.backends import retries
from pgchroma.store import resolved, run, run_async
from pgchroma.store.running.errors import is_retryable
from pgchroma.store.running.steps import Statement, Transaction, WithSettings
from tests.planner.proxy import counting

DEFAULTS = ("serializable", "repeatable read", "read uncommitted")

SHOW = Statement(b"select current_setting('transaction_isolation')")
OTHER = Statement(b"select 1")


def alone() -> Any:
    return (yield SHOW)[0][0]


def together() -> Any:
    return (yield OTHER, SHOW)[0][0]


def tuned() -> Any:
    return (yield WithSettings((Statement(b"set local jit = off"),), SHOW))[0][0]


def atomic() -> Any:
    return (yield Transaction(alone()))


EXCHANGES = (alone, together, tuned, atomic)


def strict(url: str, level: str = "serializable", **others: str) -> None:
    """Change the defaults of a database."""
    name = sql.Identifier(str(conninfo_to_dict(url)["dbname"]))
    with psycopg.connect(url, autocommit=True) as connection:
        for setting, value in {"default_transaction_isolation": level, **others}.items():
            change = sql.SQL("alter database {} set {} = {}")
            connection.execute(change.format(name, sql.Identifier(setting), sql.Literal(value)))


@pytest.fixture(params=[*DEFAULTS, "read committed"])
def defaulting(request: pytest.FixtureRequest, url: str) -> str:
    strict(url, request.param, default_transaction_deferrable="on")
    return url


@pytest.mark.parametrize("role", [None, "pg_monitor"])
def test_every_kind_of_step_is_read_committed(defaulting: str, role: str | None) -> None:
    for exchange in EXCHANGES:
        with psycopg.connect(defaulting, autocommit=True) as connection:
            levels = [run(connection, exchange(), role) for _ in range(3)]
            assert levels == ["read committed"] * 3, exchange


async def test_every_kind_of_step_of_an_asynchronous_client_is_too(defaulting: str) -> None:
    for exchange in EXCHANGES:
        connection = await psycopg.AsyncConnection.connect(defaulting, autocommit=True)
        async with connection:
            levels = [await run_async(connection, exchange()) for _ in range(3)]
            assert levels == ["read committed"] * 3, exchange


def test_a_transaction_of_the_callers_stays_as_it_is(url: str) -> None:
    strict(url)
    with psycopg.connect(url) as connection:
        for exchange in EXCHANGES:
            assert run(connection, exchange()) == "serializable"


def test_an_engine_is_left_as_it_was(url: str) -> None:
    strict(url)
    engine = create_engine(
        "postgresql+psycopg://", creator=lambda: psycopg.connect(url), pool_size=1, max_overflow=0
    )
    with pgchroma.PostgresClient(engine) as client:
        papers = client.create_collection("papers", embedding_function=None)
        papers.upsert(ids="1", embeddings=[1.0])
        assert papers.count() == 1
    with engine.connect() as connection:
        level = connection.execute(text("show transaction_isolation")).scalar_one()
    engine.dispose()
    assert level == "serializable"


@pytest.fixture
def problems(monkeypatch: pytest.MonkeyPatch) -> list[BaseException]:
    met: list[BaseException] = []

    def note(error: BaseException) -> bool:
        met.append(error)
        return is_retryable(error)

    monkeypatch.setattr(retries, "is_retryable", note)
    return met


@pytest.mark.parametrize("way", ["straight", "bouncer"])
@pytest.mark.parametrize("level", DEFAULTS[:2])
def test_no_write_and_no_read_fails_to_be_serialized(
    request: pytest.FixtureRequest,
    url: str,
    way: str,
    level: str,
    problems: list[BaseException],
    caplog: pytest.LogCaptureFixture,
) -> None:
    strict(url, level)
    settings = pgchroma.Settings(pgchroma_compaction=False)
    if way == "bouncer":
        bouncer = request.getfixturevalue("bouncer")
        url = make_conninfo(bouncer, dbname=conninfo_to_dict(url)["dbname"])
        settings.pgchroma_prepared_statements = False
    ids = [f"id{n}" for n in range(10)]
    with pgchroma.PostgresClient(url, settings) as client:
        papers = client.create_collection("papers", embedding_function=None)
        papers.add(ids=ids, embeddings=[[1.0]] * 10)

        def work(number: int) -> None:
            for turn in range(10):
                papers.upsert(ids=ids[turn % 3 :], embeddings=[[2.0]] * (10 - turn % 3))
                papers.update(ids=ids[::-1], metadatas=[{"k": number}] * 10)
                papers.query(query_embeddings=[1.0])
                papers.delete(ids=ids[number : number + 2])
                assert papers.count() >= 0
                papers.get(where={"k": number})

        with ThreadPoolExecutor(8) as threads:
            list(threads.map(work, range(8)))
    assert problems == []
    assert [record for record in caplog.records if record.name.startswith("psycopg")] == []


def test_it_costs_no_round_trip(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Once a second the client looks for new indexes.
    monkeypatch.setattr(resolved, "FRESH_SECONDS", 3_600.0)
    strict(url)
    with counting(url, tmp_path) as counted:
        settings = pgchroma.Settings(pgchroma_compaction=False, pgchroma_pool_size=1)
        with pgchroma.PostgresClient(counted.conninfo, settings) as client:
            papers = client.create_collection("papers", embedding_function=None)
            papers.upsert(ids=["1"], embeddings=[[1.0]])
            papers.query(query_embeddings=[1.0])
            calls = (
                papers.count,
                papers.get,
                lambda: papers.upsert(ids=["1", "2"], embeddings=[[1.0]] * 2),
                lambda: papers.add(ids=["3"], embeddings=[[1.0]]),
                lambda: papers.update(ids=["3"], embeddings=[[1.0]]),
                lambda: papers.query(query_embeddings=[1.0]),
                lambda: papers.delete(ids=["3"]),
            )
            for call in calls:
                counted.drain()
                call()
                assert counted.drain() == 1


def test_a_read_only_default_is_not_overruled(url: str) -> None:
    strict(url, "serializable", default_transaction_read_only="on")
    with psycopg.connect(url, autocommit=True) as connection:

        def write() -> Any:
            yield OTHER, Statement(b"create table t ()")

        with pytest.raises(pg.ReadOnlySqlTransaction):
            run(connection, write())


@pytest.fixture
def quiet(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    with caplog.at_level(logging.WARNING):
        yield
    assert [record.getMessage() for record in caplog.get_records("call")] == []


class Slow(dict[str, Any]):
    """Parameters that adapt slowly, so that an error arrives while the rest is still being sent."""

    def __getitem__(self, key: str) -> Any:
        time.sleep(0.2)
        return super().__getitem__(key)


def failing() -> Any:
    rest = Statement(b"select length(%(text)s)", Slow(text="x" * 100_000), reuses_plan=False)
    return (yield Statement(b"select 1 / 0"), rest, rest, rest)


def lost() -> Any:
    ended = Statement(b"select pg_terminate_backend(pg_backend_pid())")
    return (yield Transaction(one(ended)))


def one(statement: Statement) -> Any:
    return (yield statement)


@pytest.mark.usefixtures("quiet")
@pytest.mark.parametrize("exchange", [failing, lost])
def test_what_follows_from_a_fault_is_not_logged(url: str, exchange: Any) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        with pytest.raises((pg.DivisionByZero, pg.AdminShutdown)):
            run(connection, exchange())
        if not connection.closed:
            assert run(connection, alone()) == "read committed"


@pytest.fixture
async def asynchronous(url: str) -> AsyncIterator[psycopg.AsyncConnection[Any]]:
    connection = await psycopg.AsyncConnection.connect(url, autocommit=True)
    yield connection
    await connection.close()


@pytest.mark.usefixtures("quiet")
@pytest.mark.parametrize("exchange", [failing, lost])
async def test_what_follows_from_a_fault_is_not_logged_asynchronously(
    asynchronous: psycopg.AsyncConnection[Any], exchange: Any
) -> None:
    with pytest.raises((pg.DivisionByZero, pg.AdminShutdown)):
        await run_async(asynchronous, exchange())
    if not asynchronous.closed:
        assert await run_async(asynchronous, alone()) == "read committed"
