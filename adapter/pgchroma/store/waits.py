"""The sessions that hold a lock for which others wait."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Final, LiteralString
from uuid import UUID

from pgchroma.store.running.steps import Statement, Steps, render

__all__ = ("COMPACTOR", "Blocker", "backend_pid", "blockers", "compactor_blockers", "holders")

COMPACTOR: Final = "pgchroma compactor"
"""The application name of compactors' connections."""


@dataclass(frozen=True, slots=True)
class Blocker:
    """A session that keeps another one waiting.

    Attributes:
        pid: Its process id; 0 for a prepared transaction, which has none.
        who: Its user, application, address and state, as far as the present user may see them.
        seconds: How long its transaction has lasted; `None` if the present user may not see that.
    """

    pid: int
    who: str
    seconds: int | None = None

    def __str__(self) -> str:
        process = f"process {self.pid} ({self.who})"
        if self.seconds is None:
            return process
        return f"{process}, whose transaction has lasted {timedelta(seconds=self.seconds)}"


def backend_pid() -> Steps[int]:
    """Return the id of the process that runs this transaction, which a pooler does not report."""
    rows = yield Statement(_PID)
    return int(rows[0][0])


def blockers(pid: int) -> Steps[list[Blocker]]:
    """Return the sessions that a process waits for."""
    rows = yield Statement(_BLOCKERS, {"pid": pid})
    return [Blocker(*row) for row in rows]


def holders(collection: UUID) -> Steps[list[Blocker]]:
    """Return the sessions that keep others from reading or writing a collection's tables."""
    tables = [f"{table}_{collection.hex}" for table in ("records", "counts", "log")]
    rows = yield Statement(_HOLDERS, {"tables": tables})
    return [Blocker(*row) for row in rows]


def compactor_blockers() -> Steps[list[Blocker]]:
    """Return the sessions that compactors of this database wait for."""
    rows = yield Statement(_COMPACTOR_BLOCKERS, {"application": COMPACTOR})
    return [Blocker(*row) for row in rows]


_PID = render("select pg_backend_pid()")

# A session's statement may contain private data, so it is not selected.
_SELECT: LiteralString = """
    select
        blocker.pid,
        coalesce(
            concat_ws(
                ', ',
                'user ' || left(a.usename::text, 63),
                'application ' || nullif(left(a.application_name, 63), ''),
                'from ' || host(a.client_addr),
                a.state || ' since ' || date_trunc('second', a.state_change)::text
            ),
            'a session that has ended or a prepared transaction'
        ),
        extract(epoch from clock_timestamp() - a.xact_start)::int
    """

_BLOCKERS = render(
    _SELECT
    + """
    from unnest(pg_blocking_pids(%(pid)s)) as blocker (pid)
    left join pg_catalog.pg_stat_activity as a on a.pid = blocker.pid
    """
)

_HOLDERS = render(
    _SELECT
    + """
    from pg_catalog.pg_stat_activity as a
    cross join lateral (values (a.pid)) as blocker (pid)
    where a.datname = current_database() and exists (
        select from pg_catalog.pg_locks as l
        join pg_catalog.pg_class as c on c.oid = l.relation and c.relname = any(%(tables)s)
        where l.pid = a.pid and l.granted and l.mode in (
            'ShareLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock'
        )
    )
    """
)

_COMPACTOR_BLOCKERS = render(
    _SELECT
    + """
    from pg_catalog.pg_stat_activity as c
    cross join unnest(pg_blocking_pids(c.pid)) as blocker (pid)
    left join pg_catalog.pg_stat_activity as a on a.pid = blocker.pid
    where c.application_name = %(application)s and c.datname = current_database()
        and c.wait_event_type = 'Lock'
    """
)
