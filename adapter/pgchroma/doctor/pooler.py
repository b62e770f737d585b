"""Whether a pooler is between this process and PostgreSQL, and in which mode it works.

A pooler does not tell. Its mode shows in what its connections do.
"""

from __future__ import annotations

from typing import Any, Final, Literal, TypeAlias

import psycopg

from pgchroma.doctor.database import APPLICATION

__all__ = ("PoolerMode", "find_pooler")

PoolerMode: TypeAlias = Literal["statement", "transaction", "unknown"]
"""``unknown`` is session mode, or transaction mode while other clients use the pool."""

_PID: Final = "select pg_backend_pid()"


def find_pooler(connection: psycopg.Connection[Any], conninfo: str) -> PoolerMode | None:
    """Return the mode of the pooler that a connection goes through; `None` if there is none.

    Args:
        connection: A connection in autocommit mode, which stays open.
        conninfo: Its connection string. If there is a pooler, two more connections are opened.

    Raises:
        psycopg.Error: A connection was lost, or cannot be opened.
    """
    if _backend(connection) == connection.info.backend_pid:
        return None
    with _connect(conninfo) as first, _connect(conninfo) as second:
        # In session mode, a connection holds its session of PostgreSQL until it is closed.
        is_shared = _backend(first) == _backend(second)
        if is_shared and not _has_transactions(first):
            return "statement"
    return "transaction" if is_shared else "unknown"


def _connect(conninfo: str) -> psycopg.Connection[Any]:
    return psycopg.connect(
        conninfo, autocommit=True, application_name=APPLICATION, prepare_threshold=None
    )


def _backend(connection: psycopg.Connection[Any]) -> int:
    row = connection.execute(_PID).fetchone()
    return 0 if row is None else int(row[0])


def _has_transactions(connection: psycopg.Connection[Any]) -> bool:
    try:
        with connection.transaction():
            _backend(connection)
    except psycopg.Error:
        return False
    return True
