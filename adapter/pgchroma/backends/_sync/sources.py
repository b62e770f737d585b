# Generated from _async/sources.py by tools/unasync.py; edit that and run `make fmt`.
"""Connection sources of direct backends.

A source provides a psycopg connection for one operation. The connection comes from pgchroma's pool
or from the caller's SQLAlchemy engine, or it is the caller's own, inside the caller's transaction.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Generator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import Any, Protocol

import psycopg
from psycopg.rows import tuple_row

from pgchroma.backends._sync.pool import Pool
from pgchroma.store.running.sessions import SESSION_FACTS, Sessions

__all__ = ("ConnectionSource", "PoolSource", "introduce")


class ConnectionSource(Protocol):
    """Provides connections.

    Attributes:
        in_caller_transaction: Whether the connection is in a transaction that the caller ends.
    """

    in_caller_transaction: bool

    def connection(self) -> AbstractContextManager[psycopg.Connection[Any]]:
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


class PoolSource:
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
        self._pool = Pool(
            conninfo,
            size=size,
            timeout=timeout,
            patience=patience,
            configure=partial(introduce, sessions=sessions),
        )
        # A client that is dropped without being closed leaves its connections behind.
        weakref.finalize(self, _close_in_process, self._pool, os.getpid())

    @contextmanager
    def connection(self) -> Generator[psycopg.Connection[Any], None, None]:
        """Check a connection out of the pool."""
        with self._pool.connection() as connection:
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


def introduce(connection: psycopg.Connection[Any], sessions: Sessions) -> None:
    """Make a connection ready for handlers, unless it is."""
    if sessions.introduce(connection):
        cursor = connection.cursor(row_factory=tuple_row)
        cursor.execute(SESSION_FACTS, prepare=False)
        sessions.note(connection, *cursor.fetchone() or (0, None, None, True))


def _close_in_process(pool: Pool, pid: int) -> None:
    # A forked child would end the sessions of its parent.
    if os.getpid() == pid:
        pool.close()
