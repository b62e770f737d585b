"""The preparation of every connection, and the facts that are asked about it once."""

from __future__ import annotations

import logging
from collections.abc import Callable
from threading import Lock
from typing import Any, Final

import psycopg

from pgchroma.errors import InvalidArgumentError
from pgchroma.store.encoding.vectors import prepare_vectors
from pgchroma.store.running.prepared_statements import has_names, name_statements, stop_preparing
from pgchroma.store.running.search_path import note_schema

__all__ = ("SESSION_FACTS", "Sessions")

_log = logging.getLogger("pgchroma.connections")

SESSION_FACTS: Final = """
select
    pg_backend_pid(),
    (
        select t.oid
        from pg_catalog.pg_type as t
        join pg_catalog.pg_extension as e on e.extnamespace = t.typnamespace
        where e.extname = 'vector' and t.typname = 'vector'
    ),
    to_regtype('vector') is not null
"""
"""Selects PostgreSQL's process id, the object id of the type `vector`, and whether the search path
contains it."""


class Sessions:
    """The common state of the connections of one source.

    Args:
        prepares: Whether statements are prepared; `None` means unless a pooler is in between.

    Attributes:
        note_vector_oid: Called with the object id of the type `vector` on each new connection: it
            differs in a database that was restored under the same name.
    """

    def __init__(self, prepares: bool | None) -> None:
        self.note_vector_oid: Callable[[int], None] | None = None
        self._prepares = prepares
        self._has_told = False
        self._lock = Lock()

    def introduce(self, connection: psycopg.BaseConnection[Any]) -> bool:
        """Prepare a connection for pgchroma's statements, unless it is.

        Returns:
            Whether it is new, so that `note` must be called with the answer to `SESSION_FACTS`.

        Raises:
            InvalidArgumentError: The connection, which the caller made, does not use UTF-8.
        """
        if not has_names(connection):
            _check_encoding(connection)
        is_new = name_statements(connection)
        self.remind(connection)
        if is_new:
            prepare_vectors(connection)
        return is_new

    def note(
        self,
        connection: psycopg.BaseConnection[Any],
        backend_pid: int,
        vector_oid: int | None,
        is_on_path: bool,
    ) -> None:
        """Store PostgreSQL's answer about a new connection.

        Behind a pooler, nothing is prepared: it hands PostgreSQL's sessions to other clients, with
        the statements that were prepared there.
        """
        if vector_oid is not None:
            note_schema(connection, is_on_path=is_on_path)
            if self.note_vector_oid is not None:
                self.note_vector_oid(vector_oid)
        if self._prepares is not None or backend_pid == connection.info.backend_pid:
            return
        stop_preparing(connection)
        if self._is_first():
            _log.info(
                "a pooler is between this process and PostgreSQL, so statements are not prepared; "
                "set pgchroma_prepared_statements (on a server prepared_statements) to true if "
                "the pooler keeps them for each client"
            )

    def remind(self, connection: psycopg.BaseConnection[Any]) -> None:
        """Apply what has changed to a connection that is about to be used again."""
        if self._prepares is False:
            stop_preparing(connection)

    def lose_statements(self) -> None:
        """Prepare no more on any connection, because a pooler lost a prepared statement."""
        self._prepares = False
        if self._is_first():
            _log.warning(
                "a pooler has lost a prepared statement; from now on statements are not prepared. "
                "Set pgchroma_prepared_statements (on a server prepared_statements) to false"
            )

    def _is_first(self) -> bool:
        with self._lock:
            is_first, self._has_told = not self._has_told, True
        return is_first


def _check_encoding(connection: psycopg.BaseConnection[Any]) -> None:
    codec = connection.info.encoding
    if codec != "utf-8":
        raise InvalidArgumentError(
            f"the connection encodes text as {codec}, and documents may hold any character of "
            "Unicode: add client_encoding=utf8 to the URL of the engine"
        )
