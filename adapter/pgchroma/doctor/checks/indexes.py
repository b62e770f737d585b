"""HNSW and secondary indexes: invalid, missing, unfinished, duplicate, and full of dead entries."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from psycopg import sql

from pgchroma.compactor.planner import MAX_DEAD_FRACTION, MIN_INDEXED
from pgchroma.doctor.check import catalog_check
from pgchroma.doctor.collections import (
    KNOWN,
    KnownCollection,
    known_collections,
    over_collections,
    readable_collections,
    tables_of_known,
)
from pgchroma.doctor.database import Database
from pgchroma.doctor.findings import Finding, Fix, info, warning
from pgchroma.doctor.server_settings import shown_bytes
from pgchroma.store.layout.secondary import DEMAND_THRESHOLD, SecondaryIndex, secondary_name
from pgchroma.store.layout.segments import Segment, needs_index, position_range, ranges_without
from pgchroma.store.running.steps import render

__all__ = ("CHECKS",)

COMPACT: Final = "pgchroma compact"


@dataclass(frozen=True, slots=True)
class _SegmentState:
    """A segment of the current embeddings, and its index in PostgreSQL."""

    collection: UUID
    segment: Segment
    is_ready: bool
    has_index: bool


@catalog_check("invalid-index")
def _invalid(database: Database) -> Iterator[Finding]:
    for id, subject, schema, name, is_own, size in database.lasting_rows(_INVALID):
        index = sql.Identifier(schema, name).as_string(None)
        yield warning(
            subject,
            f"the index {index} is invalid: its build was interrupted",
            f"no query uses it, every write maintains it, and it occupies {shown_bytes(size)}",
            f"drop index concurrently {index}",
            fix=Fix("drop-index", id, name) if is_own else None,
            bytes=size,
        )


@catalog_check("missing-index")
def _missing(database: Database) -> Iterator[Finding]:
    by_id = {each.id: each for each in database.shared(known_collections)}
    for state in database.shared(_read_segments):
        collection = by_id.get(state.collection)
        if collection is None or not state.is_ready or state.has_index:
            continue
        yield _missing_index(collection, state.segment.index_name, "queries read its embeddings")
    for collection, name in _absent_secondary(database, by_id):
        yield _missing_index(collection, name, "filters read all records")


def _absent_secondary(
    database: Database, by_id: Mapping[UUID, KnownCollection]
) -> Iterator[tuple[KnownCollection, str]]:
    """Yield the secondary indexes that filters use or keep missing, and that do not exist."""
    is_automatic = database.settings.pgchroma_auto_index
    wanted = [
        (by_id[id], secondary_name(by_id[id].tables, SecondaryIndex(kind, key)), is_ready)
        for id, kind, key, is_ready, asked in database.rows(_SECONDARY)
        if id in by_id and (is_ready or (is_automatic and asked >= DEMAND_THRESHOLD))
    ]
    parameters = {
        "schemas": [collection.schema for collection, _, _ in wanted],
        "indexes": [name for _, name, _ in wanted],
        "records": [f"records_{collection.id.hex}" for collection, _, _ in wanted],
        "ready": [is_ready for _, _, is_ready in wanted],
        "least": MIN_INDEXED,
    }
    for (number,) in database.rows(_ABSENT, parameters) if wanted else ():
        yield wanted[number - 1][:2]


def _missing_index(collection: KnownCollection, name: str, cost: str) -> Finding:
    report = info if collection.is_locked else warning
    return report(
        collection.subject,
        f"the index {name} does not exist, or PostgreSQL cannot use it",
        cost,
        COMPACT,
        fix=Fix("compact", collection.id),
    )


@catalog_check("unfinished-build")
def _unfinished(database: Database) -> Iterator[Finding]:
    for id, subject, name in database.lasting_rows(_UNFINISHED):
        yield warning(
            subject,
            f"the build of {name} has not ended, and no compactor works on it",
            "queries do not use the index",
            COMPACT,
            fix=Fix("compact", id),
        )


@catalog_check("unindexed-tail")
def _unindexed(database: Database) -> Iterator[Finding]:
    segments = _ready_segments(database)
    candidates = [
        each
        for each in database.shared(readable_collections)
        if each.has_vectors and each.dimension is not None
    ]
    least = database.settings.pgchroma_segment_bytes

    def part(collection: KnownCollection) -> sql.Composable:
        return _outside(collection, segments.get(collection.id, ()))

    answers = over_collections(database, candidates, part)
    for collection, (rows,) in answers.rows:
        dimension = collection.dimension or 0
        if not needs_index(rows, dimension, collection.sync_threshold, least):
            continue
        report = info if collection.is_locked else warning
        size = rows * 4 * dimension
        yield report(
            collection.subject,
            f"{rows} embeddings have no index" + _activity(collection),
            f"every query without a filter reads {shown_bytes(size)}",
            COMPACT,
            fix=Fix("compact", collection.id),
            embeddings=rows,
            bytes=size,
        )
    yield from answers.unread("unindexed-tail")


@catalog_check("dead-entries")
def _dead(database: Database) -> Iterator[Finding]:
    segments = _ready_segments(database)

    def part(collection: KnownCollection) -> sql.Composable | None:
        own = segments.get(collection.id)
        if not own or not collection.has_vectors:
            return None
        counts = [
            sql.SQL("select {}, (select count(*) from {} where {})").format(
                sql.Literal(n),
                collection.tables.vectors,
                position_range("pos", segment.first_pos, segment.end_pos),
            )
            for n, segment in enumerate(own)
        ]
        return sql.SQL(" union all ").join(counts)

    answers = over_collections(database, database.shared(readable_collections), part)
    for collection, (number, live) in answers.rows:
        segment = segments[collection.id][number]
        dead = segment.entries - live
        if dead <= segment.entries * MAX_DEAD_FRACTION:
            continue
        share = dead / segment.entries
        yield warning(
            collection.subject,
            f"{share:.0%} of the entries of {segment.index_name} are dead",
            "a search passes dead entries, so it takes longer or finds less",
            COMPACT,
            fix=Fix("compact", collection.id),
            dead=dead,
            entries=segment.entries,
        )
    yield from answers.unread("dead-entries")


@catalog_check("duplicate-index")
def _duplicate(database: Database) -> Iterator[Finding]:
    # A compactor that builds a segment again has two of its indexes for a moment.
    for subject, schema, name, other, size in database.lasting_rows(_DUPLICATES):
        index = sql.Identifier(schema, name).as_string(None)
        yield warning(
            subject,
            f"the index {index} is the same as {other}",
            f"every write maintains both, and it occupies {shown_bytes(size)}",
            f"drop index concurrently {index}",
            bytes=size,
        )


@catalog_check("unknown-index")
def _unknown(database: Database) -> Iterator[Finding]:
    by_id = {each.id: each for each in database.shared(known_collections)}
    indexes = database.lasting_rows(_UNKNOWN)
    # An index that was seen while no compactor worked on the collection has had its row since then.
    known = {
        (id, secondary_name(by_id[id].tables, SecondaryIndex(kind, key)))
        for id, kind, key, _, _ in (database.rows(_SECONDARY) if indexes else ())
        if id in by_id
    }
    for id, subject, schema, name, size in indexes:
        if (id, name) in known:
            continue
        index = sql.Identifier(schema, name).as_string(None)
        yield warning(
            subject,
            f"the catalog does not know the index {index}",
            f"no query relies on it, every write maintains it, and it occupies {shown_bytes(size)}",
            COMPACT,
            fix=Fix("compact", id),
            bytes=size,
        )


def _activity(collection: KnownCollection) -> str:
    return ", and a compactor works on the collection" if collection.is_locked else ""


def _ready_segments(database: Database) -> dict[UUID, list[Segment]]:
    ready: dict[UUID, list[Segment]] = {}
    for state in database.shared(_read_segments):
        if state.is_ready and state.has_index:
            ready.setdefault(state.collection, []).append(state.segment)
    return ready


def _outside(collection: KnownCollection, segments: Sequence[Segment]) -> sql.Composable:
    """Compose the number of embeddings that no segment covers."""
    ranges = [position_range("pos", *bounds) for bounds in ranges_without(segments)]
    return sql.SQL("select count(*) from {} where {}").format(
        collection.tables.vectors, sql.SQL(" or ").join(ranges)
    )


def _read_segments(database: Database) -> list[_SegmentState]:
    return [_segment_state(row) for row in database.rows(_SEGMENTS)]


def _segment_state(row: Sequence[Any]) -> _SegmentState:
    id, first, end, name, entries, quantization, is_ready, has_index = row
    return _SegmentState(id, Segment(first, end, name, entries, quantization), is_ready, has_index)


_SEGMENTS: Final = render(
    """
    select
        s.collection_id, s.first_pos, s.end_pos, s.index_name, s.entries, s.quantization,
        s.is_ready, coalesce(i.indisvalid, false)
    from {known} as k
    join pgchroma.segments as s on s.collection_id = k.id and s.generation = k.generation
    left join pg_catalog.pg_class as x
        on x.relnamespace = k.namespace and x.relname = s.index_name
    left join pg_catalog.pg_index as i on i.indexrelid = x.oid
    order by s.collection_id, s.first_pos, s.id
    """,
    known=KNOWN,
)

_UNFINISHED: Final = render(
    """
    select k.id, k.subject, s.index_name
    from {known} as k
    join pgchroma.segments as s
        on s.collection_id = k.id and s.generation = k.generation and not s.is_ready
    where not k.is_locked
    order by 2, 3
    """,
    known=KNOWN,
)

_SECONDARY: Final = render(
    """
    select s.collection_id, s.kind, s.key, s.is_ready, s.asked
    from {known} as k
    join pgchroma.secondary_indexes as s on s.collection_id = k.id
    order by 1, 2, 3
    """,
    known=KNOWN,
)

_ABSENT: Final = render(
    """
    select w.n
    from unnest(
        %(schemas)s::text[], %(indexes)s::text[], %(records)s::text[], %(ready)s::bool[]
    ) with ordinality as w (schema_name, index_name, records, is_ready, n)
    join pg_catalog.pg_namespace as s on s.nspname = w.schema_name
    join pg_catalog.pg_class as r on r.relnamespace = s.oid and r.relname = w.records
    where (w.is_ready or r.reltuples >= %(least)s) and not exists (
        select from pg_catalog.pg_class as x
        join pg_catalog.pg_index as i on i.indexrelid = x.oid
        where x.relnamespace = s.oid and x.relname = w.index_name and i.indisvalid
    )
    order by 1
    """
)

_INVALID: Final = render(
    """
    select
        k.id, k.subject, k.schema_name, x.relname::text,
        starts_with(x.relname::text, 'vectors_' || k.key || '_hnsw_')
            or starts_with(x.relname::text, 'records_' || k.key || '_by_'),
        x.relpages::bigint * current_setting('block_size')::bigint
    from {known} as k
    {tables}
    join pg_catalog.pg_index as i on i.indrelid = t.oid and not i.indisvalid
    join pg_catalog.pg_class as x on x.oid = i.indexrelid
    where not k.is_locked and not exists (
        select from pg_catalog.pg_stat_progress_create_index as p where p.index_relid = x.oid
    )
    order by 2, 4
    """,
    known=KNOWN,
    tables=tables_of_known(),
)

_DUPLICATES: Final = render(
    """
    select
        k.subject, k.schema_name, x.relname::text, min(y.relname::text),
        x.relpages::bigint * current_setting('block_size')::bigint
    from {known} as k
    {tables}
    join pg_catalog.pg_index as i on i.indrelid = t.oid and not i.indisunique and i.indisvalid
    join pg_catalog.pg_class as x on x.oid = i.indexrelid
    join pg_catalog.pg_index as j
        on j.indrelid = i.indrelid and j.indexrelid <> i.indexrelid and j.indisvalid
        and j.indkey = i.indkey and j.indclass = i.indclass and j.indcollation = i.indcollation
        and j.indoption = i.indoption
        and (j.indisunique or j.indexrelid < i.indexrelid)
        and pg_get_expr(j.indexprs, j.indrelid)
            is not distinct from pg_get_expr(i.indexprs, i.indrelid)
        and pg_get_expr(j.indpred, j.indrelid)
            is not distinct from pg_get_expr(i.indpred, i.indrelid)
    join pg_catalog.pg_class as y on y.oid = j.indexrelid and y.relam = x.relam
    where not k.is_locked
    group by 1, 2, 3, 5
    order by 1, 3
    """,
    known=KNOWN,
    tables=tables_of_known(),
)

_UNKNOWN: Final = render(
    """
    select
        k.id, k.subject, k.schema_name, x.relname::text,
        x.relpages::bigint * current_setting('block_size')::bigint
    from {known} as k
    join pg_catalog.pg_class as x on x.relnamespace = k.namespace and x.relkind = 'i'
        and x.relname ~ '^(vectors_[0-9a-f]{{32}}_hnsw|records_[0-9a-f]{{32}}_by)_'
        and split_part(x.relname::text, '_', 2) = k.key
    join pg_catalog.pg_index as i on i.indexrelid = x.oid and i.indisvalid
    where not k.is_locked and not exists (
        select from pgchroma.segments as s
        where s.collection_id = k.id and s.index_name = x.relname
    )
    order by 2, 4
    """,
    known=KNOWN,
)

CHECKS: Final = (
    _invalid,
    _missing,
    _unfinished,
    _unindexed,
    _dead,
    _duplicate,
    _unknown,
)
