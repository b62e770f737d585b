"""Who holds the lock that somebody waits for."""

from __future__ import annotations

from dataclasses import dataclass

from pgchroma.store.statement import Exchange, Statement, render

__all__ = ("Blocker", "backend_pid", "blockers")


@dataclass(frozen=True, slots=True)
class Blocker:
    """A session that keeps another one waiting.

    Attributes:
        pid: Its process; 0 for a prepared transaction, which has none.
        who: Its user, application, address and state, as far as the asking user may see them.
    """

    pid: int
    who: str


def backend_pid() -> Exchange[int]:
    """Ask for the process that serves this transaction, which a pooler does not tell."""
    rows = yield Statement(_PID)
    return int(rows[0][0])


def blockers(pid: int) -> Exchange[list[Blocker]]:
    """Find the sessions that a process waits for; none if it does not wait."""
    rows = yield Statement(_BLOCKERS, {"pid": pid})
    return [Blocker(*row) for row in rows]


_PID = render("select pg_backend_pid()")

# What a session runs may be somebody's data, so its statement is not told.
_BLOCKERS = render(
    """
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
        )
    from unnest(pg_blocking_pids(%(pid)s)) as blocker (pid)
    left join pg_catalog.pg_stat_activity as a on a.pid = blocker.pid
    """
)
