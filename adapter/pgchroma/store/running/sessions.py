"""The preparation of every connection, and the facts that are asked about it once."""

from __future__ import annotations

import logging
from collections.abc import Callable
from threading import Lock
from typing import Any, Final

import psycopg

from pgchroma.errors import InvalidArgumentError
from pgchroma.store.encoding.vectors import prepare_vectors
from pgchroma.store.running.prepared_statements import (
    has_names,
    keep_conversions,
    name_statements,
    stop_preparing,
)
from pgchroma.store.running.search_path import note_schema
from pgchroma.store.running.session_settings import keep_settings
from pgchroma.store.running.steps import composed, render

__all__ = ("SESSION_FACTS", "TYPE_OIDS", "Sessions")

_log = logging.getLogger("pgchroma.connections")

TYPE_OIDS: Final = composed("""(
    select
        max(t.oid) filter (where t.typname = 'vector') as vector,
        max(t.oid) filter (where t.typname = 'sparsevec') as sparsevec
    from pg_catalog.pg_type as t
    join pg_catalog.pg_extension as e on e.extnamespace = t.typnamespace
    where e.extname = 'vector' and t.typname in ('vector', 'sparsevec')
)""")
"""A relation of one row: the object ids of pgvector's types."""

SESSION_FACTS: Final = render(
    """
    select pg_backend_pid(), t.vector, t.sparsevec, to_regtype('vector') is not null
    from {oids} as t
    """,
    oids=TYPE_OIDS,
)
"""Selects PostgreSQL's process id, the object ids of the types `vector` and `sparsevec`, and
whether the search path contains them."""


class Sessions:
    """The common state of the connections of one source.

    Args:
        prepares: Whether statements are prepared; `None` means unless a pooler is in between.
        are_own: Whether only pgchroma uses the connections.

    Attributes:
        note_type_oids: Called with the object ids of the types `vector` and `sparsevec` on each new
            connection: they differ in a database that was restored under the same name.
    """

    def __init__(self, prepares: bool | None, *, are_own: bool = False) -> None:
        self.note_type_oids: Callable[[int, int], None] | None = None
        self._prepares = prepares
        self._are_own = are_own
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
        sparsevec_oid: int | None,
        is_on_path: bool,
    ) -> None:
        """Store PostgreSQL's answer about a new connection.

        Behind a pooler, nothing is prepared: it hands PostgreSQL's sessions to other clients, with
        the statements that were prepared there.
        """
        if vector_oid is not None:
            note_schema(connection, is_on_path=is_on_path)
            if self.note_type_oids is not None and sparsevec_oid is not None:
                self.note_type_oids(vector_oid, sparsevec_oid)
        has_pooler = backend_pid != connection.info.backend_pid
        if self._are_own and self._prepares is not False and not has_pooler:
            keep_settings(connection)
            keep_conversions(connection)
        if self._prepares is not None or not has_pooler:
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
