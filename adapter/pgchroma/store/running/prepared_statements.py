"""Prepared statements under names that no other connection can have.

psycopg numbers the statements of each connection from zero. Behind a pooler in transaction mode
several clients share the sessions of PostgreSQL, and a name that two of them use runs the statement
of whichever prepared it first: with parameters that fit, without an error.
"""

from __future__ import annotations

import secrets
from typing import Any

from psycopg import BaseConnection
from psycopg._preparing import Prepare, PrepareManager
from psycopg._queries import PostgresQuery

__all__ = ("has_names", "may_prepare", "name_statements", "stop_preparing")


class NamedStatements(PrepareManager):
    """The prepared statements of one connection, each named with the connection's random token.

    Attributes:
        is_allowed: Whether statements of ours are prepared on this connection.
    """

    def __init__(self, before: PrepareManager) -> None:
        super().__init__()
        self.prepare_threshold = before.prepare_threshold
        self.prepared_max = before.prepared_max
        self.is_allowed = True
        self._token = f"pgchroma_{secrets.token_hex(12)}".encode()
        # What the connection's owner prepared before stays prepared.
        self._counts, self._names, self._to_flush = (
            before._counts,
            before._names,
            before._to_flush,
        )

    def get(self, query: PostgresQuery, prepare: bool | None = None) -> tuple[Prepare, bytes]:
        """Tell whether to prepare a query, and under which name."""
        choice, name = super().get(query, prepare)
        return choice, self._token + name if choice is Prepare.SHOULD else name

    def abandon(self) -> None:
        """Prepare no more, and leave alone what was prepared: its session may be another's now."""
        self.is_allowed = False
        self._names.clear()
        self._to_flush.clear()


def has_names(connection: BaseConnection[Any]) -> bool:
    """Tell whether a connection has names of its own for the statements it prepares."""
    return isinstance(connection._prepared, NamedStatements)


def name_statements(connection: BaseConnection[Any]) -> bool:
    """Give a connection names of its own for the statements it prepares.

    Returns:
        Whether it was without them: the first call for a connection returns true.
    """
    if has_names(connection):
        return False
    connection._prepared = NamedStatements(connection._prepared)
    return True


def may_prepare(connection: BaseConnection[Any]) -> bool:
    """Tell whether statements of ours may be prepared on a connection."""
    statements = connection._prepared
    return isinstance(statements, NamedStatements) and statements.is_allowed


def stop_preparing(connection: BaseConnection[Any]) -> None:
    """Prepare no more statements of ours on a connection."""
    statements = connection._prepared
    if isinstance(statements, NamedStatements):
        statements.abandon()
