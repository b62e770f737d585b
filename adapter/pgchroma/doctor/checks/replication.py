"""Replication: standbys that are behind, and slots that keep the write-ahead log."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Final

from psycopg import sql

from pgchroma.doctor.check import server_check
from pgchroma.doctor.database import Database
from pgchroma.doctor.findings import Finding, error, info, warning
from pgchroma.doctor.server_settings import shown_bytes
from pgchroma.store.running.steps import render

__all__ = ("CHECKS",)

MAX_LAG_BYTES: Final = 256 << 20
"""A standby that is further behind, in bytes of the write-ahead log, is reported."""

MAX_LAG_SECONDS: Final = 60
"""A standby whose last replayed transaction is older is reported, unless it receives the log of its
primary and has replayed all of it."""


@server_check("replica")
def _replica(database: Database) -> Iterator[Finding]:
    is_replica, has_more, seconds = database.row(_OWN_LAG)
    if not is_replica:
        return
    if has_more and seconds > MAX_LAG_SECONDS:
        yield warning(
            "server",
            f"this standby replayed its last transaction {timedelta(seconds=seconds)} ago",
            "reads return older data",
            "select * from pg_stat_wal_receiver",
            seconds=seconds,
        )
    yield info(
        "server",
        "the database is a read-only replica",
        "nothing can be mended here; run pgchroma doctor on the primary, too",
    )


@server_check("replication-lag")
def _lag(database: Database) -> Iterator[Finding]:
    for name, lag in database.rows(_LAGS, {"most": MAX_LAG_BYTES}):
        yield warning(
            f"standby {name}",
            f"the standby has not replayed {shown_bytes(lag)} of the write-ahead log",
            "reads from the standby return older data",
            "select * from pg_stat_replication",
            bytes=lag,
        )


@server_check("replication-slot")
def _slots(database: Database) -> Iterator[Finding]:
    for name, status, retained in database.rows(_SLOTS):
        literal = sql.Literal(name).as_string(None)
        command = f"select pg_drop_replication_slot({literal})"
        if status == "lost":
            yield error(
                f"replication slot {name}",
                "the slot has lost parts of the write-ahead log that its standby needs",
                "the standby cannot catch up and has to be copied again",
                command,
            )
        else:
            yield warning(
                f"replication slot {name}",
                f"no standby uses the slot, which retains {shown_bytes(retained)} of the "
                "write-ahead log",
                "the log grows until the disk is full, and vacuum may keep dead rows",
                command,
                bytes=retained,
            )


_OWN_LAG: Final = render(
    """
    select
        pg_is_in_recovery(),
        coalesce(pg_last_wal_receive_lsn() > pg_last_wal_replay_lsn(), true) or not exists (
            select from pg_catalog.pg_stat_wal_receiver
            where coalesce(status, 'streaming') = 'streaming'
        ),
        coalesce(extract(epoch from clock_timestamp() - pg_last_xact_replay_timestamp()), 0)::int
    """
)

_POSITION: Final = """
    case when pg_is_in_recovery() then pg_last_wal_replay_lsn() else pg_current_wal_lsn() end
"""

_LAGS: Final = (
    """
    select
        coalesce(nullif(r.application_name, ''), host(r.client_addr), r.pid::text),
        pg_wal_lsn_diff(p.position, coalesce(r.replay_lsn, r.flush_lsn, r.write_lsn))::bigint
    from pg_catalog.pg_stat_replication as r
    cross join lateral (select """
    + _POSITION
    + """) as p (position)
    where r.state in ('streaming', 'catchup')
        and pg_wal_lsn_diff(p.position, coalesce(r.replay_lsn, r.flush_lsn, r.write_lsn)) > %(most)s
    order by 1
    """
).encode()

_SLOTS: Final = (
    """
    select
        s.slot_name::text, s.wal_status,
        coalesce(pg_wal_lsn_diff(p.position, s.restart_lsn), 0)::bigint
    from pg_catalog.pg_replication_slots as s
    cross join lateral (select """
    + _POSITION
    + """) as p (position)
    where not s.active and (s.restart_lsn is not null or s.wal_status = 'lost')
    order by 1
    """
).encode()

CHECKS: Final = (_replica, _lag, _slots)
