"""Connection sources on SQLAlchemy: the caller's engine, connection or session."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import psycopg

from pgchroma.backends._async.pool import answers
from pgchroma.backends._async.sources import AsyncConnectionSource, introduce
from pgchroma.backends._async.sqlalchemy_types import (
    EXPECTED,
    AsyncConnection,
    AsyncEngine,
    AsyncSession,
    driver_of,
)
from pgchroma.backends._async.turns import turn
from pgchroma.backends.pool_state import needs_check
from pgchroma.backends.sqlalchemy_rules import (
    BEGIN,
    USED_AT,
    check_driver,
    engine_address,
    is_idle,
    sqlalchemy_errors,
)
from pgchroma.errors import InvalidArgumentError
from pgchroma.store.running.errors import mapped_errors
from pgchroma.store.running.sessions import Sessions

__all__ = ("AsyncCallerConnection", "AsyncEngineSource", "source_of")


async def source_of(owner: object, sessions: Sessions) -> AsyncConnectionSource:
    """Return the connection source of an engine, connection or session.

    Raises:
        InvalidArgumentError: It is something else, or is on another driver than psycopg 3.
    """
    if isinstance(owner, AsyncEngine):
        return AsyncEngineSource(owner, sessions)
    if not isinstance(owner, AsyncConnection | AsyncSession):
        raise InvalidArgumentError(f"expected {EXPECTED}, got {owner!r}")
    source = AsyncCallerConnection(owner, sessions)
    await source.check_driver()
    return source


class _Source:
    """The methods of sources whose connections belong to the caller."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions

    def statistics(self) -> dict[str, int]:
        """Return nothing: the pool is not pgchroma's."""
        return {}

    def lose_statements(self) -> None:
        """Prepare no statements from now on."""
        self._sessions.lose_statements()

    def close(self) -> None:
        """Leave the connections to their owner."""


class AsyncEngineSource(_Source):
    """The caller's SQLAlchemy engine; each operation is its own transaction."""

    in_caller_transaction = False

    def __init__(self, engine: AsyncEngine, sessions: Sessions) -> None:
        super().__init__(sessions)
        check_driver(engine.dialect.driver)
        self._engine = engine.execution_options(isolation_level="AUTOCOMMIT")

    @asynccontextmanager
    async def connection(self) -> AsyncGenerator[psycopg.AsyncConnection[Any], None]:
        """Check a connection out of the engine's pool."""
        with mapped_errors(engine_address(self._engine.url)), sqlalchemy_errors():
            connection = await self._check_out()
        try:
            yield await driver_of(connection)
            connection.info[USED_AT] = time.monotonic()
        finally:
            await connection.close()

    async def _check_out(self) -> AsyncConnection:
        """Check connections out until one works: some may have been closed while idle."""
        while True:
            connection = await self._engine.connect()
            try:
                driver = await driver_of(connection)
                used_at = connection.info.get(USED_AT, 0.0)
                if not needs_check(driver, used_at) or await answers(driver):
                    await introduce(driver, self._sessions)
                    return connection
                await connection.invalidate()
                await connection.close()
            except BaseException:
                await connection.close()
                raise


class AsyncCallerConnection(_Source):
    """The caller's connection or session; every operation is part of the caller's transaction.

    Calls of several threads or tasks take turns. SQLAlchemy does not order the caller's own
    statements with them: as always with SQLAlchemy, only one at a time may use a connection.
    """

    in_caller_transaction = True

    def __init__(self, owner: AsyncConnection | AsyncSession, sessions: Sessions) -> None:
        super().__init__(sessions)
        self._owner = owner

    async def check_driver(self) -> None:
        """Check that the connection's driver is psycopg 3."""
        async with turn(self._owner):
            with mapped_errors(), sqlalchemy_errors():
                connection = await self._connection()
            check_driver(connection.dialect.driver)

    @asynccontextmanager
    async def connection(self) -> AsyncGenerator[psycopg.AsyncConnection[Any], None]:
        """Return the caller's connection, after making sure that its transaction has begun."""
        async with turn(self._owner):
            with sqlalchemy_errors():
                connection = await self._connection()
                if not connection.in_transaction():
                    await connection.begin()
                driver = await driver_of(connection)
            async with turn(driver):
                if is_idle(driver):
                    await driver.execute(BEGIN, prepare=False)
                await introduce(driver, self._sessions)
                yield driver

    async def _connection(self) -> AsyncConnection:
        owner = self._owner
        return await owner.connection() if isinstance(owner, AsyncSession) else owner
