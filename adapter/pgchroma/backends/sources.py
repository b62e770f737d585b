"""Connection sources of direct backends.

A source lends a psycopg connection for one operation. The connection comes from pgchroma's pool or
from the caller's SQLAlchemy engine, or it is the caller's own, inside the caller's transaction.
"""

from __future__ import annotations

import os
import time
import weakref
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

import psycopg
from psycopg.conninfo import make_conninfo
from psycopg.pq import TransactionStatus
from psycopg.rows import tuple_row

from pgchroma.backends.pool import AsyncPool, Pool, answers, answers_async, needs_check
from pgchroma.backends.turns import turn, turn_async
from pgchroma.backends.urls import place_of
from pgchroma.errors import InvalidArgumentError, UnavailableError
from pgchroma.store.running.errors import mapped_errors
from pgchroma.store.running.sessions import SESSION_FACTS, Sessions

if TYPE_CHECKING:
    from sqlalchemy import URL, Engine
    from sqlalchemy import Connection as SqlalchemyConnection
    from sqlalchemy.ext.asyncio import AsyncConnection as SqlalchemyAsyncConnection
    from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession
    from sqlalchemy.orm import Session

__all__ = (
    "AsyncCallerConnection",
    "AsyncEngineSource",
    "AsyncPoolSource",
    "AsyncSource",
    "CallerConnection",
    "EngineSource",
    "PoolSource",
    "Source",
)


class Source(Protocol):
    """Lends connections.

    Attributes:
        in_caller_transaction: Whether the connection is in a transaction that the caller ends.
    """

    in_caller_transaction: bool

    def lend(self) -> Any:
        """Return a context manager whose value is a `psycopg.Connection`."""
        ...

    def lose_statements(self) -> None:
        """Prepare no statements from now on, since a pooler lost one."""
        ...

    def close(self) -> None:
        """Close what is ours to close."""
        ...


class PoolSource:
    """A pool of our own."""

    in_caller_transaction = False

    def __init__(
        self,
        conninfo: str,
        *,
        size: int,
        timeout: float,
        sessions: Sessions,
        patience: float | None = None,
    ) -> None:
        self._sessions = sessions
        # The pool must not refer to this source, which could then never be collected.
        self._pool = Pool(
            conninfo,
            size=size,
            timeout=timeout,
            patience=patience,
            configure=partial(_introduce, sessions=sessions),
        )
        # A client that is dropped without being closed leaves its connections to be closed.
        weakref.finalize(self, _close_here, self._pool, os.getpid())

    @contextmanager
    def lend(self) -> Generator[psycopg.Connection[Any], None, None]:
        """Take a connection out of the pool."""
        with self._pool.lend() as connection:
            self._sessions.remind(connection)
            yield connection

    def lose_statements(self) -> None:
        """Prepare no statements from now on."""
        self._sessions.lose_statements()

    def close(self) -> None:
        """Close every connection."""
        self._pool.close()


class EngineSource:
    """The caller's SQLAlchemy engine; each operation is a transaction of its own."""

    in_caller_transaction = False

    def __init__(self, engine: Engine, sessions: Sessions) -> None:
        _require_psycopg(engine.dialect.driver)
        self._engine = engine.execution_options(isolation_level="AUTOCOMMIT")
        self._sessions = sessions

    @contextmanager
    def lend(self) -> Generator[psycopg.Connection[Any], None, None]:
        """Check a connection out of the engine's pool."""
        with mapped_errors(_place(self._engine.url)), _errors_of_sqlalchemy():
            connection = self._working()
        with connection:
            yield _driver_connection(connection)
            connection.info[_USED_AT] = time.monotonic()

    def lose_statements(self) -> None:
        """Prepare no statements from now on."""
        self._sessions.lose_statements()

    def close(self) -> None:
        """Leave the engine to its owner."""

    def _working(self) -> SqlalchemyConnection:
        """Check connections out until one works: some may have been closed while they were idle."""
        while True:
            connection = self._engine.connect()
            try:
                driver = _driver_connection(connection)
                if not _was_idle(connection, driver) or answers(driver):
                    _introduce(driver, self._sessions)
                    return connection
                connection.invalidate()
                connection.close()
            except BaseException:
                connection.close()
                raise


class CallerConnection:
    """The caller's connection or session. Every operation is part of the caller's transaction.

    Calls from several threads take turns. SQLAlchemy does not order the caller's own statements
    with them: as always there, one connection is for one thread at a time.
    """

    in_caller_transaction = True

    def __init__(self, owner: SqlalchemyConnection | Session, sessions: Sessions) -> None:
        self._owner = owner
        self._sessions = sessions
        with turn(owner):
            _require_psycopg(self._connection().dialect.driver)

    @contextmanager
    def lend(self) -> Generator[psycopg.Connection[Any], None, None]:
        """Lend the caller's connection after making sure that its transaction has begun."""
        with turn(self._owner):
            with _errors_of_sqlalchemy():
                connection = self._connection()
                if not connection.in_transaction():
                    connection.begin()
                driver = _driver_connection(connection)
            with turn(driver):
                if _is_idle(driver):
                    driver.execute(_BEGIN, prepare=False)
                _introduce(driver, self._sessions)
                yield driver

    def lose_statements(self) -> None:
        """Prepare no statements from now on."""
        self._sessions.lose_statements()

    def close(self) -> None:
        """Leave the connection to its owner."""

    def _connection(self) -> SqlalchemyConnection:
        from sqlalchemy.orm import Session  # noqa: PLC0415  (only where the caller has it)

        return self._owner.connection() if isinstance(self._owner, Session) else self._owner


class AsyncSource(Protocol):
    """Lends asynchronous connections; see `Source`."""

    in_caller_transaction: bool

    def statistics(self) -> dict[str, int]:
        """Tell how the pool is; empty where there is none of ours."""
        return {}

    def lend(self) -> Any:
        """Return an async context manager whose value is a `psycopg.AsyncConnection`."""
        ...

    def lose_statements(self) -> None:
        """Prepare no statements from now on, since a pooler lost one."""
        ...

    async def close(self) -> None:
        """Close what is ours to close."""
        ...


class AsyncPoolSource(AsyncSource):
    """A pool of our own."""

    in_caller_transaction = False

    def __init__(
        self,
        conninfo: str,
        *,
        size: int,
        timeout: float,
        sessions: Sessions,
        patience: float | None = None,
    ) -> None:
        self._sessions = sessions
        # The pool must not refer to this source, which could then never be collected.
        self._pool = AsyncPool(
            conninfo,
            size=size,
            timeout=timeout,
            patience=patience,
            configure=partial(_introduce_async, sessions=sessions),
        )
        weakref.finalize(self, _close_here, self._pool, os.getpid())

    @asynccontextmanager
    async def lend(self) -> AsyncGenerator[psycopg.AsyncConnection[Any], None]:
        """Take a connection out of the pool."""
        async with self._pool.lend() as connection:
            self._sessions.remind(connection)
            yield connection

    def statistics(self) -> dict[str, int]:
        """Tell how the pool is."""
        return self._pool.statistics()

    def lose_statements(self) -> None:
        """Prepare no statements from now on."""
        self._sessions.lose_statements()

    async def close(self) -> None:
        """Close every connection."""
        self._pool.close()


class AsyncEngineSource(AsyncSource):
    """The caller's asynchronous SQLAlchemy engine."""

    in_caller_transaction = False

    def __init__(self, engine: AsyncEngine, sessions: Sessions) -> None:
        _require_psycopg(engine.dialect.driver)
        self._engine = engine.execution_options(isolation_level="AUTOCOMMIT")
        self._sessions = sessions

    @asynccontextmanager
    async def lend(self) -> AsyncGenerator[psycopg.AsyncConnection[Any], None]:
        """Check a connection out of the engine's pool."""
        with mapped_errors(_place(self._engine.url)), _errors_of_sqlalchemy():
            connection = await self._working()
        try:
            yield await _async_driver_connection(connection)
            connection.info[_USED_AT] = time.monotonic()
        finally:
            await connection.close()

    def lose_statements(self) -> None:
        """Prepare no statements from now on."""
        self._sessions.lose_statements()

    async def close(self) -> None:
        """Leave the engine to its owner."""

    async def _working(self) -> SqlalchemyAsyncConnection:
        """Check connections out until one works; see `EngineSource`."""
        while True:
            connection = await self._engine.connect()
            try:
                driver = await _async_driver_connection(connection)
                if not _was_idle(connection, driver) or await answers_async(driver):
                    await _introduce_async(driver, self._sessions)
                    return connection
                await connection.invalidate()
                await connection.close()
            except BaseException:
                await connection.close()
                raise


class AsyncCallerConnection(AsyncSource):
    """The caller's asynchronous connection or session; see `CallerConnection`."""

    in_caller_transaction = True

    def __init__(self, owner: SqlalchemyAsyncConnection | AsyncSession, sessions: Sessions) -> None:
        self._owner = owner
        self._sessions = sessions

    @asynccontextmanager
    async def lend(self) -> AsyncGenerator[psycopg.AsyncConnection[Any], None]:
        """Lend the caller's connection after making sure that its transaction has begun."""
        from sqlalchemy.ext.asyncio import AsyncSession  # noqa: PLC0415

        owner = self._owner
        async with turn_async(owner):
            with _errors_of_sqlalchemy():
                connection = await owner.connection() if isinstance(owner, AsyncSession) else owner
                _require_psycopg(connection.dialect.driver)
                if not connection.in_transaction():
                    await connection.begin()
                driver = await _async_driver_connection(connection)
            async with turn_async(driver):
                if _is_idle(driver):
                    await driver.execute(_BEGIN, prepare=False)
                await _introduce_async(driver, self._sessions)
                yield driver

    def lose_statements(self) -> None:
        """Prepare no statements from now on."""
        self._sessions.lose_statements()

    async def close(self) -> None:
        """Leave the connection to its owner."""


def _require_psycopg(driver: str) -> None:
    if not driver.startswith("psycopg") or driver == "psycopg2":
        raise InvalidArgumentError(
            f"the SQLAlchemy engine uses the driver {driver}; pgchroma runs on psycopg 3: make "
            "the engine with a URL that starts with postgresql+psycopg://"
        )


@contextmanager
def _errors_of_sqlalchemy() -> Generator[None, None, None]:
    """Raise what SQLAlchemy raises when it has no connection as what it means."""
    from sqlalchemy.exc import (  # noqa: PLC0415
        DBAPIError,
        PendingRollbackError,
        ResourceClosedError,
    )
    from sqlalchemy.exc import TimeoutError as PoolTimeoutError  # noqa: PLC0415

    try:
        yield
    except DBAPIError as error:
        raise error.orig or error from error
    except PoolTimeoutError as error:
        raise UnavailableError(f"the engine has no connection left: {error}") from error
    except (ResourceClosedError, PendingRollbackError) as error:
        raise InvalidArgumentError(f"the connection cannot be used: {error}") from error


def _place(url: URL) -> str:
    """Return user, host, port and database of an engine's URL, for messages."""
    parts = {"user": url.username, "host": url.host, "port": url.port, "dbname": url.database}
    return place_of(make_conninfo("", **parts))


def _close_here(pool: Pool | AsyncPool, pid: int) -> None:
    # A fork's child would say good-bye in its parent's name.
    if os.getpid() == pid:
        pool.close()


_BEGIN = "select 1"
"""psycopg begins a transaction with the first statement, SQLAlchemy only notes that it did."""


def _is_idle(driver: psycopg.Connection[Any] | psycopg.AsyncConnection[Any]) -> bool:
    # Without a transaction to be part of, a savepoint of ours would be one, and be committed.
    return not driver.autocommit and driver.info.transaction_status is TransactionStatus.IDLE


_USED_AT = "pgchroma_used_at"
"""When an operation last gave an engine's connection back, in what SQLAlchemy keeps with it."""


def _was_idle(
    connection: SqlalchemyConnection | SqlalchemyAsyncConnection,
    driver: psycopg.BaseConnection[Any],
) -> bool:
    """Whether nobody knows that an engine's connection works."""
    return needs_check(driver, connection.info.get(_USED_AT, 0.0))


def _introduce(connection: psycopg.Connection[Any], sessions: Sessions) -> None:
    if sessions.introduce(connection):
        cursor = connection.cursor(row_factory=tuple_row)
        sessions.note(
            connection, *cursor.execute(SESSION_FACTS, prepare=False).fetchone() or (0, None)
        )


async def _introduce_async(connection: psycopg.AsyncConnection[Any], sessions: Sessions) -> None:
    if sessions.introduce(connection):
        cursor = await connection.cursor(row_factory=tuple_row).execute(
            SESSION_FACTS, prepare=False
        )
        sessions.note(connection, *await cursor.fetchone() or (0, None, True))


def _driver_connection(connection: SqlalchemyConnection) -> psycopg.Connection[Any]:
    return connection.connection.driver_connection  # type: ignore[return-value]


async def _async_driver_connection(
    connection: SqlalchemyAsyncConnection,
) -> psycopg.AsyncConnection[Any]:
    raw = await connection.get_raw_connection()
    return raw.driver_connection  # type: ignore[return-value]
