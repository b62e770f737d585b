"""Where the direct backends take their connections from.

A source lends a psycopg connection for one operation. It comes from a pool of ours, from the
caller's SQLAlchemy engine, or it is the caller's own, inside his transaction.
"""

from __future__ import annotations

import asyncio
import os
import weakref
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any, Protocol

import psycopg
from psycopg.pq import TransactionStatus
from psycopg_pool import AsyncConnectionPool, ConnectionPool

from pgchroma.backends.turns import turn, turn_async
from pgchroma.errors import InvalidArgumentError, UnavailableError
from pgchroma.store.vectors import prepare_vectors

if TYPE_CHECKING:
    from sqlalchemy import Connection as SqlalchemyConnection
    from sqlalchemy import Engine
    from sqlalchemy.ext.asyncio import AsyncConnection as SqlalchemyAsyncConnection
    from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession
    from sqlalchemy.orm import Session

__all__ = (
    "AsyncEngineSource",
    "AsyncJoinedSource",
    "AsyncPoolSource",
    "AsyncSource",
    "EngineSource",
    "JoinedSource",
    "PoolSource",
    "Source",
)


class Source(Protocol):
    """Lends connections.

    Attributes:
        is_joined: Whether the connection is in a transaction that is the caller's to end.
    """

    is_joined: bool

    def lend(self) -> Any:
        """Return a context manager whose value is a `psycopg.Connection`."""
        ...

    def renew(self) -> None:
        """Replace connections that broke while nobody used them."""
        ...

    def close(self) -> None:
        """Close what is ours to close."""
        ...


class PoolSource:
    """A pool of our own."""

    is_joined = False

    def __init__(self, conninfo: str, *, size: int, timeout: float, prepares: bool) -> None:
        self._pool: ConnectionPool[psycopg.Connection[Any]] = ConnectionPool(
            conninfo,
            kwargs=_connection_options(prepares),
            min_size=1,
            max_size=size,
            timeout=timeout,
            name="pgchroma",
            configure=prepare_vectors,
            open=False,
        )
        self._pool.open()
        # A pool that is dropped open would be closed by whichever thread collects it, its own too.
        weakref.finalize(self, _close_here, self._pool, os.getpid())

    @contextmanager
    def lend(self) -> Generator[psycopg.Connection[Any], None, None]:
        """Take a connection out of the pool."""
        # Not by the pool's own context manager: it commits, which an autocommitting one need not.
        connection = self._pool.getconn()
        try:
            yield connection
        finally:
            self._pool.putconn(connection)

    def renew(self) -> None:
        """Test every idle connection and replace those that are broken."""
        self._pool.check()

    def close(self) -> None:
        """Close every connection."""
        self._pool.close()


class EngineSource:
    """The caller's SQLAlchemy engine; each operation is a transaction of its own."""

    is_joined = False

    def __init__(self, engine: Engine) -> None:
        _require_psycopg(engine.dialect.driver)
        self._engine = engine.execution_options(isolation_level="AUTOCOMMIT")

    @contextmanager
    def lend(self) -> Generator[psycopg.Connection[Any], None, None]:
        """Check a connection out of the engine's pool."""
        with _faults_of_sqlalchemy():
            connection = self._engine.connect()
        with connection:
            yield _driver_connection(connection)

    def renew(self) -> None:
        """Drop the engine's idle connections."""
        self._engine.dispose()

    def close(self) -> None:
        """Leave the engine to its owner."""


class JoinedSource:
    """The caller's connection or session: what we do is part of his transaction.

    Calls from several threads take turns. What the caller does on it himself has to wait for
    them, as everywhere in SQLAlchemy.
    """

    is_joined = True

    def __init__(self, owner: SqlalchemyConnection | Session) -> None:
        self._owner = owner
        with turn(owner):
            _require_psycopg(self._connection().dialect.driver)

    @contextmanager
    def lend(self) -> Generator[psycopg.Connection[Any], None, None]:
        """Lend the caller's connection, after making sure his transaction has begun."""
        with turn(self._owner):
            with _faults_of_sqlalchemy():
                connection = self._connection()
                if not connection.in_transaction():
                    connection.begin()
                driver = _driver_connection(connection)
            with turn(driver):
                if _is_idle(driver):
                    driver.execute(_BEGIN)
                yield driver

    def renew(self) -> None:
        """Leave the connection to its owner."""

    def close(self) -> None:
        """Leave the connection to its owner."""

    def _connection(self) -> SqlalchemyConnection:
        from sqlalchemy.orm import Session  # noqa: PLC0415  (only where the caller has it)

        return self._owner.connection() if isinstance(self._owner, Session) else self._owner


class AsyncSource(Protocol):
    """Lends asynchronous connections; see `Source`."""

    is_joined: bool

    def statistics(self) -> dict[str, int]:
        """Tell how the pool is; empty where there is none of ours."""
        return {}

    def lend(self) -> Any:
        """Return an async context manager whose value is a `psycopg.AsyncConnection`."""
        ...

    async def renew(self) -> None:
        """Replace connections that broke while nobody used them."""
        ...

    async def close(self) -> None:
        """Close what is ours to close."""
        ...


class AsyncPoolSource(AsyncSource):
    """A pool of our own."""

    is_joined = False

    def __init__(self, conninfo: str, *, size: int, timeout: float, prepares: bool) -> None:
        self._pool: AsyncConnectionPool[psycopg.AsyncConnection[Any]] = AsyncConnectionPool(
            conninfo,
            kwargs=_connection_options(prepares),
            min_size=1,
            max_size=size,
            timeout=timeout,
            name="pgchroma",
            configure=_prepare_async,
            open=False,
        )
        # The event loop itself keeps no task from being collected.
        self._returning: set[asyncio.Future[None]] = set()

    @asynccontextmanager
    async def lend(self) -> AsyncGenerator[psycopg.AsyncConnection[Any], None]:
        """Take a connection out of the pool, which opens with the first."""
        if self._pool.closed:
            await self._pool.open()
        # Not by the pool's own context manager, as above.
        connection = await self._pool.getconn()
        try:
            yield connection
        finally:
            # Whoever is cancelled while he gives it back would take it with him.
            returning = asyncio.ensure_future(self._pool.putconn(connection))
            self._returning.add(returning)
            returning.add_done_callback(self._returning.discard)
            await asyncio.shield(returning)

    def statistics(self) -> dict[str, int]:
        """Tell how the pool is."""
        return self._pool.get_stats()

    async def renew(self) -> None:
        """Test every idle connection and replace those that are broken."""
        await self._pool.check()

    async def close(self) -> None:
        """Close every connection."""
        await self._pool.close()


class AsyncEngineSource(AsyncSource):
    """The caller's asynchronous SQLAlchemy engine."""

    is_joined = False

    def __init__(self, engine: AsyncEngine) -> None:
        _require_psycopg(engine.dialect.driver)
        self._engine = engine.execution_options(isolation_level="AUTOCOMMIT")

    @asynccontextmanager
    async def lend(self) -> AsyncGenerator[psycopg.AsyncConnection[Any], None]:
        """Check a connection out of the engine's pool."""
        with _faults_of_sqlalchemy():
            connection = await self._engine.connect()
        try:
            yield await _async_driver_connection(connection)
        finally:
            await connection.close()

    async def renew(self) -> None:
        """Drop the engine's idle connections."""
        await self._engine.dispose()

    async def close(self) -> None:
        """Leave the engine to its owner."""


class AsyncJoinedSource(AsyncSource):
    """The caller's asynchronous connection or session, in his transaction; see `JoinedSource`."""

    is_joined = True

    def __init__(self, owner: SqlalchemyAsyncConnection | AsyncSession) -> None:
        self._owner = owner

    @asynccontextmanager
    async def lend(self) -> AsyncGenerator[psycopg.AsyncConnection[Any], None]:
        """Lend the caller's connection, after making sure his transaction has begun."""
        from sqlalchemy.ext.asyncio import AsyncSession  # noqa: PLC0415

        owner = self._owner
        async with turn_async(owner):
            with _faults_of_sqlalchemy():
                connection = await owner.connection() if isinstance(owner, AsyncSession) else owner
                _require_psycopg(connection.dialect.driver)
                if not connection.in_transaction():
                    await connection.begin()
                driver = await _async_driver_connection(connection)
            async with turn_async(driver):
                if _is_idle(driver):
                    await driver.execute(_BEGIN)
                yield driver

    async def renew(self) -> None:
        """Leave the connection to its owner."""

    async def close(self) -> None:
        """Leave the connection to its owner."""


def _require_psycopg(driver: str) -> None:
    if not driver.startswith("psycopg") or driver == "psycopg2":
        raise InvalidArgumentError(
            f"the SQLAlchemy engine uses the driver {driver}; pgchroma runs on psycopg 3: make "
            "the engine with a URL that starts with postgresql+psycopg://"
        )


@contextmanager
def _faults_of_sqlalchemy() -> Generator[None, None, None]:
    """Raise what SQLAlchemy raises when it has no connection as what it means."""
    from sqlalchemy.exc import (  # noqa: PLC0415
        DBAPIError,
        PendingRollbackError,
        ResourceClosedError,
    )
    from sqlalchemy.exc import TimeoutError as PoolTimeoutError  # noqa: PLC0415

    try:
        yield
    except DBAPIError as fault:
        raise fault.orig or fault from fault
    except PoolTimeoutError as fault:
        raise UnavailableError(f"the engine has no connection left: {fault}") from fault
    except (ResourceClosedError, PendingRollbackError) as fault:
        raise InvalidArgumentError(f"the connection cannot be used: {fault}") from fault


def _close_here(pool: ConnectionPool[Any], pid: int) -> None:
    # A fork's child would say good-bye in its parent's name.
    if os.getpid() == pid:
        pool.close()


def _connection_options(prepares: bool) -> dict[str, Any]:
    options: dict[str, Any] = {"autocommit": True}
    return options if prepares else {**options, "prepare_threshold": None}


_BEGIN = "select 1"
"""psycopg begins a transaction with the first statement, SQLAlchemy only notes that it did."""


def _is_idle(driver: psycopg.Connection[Any] | psycopg.AsyncConnection[Any]) -> bool:
    # Without a transaction to be part of, a savepoint of ours would be one, and be committed.
    return not driver.autocommit and driver.info.transaction_status is TransactionStatus.IDLE


def _driver_connection(connection: SqlalchemyConnection) -> psycopg.Connection[Any]:
    driver: psycopg.Connection[Any] = connection.connection.driver_connection  # type: ignore[assignment]
    prepare_vectors(driver)
    return driver


async def _async_driver_connection(
    connection: SqlalchemyAsyncConnection,
) -> psycopg.AsyncConnection[Any]:
    raw = await connection.get_raw_connection()
    driver: psycopg.AsyncConnection[Any] = raw.driver_connection  # type: ignore[assignment]
    prepare_vectors(driver)
    return driver


async def _prepare_async(connection: psycopg.AsyncConnection[Any]) -> None:
    prepare_vectors(connection)
