"""Whether a pooler is between this process and PostgreSQL, and in which mode it works.

A pooler does not tell. Its mode shows in what its connections do.
"""

from __future__ import annotations

from typing import Final, Literal, TypeAlias

import psycopg

from pgchroma.doctor.database import APPLICATION

__all__ = ("PoolerMode", "find_pooler")

PoolerMode: TypeAlias = Literal["statement", "transaction", "unknown"]
"""``unknown`` is session mode, or transaction mode while other clients use the pool."""

_PID: Final = "select pg_backend_pid()"


def find_pooler(conninfo: str) -> PoolerMode | None:
    """Return the mode of the pooler that a connection string leads to; `None` if there is none.

    Raises:
        psycopg.Error: No connection can be opened.
    """
    with _connect(conninfo) as first:
        pid = _backend(first)
        if pid == first.info.backend_pid:
            return None
        with _connect(conninfo) as second:
            # In session mode, the first connection still holds its session of PostgreSQL.
            is_shared = _backend(second) == pid
        if is_shared and not _has_transactions(first):
            return "statement"
        return "transaction" if is_shared else "unknown"


def _connect(conninfo: str) -> psycopg.Connection[tuple[int]]:
    return psycopg.connect(
        conninfo, autocommit=True, application_name=APPLICATION, prepare_threshold=None
    )


def _backend(connection: psycopg.Connection[tuple[int]]) -> int:
    row = connection.execute(_PID).fetchone()
    return 0 if row is None else row[0]


def _has_transactions(connection: psycopg.Connection[tuple[int]]) -> bool:
    try:
        with connection.transaction():
            _backend(connection)
    except psycopg.Error:
        return False
    return True
