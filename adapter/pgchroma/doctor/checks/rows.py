"""The rows of collections: embeddings and records that belong together, counts, and sequences."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, LiteralString

from psycopg import sql

from pgchroma.compactor.planner import MIN_BLOCK
from pgchroma.compactor.state import MAX_COUNT_ROWS
from pgchroma.doctor.check import catalog_check
from pgchroma.doctor.collections import (
    Answers,
    KnownCollection,
    over_collections,
    readable_collections,
)
from pgchroma.doctor.database import Database
from pgchroma.doctor.findings import Finding, Fix, error, info, warning

__all__ = ("CHECKS", "LogState", "log_states")

MANY_COUNT_ROWS: Final = 10 * MAX_COUNT_ROWS
"""With this many rows of counts, counting takes longer than it should."""


@dataclass(frozen=True, slots=True)
class _RowState:
    """The rows of a collection in one snapshot.

    Attributes:
        records: How many records there are.
        counted: How many there are according to the rows of counts.
        orphans: How many embeddings no record refers to.
        dangling: How many records refer to an embedding that does not exist.
    """

    records: int
    counted: int
    orphans: int
    dangling: int


@dataclass(frozen=True, slots=True)
class LogState:
    """How far a collection's log goes.

    Attributes:
        count_rows: How many rows of counts there are.
        operations: How many records were added, changed or deleted.
        last: The last number that was drawn from the sequence; `None` if the user may not see it.
        drawn: The largest number that is in use.
    """

    count_rows: int
    operations: int
    last: int | None
    drawn: int


@catalog_check("orphan-vectors")
def _orphans(database: Database) -> Iterator[Finding]:
    answers = database.shared(_read_rows)
    for collection, values in answers.rows:
        state = _RowState(*values)
        if state.orphans:
            yield warning(
                collection.subject,
                f"embeddings that belong to no record: {state.orphans}",
                "queries near them run twice, the second time without an index",
                "pgchroma compact --wait",
                # An embedding that a record lost may be among them.
                fix=None if state.dangling else Fix("delete-orphans", collection.id),
                embeddings=state.orphans,
            )
    yield from answers.unread("orphan-vectors")


@catalog_check("dangling-records")
def _dangling(database: Database) -> Iterator[Finding]:
    for collection, values in database.shared(_read_rows).rows:
        state = _RowState(*values)
        if state.dangling:
            yield error(
                collection.subject,
                f"records whose embedding does not exist: {state.dangling}",
                "queries do not find these records; write them again",
                _dangling_query(collection),
                records=state.dangling,
            )


@catalog_check("wrong-count")
def _counts(database: Database) -> Iterator[Finding]:
    for collection, values in database.shared(_read_rows).rows:
        state = _RowState(*values)
        if state.records != state.counted:
            yield warning(
                collection.subject,
                f"count() returns {state.counted}, and there are {state.records} records",
                "count() and the planner of filtered queries use a wrong number",
                "pgchroma compact --wait",
                fix=Fix("recount", collection.id),
                counted=state.counted,
                records=state.records,
            )


@catalog_check("unmerged-counts")
def _unmerged(database: Database) -> Iterator[Finding]:
    for collection, state in database.shared(log_states):
        if state.count_rows > MANY_COUNT_ROWS and not collection.is_locked:
            yield warning(
                collection.subject,
                f"the table of counts has {state.count_rows} rows",
                "each count() and each status reads all of them",
                "pgchroma compact",
                fix=Fix("merge-counts", collection.id),
                rows=state.count_rows,
            )


@catalog_check("sequence-behind")
def _sequences(database: Database) -> Iterator[Finding]:
    for collection, state in database.shared(log_states):
        if state.last is not None and state.drawn > state.last:
            yield error(
                collection.subject,
                f"the sequence of the log is {state.drawn - state.last} behind its records, as "
                "after logical replication",
                "the first write of each process and the SQL functions advance it; inserts into "
                "the tables fail",
                "pgchroma migrate",
                fix=Fix("advance-sequence", collection.id),
                behind=state.drawn - state.last,
            )


@catalog_check("sparse-changes")
def _sparse(database: Database) -> Iterator[Finding]:
    collections = [each for each in database.shared(readable_collections) if each.sparse]
    answers = over_collections(database, collections, _sparse_changes)
    for collection, (number, changes) in answers.rows:
        if changes < MIN_BLOCK:
            continue
        report = info if collection.is_locked else warning
        yield report(
            collection.subject,
            f"{changes} sparse vectors of index {number} are in no block",
            "every search by this index compares each of them",
            "pgchroma compact",
            fix=Fix("compact", collection.id),
            vectors=changes,
        )
    yield from answers.unread("sparse-changes")


def log_states(database: Database) -> list[tuple[KnownCollection, LogState]]:
    """Return how far the logs of the readable collections go."""
    answers = over_collections(database, database.shared(readable_collections), _log_part)
    return [(collection, LogState(*values)) for collection, values in answers.rows]


def _read_rows(database: Database) -> Answers:
    return over_collections(database, database.shared(readable_collections), _row_part)


def _row_part(collection: KnownCollection) -> sql.Composable:
    template = _ROWS if collection.dimension is not None else _ROWS_WITHOUT_VECTORS
    return sql.SQL(template).format(
        records=collection.tables.records,
        vectors=collection.tables.vectors,
        counted=collection.tables.record_count,
    )


def _log_part(collection: KnownCollection) -> sql.Composable:
    tables = collection.tables
    last_position: LiteralString = ", (select max(pos) from {vectors})"
    has_vectors = collection.dimension is not None
    return sql.SQL(_LOG).format(
        counts=tables.counts,
        records=tables.records,
        log=tables.log_literal,
        operations=tables.operation_count,
        position=sql.SQL(last_position if has_vectors else "").format(vectors=tables.vectors),
    )


def _sparse_changes(collection: KnownCollection) -> sql.Composable:
    changes = [
        sql.SQL(_CHANGES).format(sql.Literal(number), collection.tables.sparse(number).changes)
        for number in collection.sparse
    ]
    return sql.SQL(" union all ").join(changes)


def _dangling_query(collection: KnownCollection) -> str:
    """Return the query for the records that have to be written again."""
    tables = collection.tables
    text = sql.SQL(_DANGLING).format(records=tables.records, vectors=tables.vectors)
    return text.as_string(None)


_ROWS: Final[LiteralString] = """
select
    (select count(*) from {records}),
    ({counted}),
    (
        select count(*) from {vectors} as v where not exists (
            select from {records} as r where r.seq = v.seq and r.pos = v.pos
        )
    ),
    (
        select count(*) from {records} as r where r.pos is not null and not exists (
            select from {vectors} as v where v.pos = r.pos
        )
    )
"""

_ROWS_WITHOUT_VECTORS: Final[LiteralString] = """
select (select count(*) from {records}), ({counted}), 0, 0
"""

_LOG: Final[LiteralString] = """
select
    (select count(*) from {counts}),
    ({operations}),
    case when has_sequence_privilege({log}, 'usage, select')
        then coalesce(pg_sequence_last_value({log}::regclass), 0)::bigint
    end,
    coalesce(
        greatest(
            (select max(seq) from {records}), (select max(place) from {counts}){position}
        ),
        0
    )::bigint
"""

_DANGLING: Final[LiteralString] = (
    "select id from {records} as r where pos is not null and not exists "
    "(select from {vectors} as v where v.pos = r.pos)"
)

_CHANGES: Final[LiteralString] = """
select {}, count(*) from {} where not is_removed and is_plain
"""

CHECKS: Final = (_orphans, _dangling, _counts, _unmerged, _sequences, _sparse)
