"""Prepared statements with names that are unique to their connection.

psycopg numbers the statements of each connection from zero. Behind a pooler in transaction mode,
several clients share PostgreSQL's sessions. If two of them use one name, it executes the statement
of the client that prepared it first: without an error, if the parameters fit.
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
        is_allowed: Whether pgchroma's statements are prepared on this connection.
    """

    def __init__(self, before: PrepareManager) -> None:
        super().__init__()
        self.prepare_threshold = before.prepare_threshold
        self.prepared_max = before.prepared_max
        self.is_allowed = True
        self._token = f"pgchroma_{secrets.token_hex(12)}".encode()
        # Statements that the connection's owner has prepared stay prepared.
        self._counts, self._names, self._to_flush = (
            before._counts,
            before._names,
            before._to_flush,
        )

    def get(self, query: PostgresQuery, prepare: bool | None = None) -> tuple[Prepare, bytes]:
        """Return whether to prepare a query, and under which name."""
        choice, name = super().get(query, prepare)
        return choice, self._token + name if choice is Prepare.SHOULD else name

    def abandon(self) -> None:
        """Prepare no more, and leave prepared statements alone: others may use the session."""
        self.is_allowed = False
        self._names.clear()
        self._to_flush.clear()


def has_names(connection: BaseConnection[Any]) -> bool:
    """Whether a connection prepares statements under unique names."""
    return isinstance(connection._prepared, NamedStatements)


def name_statements(connection: BaseConnection[Any]) -> bool:
    """Let a connection prepare statements under unique names.

    Returns:
        Whether it did not before: the first call for a connection returns true.
    """
    if has_names(connection):
        return False
    connection._prepared = NamedStatements(connection._prepared)
    return True


def may_prepare(connection: BaseConnection[Any]) -> bool:
    """Whether pgchroma's statements may be prepared on a connection."""
    statements = connection._prepared
    return isinstance(statements, NamedStatements) and statements.is_allowed


def stop_preparing(connection: BaseConnection[Any]) -> None:
    """Prepare no more of pgchroma's statements on a connection."""
    statements = connection._prepared
    if isinstance(statements, NamedStatements):
        statements.abandon()
