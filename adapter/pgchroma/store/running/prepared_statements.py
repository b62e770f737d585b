"""Prepared statements with names that are unique to their connection.

psycopg numbers the statements of each connection from zero. Behind a pooler in transaction mode,
several clients share PostgreSQL's sessions. If two of them use one name, it executes the statement
of the client that prepared it first: without an error, if the parameters fit.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import Any, Final

from psycopg import BaseConnection, adapt
from psycopg._preparing import Key, Prepare, PrepareManager
from psycopg._queries import PostgresQuery
from psycopg.abc import Transformer
from psycopg.pq.abc import PGresult

__all__ = (
    "ROLLBACKS_OF_READS",
    "NamedStatements",
    "has_names",
    "keep_conversions",
    "may_prepare",
    "name_statements",
    "stop_preparing",
)

ROLLBACKS_OF_READS: Final = (b"rollback", b"rollback to savepoint pgchroma")
"""The statements that undo the settings of reads, and nothing else."""


class NamedStatements(PrepareManager):
    """The prepared statements of one connection, each named with the connection's random token.

    Attributes:
        is_allowed: Whether pgchroma's statements are prepared on this connection.
        transformer: Knows how values are sent and read; `None` if each cursor finds that out.
    """

    def __init__(self, before: PrepareManager) -> None:
        super().__init__()
        self.prepare_threshold = before.prepare_threshold
        self.prepared_max = before.prepared_max
        self.is_allowed = True
        self.transformer: Transformer | None = None
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

    def validate(self, key: Key, prep: Prepare, name: bytes, results: Sequence[PGresult]) -> None:
        """Check the result of a query whose statement is new.

        psycopg forgets all statements after a rollback, which may have undone the creation of a
        table that they read. The rollback of reads has not.
        """
        if key[0] not in ROLLBACKS_OF_READS:
            super().validate(key, prep, name, results)

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


def keep_conversions(connection: BaseConnection[Any]) -> None:
    """Keep how values are sent and read on a session that only pgchroma uses."""
    statements = connection._prepared
    if isinstance(statements, NamedStatements):
        statements.transformer = adapt.Transformer(connection)


def may_prepare(connection: BaseConnection[Any]) -> bool:
    """Whether pgchroma's statements may be prepared on a connection."""
    statements = connection._prepared
    return isinstance(statements, NamedStatements) and statements.is_allowed


def stop_preparing(connection: BaseConnection[Any]) -> None:
    """Prepare no more of pgchroma's statements on a connection."""
    statements = connection._prepared
    if isinstance(statements, NamedStatements):
        statements.abandon()
