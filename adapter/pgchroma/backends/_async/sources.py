"""Connection sources of direct backends.

A source provides a psycopg connection for one operation. The connection comes from pgchroma's pool
or from the caller's SQLAlchemy engine, or it is the caller's own, inside the caller's transaction.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from typing import Any, Protocol

import psycopg
from psycopg.rows import tuple_row

from pgchroma.backends._async.pool import AsyncPool
from pgchroma.store.running.sessions import SESSION_FACTS, Sessions

__all__ = ("AsyncConnectionSource", "AsyncPoolSource", "introduce")


class AsyncConnectionSource(Protocol):
    """Provides connections.

    Attributes:
        in_caller_transaction: Whether the connection is in a transaction that the caller ends.
    """

    in_caller_transaction: bool

    def connection(self) -> AbstractAsyncContextManager[psycopg.AsyncConnection[Any]]:
        """Check a connection out for the duration of a block."""
        ...

    def statistics(self) -> dict[str, int]:
        """Return the state of the pool; empty if it is not pgchroma's."""
        ...

    def lose_statements(self) -> None:
        """Prepare no statements from now on, because a pooler lost one."""
        ...

    def close(self) -> None:
        """Close the connections that belong to the source."""
        ...


class AsyncPoolSource:
    """pgchroma's own pool."""

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
            configure=partial(introduce, sessions=sessions),
        )
        # A client that is dropped without being closed leaves its connections behind.
        weakref.finalize(self, _close_in_process, self._pool, os.getpid())

    @asynccontextmanager
    async def connection(self) -> AsyncGenerator[psycopg.AsyncConnection[Any], None]:
        """Check a connection out of the pool."""
        async with self._pool.connection() as connection:
            self._sessions.remind(connection)
            yield connection

    def statistics(self) -> dict[str, int]:
        """Return the state of the pool."""
        return self._pool.statistics()

    def lose_statements(self) -> None:
        """Prepare no statements from now on."""
        self._sessions.lose_statements()

    def close(self) -> None:
        """Close every connection."""
        self._pool.close()


async def introduce(connection: psycopg.AsyncConnection[Any], sessions: Sessions) -> None:
    """Make a connection ready for handlers, unless it is."""
    if sessions.introduce(connection):
        cursor = connection.cursor(row_factory=tuple_row)
        await cursor.execute(SESSION_FACTS, prepare=False)
        sessions.note(connection, *await cursor.fetchone() or (0, None, None, True))


def _close_in_process(pool: AsyncPool, pid: int) -> None:
    # A forked child would end the sessions of its parent.
    if os.getpid() == pid:
        pool.close()
