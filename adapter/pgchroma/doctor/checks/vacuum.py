"""Statistics and vacuum: tables never analysed, dead rows, and the age of transaction ids."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from psycopg import sql

from pgchroma.doctor.check import catalog_check, server_check
from pgchroma.doctor.collections import KNOWN, tables_of_known
from pgchroma.doctor.database import Database
from pgchroma.doctor.findings import Finding, Fix, error, warning
from pgchroma.store.running.steps import render

__all__ = ("CHECKS",)

MIN_ANALYZED_ROWS: Final = 10_000
"""The planner's guesses do for smaller tables."""

MIN_DEAD_ROWS: Final = 10_000
"""Fewer dead rows cost nothing that can be noticed."""

MAX_DEAD_SHARE: Final = 0.4
"""The share of dead rows from which on there is a warning. Autovacuum starts at a sixth."""

MAX_AGE: Final = 1_000_000_000
"""Transaction ids since the oldest row that was not frozen. PostgreSQL stops at 2.1 billion."""

CRITICAL_AGE: Final = 1_600_000_000


@catalog_check("never-analyzed")
def _never_analyzed(database: Database) -> Iterator[Finding]:
    for id, subject, schema, name, rows in database.rows(
        _NEVER_ANALYZED, {"least": MIN_ANALYZED_ROWS}
    ):
        table = sql.Identifier(schema, name).as_string(None)
        columns = " (pos, seq)" if name.startswith("vectors_") else ""
        yield warning(
            subject,
            f"{name} has about {rows} rows and was never analysed",
            "the planner guesses, and may choose slow plans for filters",
            f"analyze {table}{columns}",
            fix=Fix("analyze", id),
            rows=rows,
        )


@catalog_check("dead-rows")
def _dead_rows(database: Database) -> Iterator[Finding]:
    parameters = {"least": MIN_DEAD_ROWS, "share": MAX_DEAD_SHARE}
    for subject, schema, name, live, dead in database.rows(_DEAD_ROWS, parameters):
        table = sql.Identifier(schema, name).as_string(None)
        yield warning(
            subject,
            f"{name} has {dead} dead rows beside {live} live ones",
            "scans read the dead rows, too, and their space is not used again; autovacuum is "
            "behind, or an old transaction holds it up",
            f"vacuum (analyze) {table}",
            dead=dead,
            live=live,
        )


@server_check("wraparound")
def _wraparound(database: Database) -> Iterator[Finding]:
    name, transactions, multixacts = database.row(_AGE)
    age, kind = max((transactions, "transaction"), (multixacts, "multixact"))
    if age < MAX_AGE:
        return
    report = error if age >= CRITICAL_AGE else warning
    yield report(
        f"database {name}",
        f"the oldest {kind} id that is not frozen is {age:,} {kind}s old",
        "at about 2.1 billion PostgreSQL refuses all writes",
        "vacuum (freeze)",
        transactions=transactions,
        multixacts=multixacts,
    )


_NEVER_ANALYZED: Final = render(
    """
    select k.id, k.subject, k.schema_name, t.relname::text, s.n_live_tup
    from {known} as k
    {tables}
    join pg_catalog.pg_stat_all_tables as s on s.relid = t.oid
    where t.reltuples < 0 and s.n_live_tup >= %(least)s
        and s.last_analyze is null and s.last_autoanalyze is null
    order by 2, 4
    """,
    known=KNOWN,
    tables=tables_of_known(),
)

_DEAD_ROWS: Final = render(
    """
    select k.subject, k.schema_name, t.relname::text, s.n_live_tup, s.n_dead_tup
    from {known} as k
    {tables}
    join pg_catalog.pg_stat_all_tables as s on s.relid = t.oid
    where s.n_dead_tup >= %(least)s
        and s.n_dead_tup > %(share)s * (s.n_live_tup + s.n_dead_tup)
    order by 1, 3
    """,
    known=KNOWN,
    tables=tables_of_known(),
)

_AGE: Final = render(
    """
    select datname::text, age(datfrozenxid), mxid_age(datminmxid)
    from pg_catalog.pg_database where datname = current_database()
    """
)

CHECKS: Final = (_never_analyzed, _dead_rows, _wraparound)
