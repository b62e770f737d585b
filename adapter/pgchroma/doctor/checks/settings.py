"""Settings that lose data, stop requests, or keep queries and builds from being fast."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from psycopg import sql

from pgchroma.doctor.check import server_check
from pgchroma.doctor.database import Database
from pgchroma.doctor.findings import Finding, error, info, warning
from pgchroma.doctor.server_settings import Setting, read_settings, shown_bytes
from pgchroma.store.layout.names import key_of
from pgchroma.store.running.steps import render

__all__ = ("CHECKS",)

MIN_STATEMENT_MS: Final = 30_000.0
"""A shorter limit ends ordinary requests: exact queries and large writes of a slow server."""

MIN_LOCK_MS: Final = 1_000.0
"""A shorter limit ends writes that wait for another write of the same record."""

MIN_IDLE_MS: Final = 10_000.0
"""A shorter limit ends an application's transaction between two calls."""

MIN_WORK_MEM: Final = 4 << 20
"""PostgreSQL's own default, which scans of indexes and filters need."""

DEFAULT_SCAN_TUPLES: Final = 20_000
"""pgvector's default of hnsw.max_scan_tuples."""

_TIMEOUTS: Final = {
    "statement_timeout": (MIN_STATEMENT_MS, "requests that take longer fail"),
    "transaction_timeout": (MIN_STATEMENT_MS, "writes that take longer fail"),
    "lock_timeout": (MIN_LOCK_MS, "writes that wait for another write of a record fail"),
    "idle_in_transaction_session_timeout": (
        MIN_IDLE_MS,
        "an application's transaction that pauses for longer is rolled back",
    ),
}
"""Settings, the least value that does no harm, and what less costs."""


@server_check("durability")
def _durability(database: Database) -> Iterator[Finding]:
    settings = database.shared(read_settings)
    for name in ("fsync", "full_page_writes"):
        if settings.is_off(name):
            yield error(
                "server",
                f"{name} is off",
                "a crash of the machine can damage the database beyond repair",
                f"alter system set {name} = on",
            )
    for setting in settings.everywhere("synchronous_commit"):
        if setting.value == "off":
            yield warning(
                setting.place,
                "synchronous_commit is off",
                "a crash loses the writes that were acknowledged in the last moments before it",
                setting.reset or "alter system set synchronous_commit = on",
            )


@server_check("timeouts")
def _timeouts(database: Database) -> Iterator[Finding]:
    for setting in database.shared(read_settings).everywhere(*_TIMEOUTS):
        least, cost = _TIMEOUTS[setting.name]
        if setting.number is not None and 0 < setting.number < least:
            yield warning(
                setting.place,
                f"{setting.name} is {setting.number / 1000:g} s",
                f"{cost}; the compactor and upgrades remove limits for themselves",
                _reset(setting),
                milliseconds=setting.number,
            )


@server_check("autovacuum")
def _autovacuum(database: Database) -> Iterator[Finding]:
    settings = database.shared(read_settings)
    for name in ("autovacuum", "track_counts"):
        if settings.is_off(name):
            yield warning(
                "server",
                f"{name} is off",
                "dead rows stay, statistics become wrong, and in the end PostgreSQL refuses writes "
                "to prevent a wraparound of transaction ids",
                f"alter system set {name} = on",
            )
    for schema, name in database.rows(_WITHOUT_AUTOVACUUM):
        table = sql.Identifier(schema, name).as_string(None)
        yield warning(
            f"table {schema}.{name}",
            "autovacuum is off for the table",
            "its dead rows stay and its statistics become wrong",
            f"alter table {table} reset (autovacuum_enabled)",
        )


@server_check("work-mem")
def _work_mem(database: Database) -> Iterator[Finding]:
    for setting in database.shared(read_settings).everywhere("work_mem"):
        if setting.number is not None and setting.number < MIN_WORK_MEM:
            yield warning(
                setting.place,
                f"work_mem is {shown_bytes(setting.number)}",
                "scans of an HNSW index end early and the query runs again without it; filters "
                "with many matches use temporary files",
                setting.reset or "alter system set work_mem = '16MB'",
                bytes=setting.number,
            )


@server_check("search-settings")
def _search_settings(database: Database) -> Iterator[Finding]:
    settings = database.shared(read_settings)
    for setting in settings.everywhere("enable_indexscan", "enable_indexonlyscan"):
        if setting.value == "off":
            yield warning(
                setting.place,
                f"{setting.name} is off",
                "queries read all embeddings although there is an index",
                _reset(setting),
            )
    for setting in settings.everywhere("hnsw.max_scan_tuples"):
        if setting.number is not None and setting.number < DEFAULT_SCAN_TUPLES:
            yield warning(
                setting.place,
                f"hnsw.max_scan_tuples is {setting.value}, less than pgvector's default",
                "scans of an HNSW index end early and the query runs again without it",
                _reset(setting),
            )
    for setting in settings.everywhere("hnsw.ef_search", "hnsw.iterative_scan"):
        if setting.place != "server":
            yield info(
                setting.place,
                f"{setting.name} is {setting.value}",
                "none for pgchroma, which sets its own value for each query; other SQL has it",
                _reset(setting),
            )


@server_check("jit")
def _jit(database: Database) -> Iterator[Finding]:
    settings = database.shared(read_settings)
    (is_available,) = database.row(_JIT)
    if not is_available:
        return
    for setting in settings.everywhere("jit"):
        if setting.value == "on":
            yield info(
                setting.place,
                "jit is on",
                "PostgreSQL compiles exact queries over many records, which takes longer than it "
                "saves",
                "alter system set jit = off",
            )


def _reset(setting: Setting) -> str:
    return setting.reset or f"alter system reset {setting.name}"


_JIT: Final = render("select pg_jit_available()")

# By their names: this needs no catalog.
_WITHOUT_AUTOVACUUM: Final = render(
    """
    select n.nspname::text, t.relname::text
    from pg_catalog.pg_class as t
    join pg_catalog.pg_namespace as n on n.oid = t.relnamespace
    where t.relkind = 'r'
        and {key} is not null
        and exists (
            select from unnest(t.reloptions) as o (option)
            where o.option in (
                'autovacuum_enabled=false', 'autovacuum_enabled=off', 'autovacuum_enabled=0'
            )
        )
    order by 1, 2
    """,
    key=key_of("t.relname"),
)

CHECKS: Final = (_durability, _timeouts, _autovacuum, _work_mem, _search_settings, _jit)
