"""Prepared statements that pgchroma's own sessions execute without a cursor."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import psycopg
import pytest

from pgchroma.backends._async.sources import AsyncPoolSource
from pgchroma.backends._sync.sources import PoolSource
from pgchroma.store.running._async import driver as async_driver
from pgchroma.store.running._async.cursors import StepCursor as AsyncStepCursor
from pgchroma.store.running._async.prepared import execute_prepared as execute_prepared_async
from pgchroma.store.running._sync import driver
from pgchroma.store.running._sync.cursors import StepCursor
from pgchroma.store.running._sync.prepared import execute_prepared
from pgchroma.store.running.prepared_statements import NamedStatements
from pgchroma.store.running.sessions import Sessions
from pgchroma.store.running.steps import Rows, Statement, Steps, Transaction

pytestmark = pytest.mark.database

MANY = b"select n, 'text ' || n, n / 7.0::float8 from generate_series(1, %(count)s::int) as n"


class Driven:
    """Runs statements on one connection of a pool, in a loop of its own or in none."""

    def __init__(self, connection: Any, loop: asyncio.AbstractEventLoop | None) -> None:
        self.connection = connection
        self.loop = loop

    def step(self, step: Any) -> Any:
        return self._wait((driver if self.loop is None else async_driver).run, _once(step))

    def rows(self, text: bytes, parameters: Mapping[str, Any] | None = None) -> list[Any]:
        return list(self.step(Statement(text, parameters or {}, prepares_at_once=True)))

    def without_cursor(
        self, text: bytes, parameters: Mapping[str, Any] | None = None
    ) -> Rows | None:
        statement = Statement(text, parameters or {})
        return self._wait(  # type: ignore[no-any-return]
            execute_prepared if self.loop is None else execute_prepared_async, statement
        )

    def _wait(self, run: Any, argument: Any) -> Any:
        answer = run(self.connection, argument)
        return answer if self.loop is None else self.loop.run_until_complete(answer)


def _once(step: Any) -> Steps[Any]:
    return (yield step)


@pytest.fixture(params=["sync", "async"])
def driven(request: pytest.FixtureRequest, url: str) -> Iterator[Driven]:
    with _open(request.param, url, Sessions(None, are_own=True)) as opened:
        # The first statement asks for the isolation level, in a transaction.
        opened.rows(b"select 1")
        yield opened


@contextmanager
def _open(kind: str, url: str, sessions: Sessions) -> Iterator[Driven]:
    if kind == "sync":
        source = PoolSource(url, size=1, timeout=10, sessions=sessions)
        with source.connection() as connection:
            yield Driven(connection, None)
        source.close()
        return
    with asyncio.Runner() as runner:
        async_source = AsyncPoolSource(url, size=1, timeout=10, sessions=sessions)
        checked_out = async_source.connection()
        async_connection = runner.run(checked_out.__aenter__())
        yield Driven(async_connection, runner.get_loop())
        runner.run(checked_out.__aexit__(None, None, None))
        async_source.close()


@pytest.mark.parametrize("count", [0, 1, 499, 500, 501, 1_500])
def test_rows_are_those_of_a_cursor(driven: Driven, count: int) -> None:
    assert driven.without_cursor(MANY, {"count": count}) is None
    expected = driven.rows(MANY, {"count": count})
    assert len(expected) == count
    assert driven.without_cursor(MANY, {"count": count}) == expected
    assert driven.rows(MANY, {"count": count}) == expected


def test_every_type_is_converted_alike(driven: Driven) -> None:
    text = b"""
    select %(t)s::text, %(l)s::text[], %(i)s::bigint, %(f)s::float8, %(b)s::bytea, %(n)s::text,
        %(o)s::boolean, %(j)s::text::jsonb, array[1, null]::int[], null::text[]
    """
    values = {
        "t": 'quote " \\ é 漢',
        "l": ["a,b", '"', None, "", "{}"],
        "i": 1 << 40,
        "f": 1e300,
        "b": bytes(range(256)),
        "n": None,
        "o": True,
        "j": '{"a": [1, 2.5, null]}',
    }
    expected = driven.rows(text, values)
    assert driven.without_cursor(text, values) == expected


def test_a_cursor_is_made_no_more(driven: Driven, monkeypatch: pytest.MonkeyPatch) -> None:
    for count in range(1, 8):
        driven.step(Statement(MANY, {"count": count}))

    def fail(*_: object, **__: object) -> None:
        raise AssertionError("a cursor was used")

    monkeypatch.setattr(StepCursor, "execute", fail)
    monkeypatch.setattr(AsyncStepCursor, "execute", fail)
    assert len(driven.step(Statement(MANY, {"count": 9}))) == 9
    with pytest.raises(AssertionError, match="a cursor"):
        driven.step(Statement(MANY, {"count": 9}, reuses_plan=False))


def test_parameters_of_other_types_are_another_statement(driven: Driven) -> None:
    text = b"select pg_typeof(%(value)s)::text"
    for value, kind in (
        (1, "smallint"),
        (1 << 20, "integer"),
        (True, "boolean"),
        (["a"], "text[]"),
    ):
        assert driven.rows(text, {"value": value}) == [(kind,)]
        assert driven.rows(text, {"value": value}) == [(kind,)]


def test_an_error_is_that_of_a_cursor(driven: Driven) -> None:
    text = b"select 1 / %(divisor)s::int"
    assert driven.rows(text, {"divisor": 1}) == [(1,)]
    for _ in range(2):
        with pytest.raises(psycopg.errors.DivisionByZero, match="division by zero") as raised:
            driven.rows(text, {"divisor": 0})
        assert raised.value.diag.sqlstate == "22012"
        assert driven.without_cursor(text, {"divisor": 1}) == [(1,)]


def test_in_a_transaction_an_error_undoes_what_was_written(driven: Driven) -> None:
    driven.rows(b"create temporary table written (n int)")
    insert, divide = b"insert into written values (%(n)s::int)", b"select 1 / %(n)s::int"
    for n in (1, 2):
        assert driven.rows(insert, {"n": n}) == []
        assert driven.rows(divide, {"n": n})

    def steps() -> Steps[None]:
        yield Statement(insert, {"n": 3})
        yield Statement(divide, {"n": 0})

    with pytest.raises(psycopg.errors.DivisionByZero):
        driven.step(Transaction(steps()))
    assert driven.rows(b"select n from written order by n") == [(1,), (2,)]


def test_a_statement_without_rows_returns_none(driven: Driven) -> None:
    driven.rows(b"create temporary table noted (n int)")
    insert = b"insert into noted values (%(n)s::int)"
    driven.rows(insert, {"n": 1})
    assert driven.without_cursor(insert, {"n": 2}) == ()
    assert driven.rows(b"select count(*) from noted") == [(2,)]


def test_a_changed_table_is_an_error_once(driven: Driven) -> None:
    driven.rows(b"create temporary table changing (a int)")
    driven.rows(b"insert into changing values (1)")
    text = b"select * from changing"
    assert driven.rows(text) == [(1,)]
    driven.rows(b"alter table changing add column b int default 2")
    # psycopg forgets all prepared statements after `alter`.
    assert driven.rows(text) == [(1, 2)]


def test_what_is_executed_stays_prepared(driven: Driven) -> None:
    """With more statements than are kept, those that were not used for longest go."""
    statements = driven.connection._prepared
    assert isinstance(statements, NamedStatements)
    often = b"select 'often'"
    driven.rows(often)
    for number in range(3 * statements.prepared_max):
        driven.rows(b"select %d" % number)
        assert driven.rows(often) == [("often",)]
    assert driven.without_cursor(often) == [("often",)]
    names = driven.rows(b"select count(*) from pg_prepared_statements")
    assert names[0][0] <= statements.prepared_max + 2


def test_a_result_is_not_kept(driven: Driven) -> None:
    driven.rows(MANY, {"count": 10})
    assert driven.without_cursor(MANY, {"count": 10_000}) is not None
    assert driven.connection._prepared.transformer.pgresult is None


def test_a_closed_connection_is_an_operational_error(driven: Driven) -> None:
    driven.rows(MANY, {"count": 1})
    (pid,) = driven.rows(b"select pg_backend_pid()")[0]
    with psycopg.connect(driven.connection.info.dsn, autocommit=True) as other:
        other.execute("select pg_terminate_backend(%s, 5000)", [pid])
    with pytest.raises(psycopg.OperationalError):
        driven.rows(MANY, {"count": 1})
    assert driven.connection.closed


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_a_session_that_is_shared_uses_cursors(kind: str, url: str) -> None:
    with _open(kind, url, Sessions(None)) as opened:
        for _ in range(3):
            opened.rows(b"select 1")
        assert opened.without_cursor(b"select 1") is None


async def test_a_cancelled_statement_ends_and_the_connection_remains(url: str) -> None:
    source = AsyncPoolSource(url, size=1, timeout=10, sessions=Sessions(None, are_own=True))
    text = b"select pg_sleep(%(seconds)s::float8), 1"
    async with source.connection() as connection:
        for seconds in (0.0, 0.0):
            statement = Statement(text, {"seconds": seconds}, prepares_at_once=True)
            await async_driver.run(connection, _once(statement))
        begin = time.monotonic()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await execute_prepared_async(connection, Statement(text, {"seconds": 600.0}))
        assert time.monotonic() - begin < 60
        rows = await execute_prepared_async(connection, Statement(text, {"seconds": 0.0}))
        assert rows is not None
        assert rows[0][1] == 1
    source.close()


def test_another_session_cancels_a_statement(url: str) -> None:
    with _open("sync", url, Sessions(None, are_own=True)) as opened:
        text = b"select pg_sleep(%(seconds)s::float8)"
        opened.rows(text, {"seconds": 0.0})
        opened.rows(text, {"seconds": 0.0})
        timer = threading.Timer(0.3, opened.connection.cancel_safe)
        timer.start()
        with pytest.raises(psycopg.errors.QueryCanceled):
            opened.without_cursor(text, {"seconds": 600.0})
        timer.join()
        assert opened.without_cursor(text, {"seconds": 0.0}) is not None


@asynccontextmanager
async def _pair(url: str) -> AsyncIterator[list[Any]]:
    source = AsyncPoolSource(url, size=2, timeout=10, sessions=Sessions(None, are_own=True))
    async with source.connection() as first, source.connection() as second:
        yield [first, second]
    source.close()


async def test_two_connections_wait_at_the_same_time(url: str) -> None:
    text = b"select pg_advisory_lock_shared(%(key)s::bigint), 1"
    unlock = b"select pg_advisory_unlock_shared(%(key)s::bigint)"
    async with _pair(url) as connections:
        for connection in connections:
            for one in (text, unlock):
                statement = Statement(one, {"key": 5}, prepares_at_once=True)
                await async_driver.run(connection, _once(statement))
        with psycopg.connect(url, autocommit=True) as holder:
            holder.execute("select pg_advisory_lock(5)")
            waiting = [
                asyncio.create_task(_rows_of(connection, text)) for connection in connections
            ]
            await asyncio.sleep(0.2)
            assert not any(task.done() for task in waiting)
            holder.execute("select pg_advisory_unlock(5)")
            assert [rows[0][1] for rows in await asyncio.gather(*waiting)] == [1, 1]


async def _rows_of(connection: Any, text: bytes) -> Rows:
    rows = await execute_prepared_async(connection, Statement(text, {"key": 5}))
    assert rows is not None
    return rows
