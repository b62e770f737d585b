"""Sessions that hold up index builds, vacuum or other sessions."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Final

from psycopg import sql

from pgchroma.doctor.check import server_check
from pgchroma.doctor.database import Database
from pgchroma.doctor.findings import Finding, not_checked, warning
from pgchroma.store.running.steps import render
from pgchroma.store.waits import COMPACTOR

__all__ = ("CHECKS",)

LONG_SECONDS: Final = 300
"""From how many seconds on a transaction is long."""

BLOCKED_SECONDS: Final = 10
"""From how many seconds on a session that waits for a lock is reported."""

PREPARED_SECONDS: Final = 60
"""From how many seconds on a prepared transaction is reported."""


@server_check("long-transaction")
def _long(database: Database) -> Iterator[Finding]:
    (user, sees_all) = database.row(_SEES_ALL)
    if not sees_all:
        role = sql.Identifier(user).as_string(None)
        yield not_checked(
            "long-transaction",
            "the user may not see the sessions of other users",
            f"grant pg_read_all_stats to {role}",
        )
    parameters = {"seconds": LONG_SECONDS, "application": COMPACTOR}
    for pid, who, state, seconds in database.rows(_LONG, parameters):
        yield warning(
            f"process {pid}",
            f"a transaction ({who}, {state}) has lasted {timedelta(seconds=seconds)}",
            "until it ends, no index build of any collection is completed, and vacuum removes no "
            "rows that died since it began",
            f"select pg_terminate_backend({pid})",
            seconds=seconds,
        )


@server_check("prepared-transaction")
def _prepared(database: Database) -> Iterator[Finding]:
    for gid, owner, seconds in database.rows(_PREPARED, {"seconds": PREPARED_SECONDS}):
        name = sql.Literal(gid).as_string(None)
        yield warning(
            f"prepared transaction {gid}",
            f"a transaction that user {owner} prepared has waited for {timedelta(seconds=seconds)}",
            "until it ends, no index build of any collection is completed, and vacuum removes no "
            "rows that died since it began",
            f"rollback prepared {name}",
            seconds=seconds,
        )


@server_check("blocked-session")
def _blocked(database: Database) -> Iterator[Finding]:
    for pid, who, seconds, blockers in database.rows(_BLOCKED, {"seconds": BLOCKED_SECONDS}):
        # A prepared transaction blocks with process id 0.
        processes = [blocker for blocker in blockers if blocker]
        listed = f"process {', '.join(map(str, processes))}"
        if not processes:
            listed = "a prepared transaction"
        elif len(processes) < len(blockers):
            listed += " and of a prepared transaction"
        yield warning(
            f"process {pid}",
            f"the session ({who}) has waited for a lock of {listed} for "
            f"{timedelta(seconds=seconds)}",
            "its request, and those that wait for it, do not go on",
            f"select pg_terminate_backend({processes[0]})"
            if processes
            else "select * from pg_prepared_xacts",
            seconds=seconds,
        )


_SEES_ALL: Final = render(
    "select current_user::text, pg_has_role(current_user, 'pg_read_all_stats', 'usage')"
)

# A session's statement may contain private data, so it is not selected. A compactor's own build may
# be long.
_LONG: Final = render(
    """
    select
        a.pid,
        concat_ws(
            ', ', 'user ' || a.usename, 'application ' || nullif(left(a.application_name, 63), '')
        ),
        coalesce(a.state, 'state unknown'),
        extract(epoch from clock_timestamp() - a.xact_start)::int
    from pg_catalog.pg_stat_activity as a
    where a.datname = current_database() and a.pid <> pg_backend_pid()
        and a.application_name <> %(application)s and a.backend_type <> 'autovacuum worker'
        and a.xact_start < clock_timestamp() - %(seconds)s * interval '1 second'
    order by a.xact_start
    """
)

_PREPARED: Final = render(
    """
    select gid, owner::text, extract(epoch from clock_timestamp() - prepared)::int
    from pg_catalog.pg_prepared_xacts
    where database = current_database()
        and prepared < clock_timestamp() - %(seconds)s * interval '1 second'
    order by prepared
    """
)

_BLOCKED: Final = render(
    """
    select
        a.pid,
        concat_ws(
            ', ', 'user ' || a.usename, 'application ' || nullif(left(a.application_name, 63), '')
        ),
        extract(epoch from clock_timestamp() - w.since)::int,
        array(select distinct b from unnest(pg_blocking_pids(a.pid)) as b order by 1)
    from pg_catalog.pg_stat_activity as a
    cross join lateral (
        select min(l.waitstart) as since from pg_catalog.pg_locks as l
        where l.pid = a.pid and not l.granted
    ) as w
    where a.datname = current_database() and a.pid <> pg_backend_pid()
        and w.since < clock_timestamp() - %(seconds)s * interval '1 second'
        and cardinality(pg_blocking_pids(a.pid)) > 0
    order by w.since
    """
)

CHECKS: Final = (_long, _prepared, _blocked)
