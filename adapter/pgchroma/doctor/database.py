"""The examined database: how checks read it, and what several of them need.

Every statement is a transaction of its own, which is read-only, has time limits and is rolled back.
It takes one round trip, and leaves nothing on a session that a pooler may hand to others.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeVar

import psycopg
from psycopg import sql

from pgchroma.config import Settings
from pgchroma.store import run
from pgchroma.store.running.steps import Rows, Statement, Steps, WithSettings, render

__all__ = ("APPLICATION", "Database")

T = TypeVar("T")

APPLICATION: Final = "pgchroma doctor"
"""The application name of the connections."""

LOCK_TIMEOUT: Final = "1s"
"""How long a statement waits for a lock."""


class Database:
    """A connection to the database that is examined.

    Args:
        connection: A connection in autocommit mode.
        conninfo: The connection string, for checks that need further connections.
        settings: The settings of this process: of a client, the compactor and its pools.
        names: The names of the collections to examine; if there are none, all collections.
        seconds: How long a statement may run.
        measures_recall: Whether to measure recall.

    Attributes:
        round_trips: How many statements were sent.
    """

    def __init__(
        self,
        connection: psycopg.Connection[Any],
        conninfo: str,
        settings: Settings,
        *,
        names: Sequence[str] = (),
        seconds: float = 10.0,
        measures_recall: bool = False,
    ) -> None:
        self.connection = connection
        self.conninfo = conninfo
        self.settings = settings
        self.names = list(names) or None
        self.seconds = seconds
        self.measures_recall = measures_recall
        self.round_trips = 0
        limit = sql.Literal(f"{int(seconds * 1000)}ms")
        self._limits = (
            _READ_ONLY,
            Statement(render("set local statement_timeout = {limit}", limit=limit)),
            Statement(render("set local lock_timeout = {limit}", limit=sql.Literal(LOCK_TIMEOUT))),
            # A large statement over many collections is not worth compiling.
            Statement(b"set local jit = off"),
        )
        self._shared: dict[Any, Any] = {}

    def rows(
        self,
        text: bytes,
        parameters: Mapping[str, Any] | None = None,
        role: str | None = None,
        *,
        has_limits: bool = True,
    ) -> Rows:
        """Return the rows of a statement.

        Args:
            text: The statement. It may use ``%(names)s``: the names of the collections, or null.
            parameters: Its other parameters.
            role: The tenant's role to run it as, if a tenant owns the tables it reads. Policies and
                functions that a tenant attached to a table must not run with more privileges than
                the tenant has.
            has_limits: Whether the time limits apply. They change what `pg_settings` shows.

        Raises:
            psycopg.Error: It failed, or took too long.
        """
        self.round_trips += 1
        statement = Statement(text, {"names": self.names, **(parameters or {})}, reuses_plan=False)
        limits = self._limits if has_limits else (_READ_ONLY,)
        rows: Rows = run(self.connection, _read(limits, statement), role)
        return rows

    def row(self, text: bytes, parameters: Mapping[str, Any] | None = None) -> Sequence[Any]:
        """Return the only row of a statement.

        Raises:
            psycopg.Error: It failed, or took too long.
        """
        return self.rows(text, parameters)[0]

    def lasting_rows(self, text: bytes) -> list[Sequence[Any]]:
        """Return the rows that a statement returns twice in a row.

        PostgreSQL's locks are not part of a snapshot. A compactor that releases its lock during the
        first execution seems to have left what it had completed; the second sees it completed.

        Raises:
            psycopg.Error: It failed, or took too long.
        """
        first = self.rows(text)
        return [row for row in self.rows(text) if row in first] if first else []

    def shared(self, read: Callable[[Database], T]) -> T:
        """Return what a function reads, which is read once for all checks.

        Raises:
            psycopg.Error: It failed. The next check tries again.
        """
        if read not in self._shared:
            self._shared[read] = read(self)
        result: T = self._shared[read]
        return result


def _read(limits: tuple[Statement, ...], statement: Statement) -> Steps[Rows]:
    rows: Rows = yield WithSettings(limits, statement)
    return rows


_READ_ONLY: Final = Statement(b"set transaction read only")
