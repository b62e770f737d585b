# Generated from _async/cursors.py by tools/unasync.py; edit that and run `make fmt`.
"""Cursors that execute the statements of handlers."""

from __future__ import annotations

from typing import Any

from psycopg import Connection, Cursor
from psycopg._preparing import Prepare
from psycopg._queries import PostgresQuery
from psycopg.pq import Format
from psycopg.rows import TupleRow, tuple_row

__all__ = ("PrepareInPipeline", "StepCursor")


class PrepareInPipeline(Exception):  # noqa: N818  (the driver handles it)
    """Outside a pipeline, the statement would take more than one round trip.

    psycopg is about to prepare it, or to deallocate another one. Nothing has been sent.
    """


class StepCursor(Cursor[TupleRow]):
    """A cursor in binary, with tuples as rows, that spends no round trip on prepared statements.

    The connection may be the caller's, with another format, other rows or other cursors. In binary,
    PostgreSQL accepts one statement at a time, so a second one cannot be injected.

    Raises:
        PrepareInPipeline: On `execute` outside a pipeline.
    """

    __slots__ = ()

    def __init__(self, connection: Connection[Any]) -> None:
        super().__init__(connection, row_factory=tuple_row)
        self.format = Format.BINARY

    def _get_prepared(
        self, pgq: PostgresQuery, prepare: bool | None = None
    ) -> tuple[Prepare, bytes]:
        statements = self._conn._prepared
        choice = statements.get(pgq, prepare)
        takes_round_trip = choice[0] is Prepare.SHOULD or statements._to_flush
        if takes_round_trip and prepare is not False and self._conn._pipeline is None:
            raise PrepareInPipeline
        return choice
