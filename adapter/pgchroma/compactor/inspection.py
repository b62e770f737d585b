"""Reading collections, their segments, indexes and row counts. Nothing here changes anything.

What reads the tables of a collection runs as its tenant's role; the caller sees to that.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final, LiteralString
from uuid import UUID

import orjson

from pgchroma.compactor import state
from pgchroma.compactor.state import (
    Build,
    IndexSpec,
    Inspection,
    SegmentRow,
    TrackedCollection,
    Updates,
)
from pgchroma.model.configuration import CollectionConfiguration
from pgchroma.store.layout.secondary import SecondaryIndex, secondary_prefix
from pgchroma.store.layout.segments import segment_prefix
from pgchroma.store.layout.tables import LAYOUT_VERSION, CollectionTables
from pgchroma.store.running.steps import Statement, Steps, render, text_of
from pgchroma.store.running.transaction_settings import set_lock_timeout

__all__ = (
    "count_rows",
    "find_collections",
    "find_trigrams",
    "inspect",
    "limited_to",
    "list_collections",
    "peek",
    "read_updates",
)

PAGE: Final = 200
"""Collections read by one statement, which locks the sequence of each."""


def list_collections(ids: Sequence[UUID] | None, after: UUID | None) -> Steps[list[UUID]]:
    """Return a page of the ids of collections, in their order.

    Args:
        ids: The collections to look for; `None` means all of them.
        after: The last id of the page before; `None` for the first page.
    """
    parameters = {"ids": None if ids is None else list(ids), "after": after, "limit": PAGE}
    rows = yield Statement(_LIST, parameters)
    return [id for (id,) in rows]


def find_collections(ids: Sequence[UUID]) -> Steps[list[TrackedCollection]]:
    """Return collections in the order of their ids.

    Those with an older layout are left out. A collection that is being re-embedded comes twice:
    with the embeddings in use and with the pending ones. PostgreSQL locks the sequence of each
    collection, and waits at most half a second for sessions that alter or drop it.
    """
    rows = yield (
        set_lock_timeout("500ms"),
        Statement(_TRACKED, {"ids": list(ids), "layout": LAYOUT_VERSION}),
    )
    return [_collection(row) for row in rows]


def inspect(collection: TrackedCollection) -> Steps[Inspection]:
    """Read a collection's segments and indexes, and count its live embeddings."""
    rows = yield Statement(_SEGMENTS, collection.key)
    segments = [_segment(row) for row in rows]
    rows = yield Statement(_SECONDARY, {"id": collection.id})
    secondary = {SecondaryIndex(kind, key): is_ready for kind, key, is_ready, _ in rows}
    demand = {SecondaryIndex(kind, key): misses for kind, key, _, misses in rows}
    indexes = yield _list_indexes(collection.tables)
    records = (yield Statement(text_of(collection.tables.record_count)))[0][0]
    inspection = Inspection(
        tuple(segments),
        frozenset(name for name, is_valid in indexes if is_valid),
        frozenset(name for name, is_valid in indexes if not is_valid),
        secondary=secondary,
        demand=demand,
        records=records,
    )
    if collection.dimension is None:
        return inspection
    tail, end = yield from _count_tail(collection, inspection.tail_start)
    counted = []
    for segment in segments:
        live = yield from count_rows(collection, segment.first_pos, segment.end_pos)
        counted.append(replace(segment, live=live))
    gaps = []
    for first, stop in _ranges_between(inspection.ready):
        live = yield from count_rows(collection, first, stop)
        if live:
            gaps.append(Build(first, stop, live))
    return replace(inspection, tail=tail, end_pos=end, segments=tuple(counted), gaps=tuple(gaps))


def peek(collection: TrackedCollection) -> Steps[tuple[int, int]]:
    """Return an upper bound of the length of the tail, and the number of rows of counts.

    This reads one entry of an index, so it is cheap enough for polling.
    """
    tables = collection.tables
    text = render(_COUNT_ROWS, counts=tables.counts)
    limit = {"limit": state.MAX_COUNT_ROWS + 1}
    count_rows = (yield Statement(text, limit))[0][0]
    if collection.dimension is None:
        return 0, count_rows
    text = render(_LAST, vectors=tables.vectors)
    rows = yield Statement(text, collection.key)
    last, end = rows[0]
    return max(last - end + 1, 0), count_rows


def count_rows(collection: TrackedCollection, first: int, end: int) -> Steps[int]:
    """Count the embeddings at the positions of a range."""
    text = render(_LIVE, vectors=collection.tables.vectors)
    statement = Statement(text, {"first": first, "end": end})
    rows = yield statement
    return int(rows[0][0])


def limited_to(collection: TrackedCollection, build: Build, max_rows: int) -> Steps[Build]:
    """Return the first part of a build, with at most `max_rows` embeddings."""
    text = render(_END_OF_ROWS, vectors=collection.tables.vectors)
    statement = Statement(text, {"first": build.first_pos, "rows": max(max_rows, 1)})
    rows = yield statement
    end = rows[0][0] if rows else build.end_pos
    rows = min(max_rows, build.rows)
    return replace(build, end_pos=min(end, build.end_pos), rows=rows)


def find_trigrams() -> Steps[str | None]:
    """Return the schema of the extension pg_trgm; `None` if it is not installed."""
    rows = yield Statement(_TRIGRAMS)
    return str(rows[0][0]) if rows else None


def read_updates(tables: CollectionTables) -> Steps[Updates]:
    """Return how records were updated since PostgreSQL's statistics began."""
    rows = yield Statement(_UPDATES, {"table": tables.records.as_string(None)})
    return Updates(*rows[0])


def _collection(row: Sequence[Any]) -> TrackedCollection:
    id, generation, is_shadow, name, schema, stored, dimension, tenant, role, *found = row
    waiting, has_leftovers, is_behind, specs = found
    collection = TrackedCollection(
        CollectionTables(schema, id, generation, is_shadow),
        name,
        CollectionConfiguration.from_json(orjson.loads(stored)),
        dimension,
        tenant,
        role,
        waiting,
        has_leftovers,
        is_behind,
    )
    built = [IndexSpec(*spec) for spec in orjson.loads(specs or "[]")]
    return replace(collection, has_stale=not all(map(collection.accepts, built)))


def _segment(row: Sequence[Any]) -> SegmentRow:
    id, first_pos, end_pos, index_name, entries, is_ready, *spec = row
    return SegmentRow(id, first_pos, end_pos, index_name, entries, is_ready, IndexSpec(*spec))


def _list_indexes(tables: CollectionTables) -> Statement:
    parameters = {
        "tables": [tables.records.as_string(None), tables.vectors.as_string(None)],
        "prefixes": [segment_prefix(tables), secondary_prefix(tables)],
    }
    return Statement(_INDEXES, parameters)


def _count_tail(collection: TrackedCollection, start: int) -> Steps[tuple[int, int]]:
    """Return the number of embeddings from a position on, and a position after all of them."""
    text = render(_TAIL, vectors=collection.tables.vectors)
    rows = yield Statement(text, {"start": start})
    count, last = rows[0]
    return count, start if last is None else last + 1


def _ranges_between(segments: Sequence[SegmentRow]) -> list[tuple[int, int]]:
    ends = [1, *(segment.end_pos for segment in segments)]
    pairs = zip(ends, segments, strict=False)
    return [(end, segment.first_pos) for end, segment in pairs if end < segment.first_pos]


_LIST = render(
    """
    select id from pgchroma.collections
    where (id = any(%(ids)s::uuid[]) or %(ids)s::uuid[] is null)
        and (id > %(after)s::uuid or %(after)s::uuid is null)
    order by id
    limit %(limit)s
    """
)

_TRACKED = render(
    """
    select
        c.id, c.generation, c.is_shadow, c.name, c.schema_name, c.configuration, c.dimension,
        c.tenant,
        (
            select t.role_name
            from pg_catalog.pg_class as r
            where r.oid = any(c.tables) and pg_get_userbyid(r.relowner) = t.role_name
            limit 1
        ),
        coalesce(pg_sequence_last_value(c.log), 0) - coalesce(s.end_pos, 1) + 1,
        s.unready > 0 or i.invalid > 0 or i.valid <> s.ready + (
            select count(*) from pgchroma.secondary_indexes as x
            where x.collection_id = c.id and x.is_ready
        ) or exists (
            select from pgchroma.secondary_indexes as x, pg_catalog.pg_extension as e
            where x.collection_id = c.id and x.kind = 'trigrams' and not x.is_ready
                and c.index_error is not null and e.extname = 'pg_trgm'
        ),
        coalesce(pg_sequence_last_value(c.log) > c.compacted_pos, false),
        s.specs::text
    from (
        select
            c.id, c.name, g.configuration::text, g.dimension, d.tenant, d.schema_name, k.key,
            c.index_error, c.compacted_pos,
            g.generation, g.is_shadow,
            to_regclass(format('%%I.%%I', d.schema_name, 'log_' || k.key)) as log,
            array(
                select to_regclass(format('%%I.%%I', d.schema_name, name))
                from unnest(array[
                    'records_' || k.key,
                    'counts_' || k.key,
                    case when g.is_shadow then 'spare_' else 'vectors_' end || k.key
                        || case when g.generation = 1 then '' else '_' || g.generation end
                ]) as name
            ) as tables
        from (
            select * from pgchroma.collections
            where id = any(%(ids)s::uuid[]) and layout_version >= %(layout)s
        ) as c
        join pgchroma.databases as d on d.id = c.database_id
        cross join replace(c.id::text, '-', '') as k (key)
        cross join lateral (
            select c.generation, c.configuration, c.dimension, false
            union all
            select r.generation, r.configuration, r.dimension, true
            from pgchroma.reembeddings as r
            where r.collection_id = c.id and not r.is_previous
        ) as g (generation, configuration, dimension, is_shadow)
    ) as c
    join pgchroma.tenants as t on t.name = c.tenant
    cross join lateral (
        select
            max(s.end_pos) filter (where s.is_ready) as end_pos,
            count(*) filter (where s.is_ready) as ready,
            count(*) filter (where not s.is_ready) as unready,
            jsonb_agg(
                distinct jsonb_build_array(s.quantization, s.max_neighbors, s.ef_construction)
            ) filter (where s.is_ready) as specs
        from pgchroma.segments as s
        where s.collection_id = c.id and s.generation = c.generation
    ) as s
    cross join lateral (
        select
            count(*) filter (where i.indisvalid) as valid,
            count(*) filter (where not i.indisvalid) as invalid
        from pg_catalog.pg_index as i
        join pg_catalog.pg_class as r on r.oid = i.indexrelid
        where i.indrelid = any(c.tables)
            and r.relname ~ ('^(vectors_' || c.key || '_hnsw_|records_' || c.key || '_by_)')
    ) as i
    order by c.id, c.is_shadow
    """
)

_SEGMENTS = render(
    """
    select
        id, first_pos, end_pos, index_name, entries, is_ready, quantization, max_neighbors,
        ef_construction
    from pgchroma.segments
    where collection_id = %(id)s and generation = %(generation)s
    order by first_pos, id
    """
)

_SECONDARY = render(
    """
    select kind, key, is_ready, asked from pgchroma.secondary_indexes
    where collection_id = %(id)s
    order by kind, key
    """
)

_INDEXES = render(
    """
    select c.relname::text, i.indisvalid
    from pg_catalog.pg_index as i
    join pg_catalog.pg_class as c on c.oid = i.indexrelid
    where i.indrelid = any(array(
            select to_regclass(name) from unnest(%(tables)s::text[]) as name
        ))
        and exists (
            select from unnest(%(prefixes)s::text[]) as prefix
            where starts_with(c.relname::text, prefix)
        )
    """
)

_TAIL: LiteralString = "select count(*), max(pos) from {vectors} where pos >= %(start)s::bigint"

_COUNT_ROWS: LiteralString = """
select count(*) from (select from {counts} limit %(limit)s) as found
"""

_LAST: LiteralString = """
select
    coalesce((select max(pos) from {vectors}), 0),
    coalesce((
        select max(end_pos) from pgchroma.segments
        where collection_id = %(id)s and generation = %(generation)s and is_ready
    ), 1)
"""

_LIVE: LiteralString = """
select count(*) from {vectors} where pos >= %(first)s::bigint and pos < %(end)s::bigint
"""

_END_OF_ROWS: LiteralString = """
select pos from {vectors} where pos >= %(first)s::bigint order by pos offset %(rows)s limit 1
"""

_UPDATES = render(
    """
    select
        coalesce(
            (
                select o.option_value::int from pg_options_to_table(c.reloptions) as o
                where o.option_name = 'fillfactor'
            ),
            100
        ),
        pg_stat_get_tuples_updated(c.oid),
        pg_stat_get_tuples_hot_updated(c.oid),
        pg_stat_get_tuples_newpage_updated(c.oid)
    from pg_catalog.pg_class as c
    where c.oid = %(table)s::regclass
    """
)

_TRIGRAMS = render(
    """
    select n.nspname::text
    from pg_catalog.pg_extension as e
    join pg_catalog.pg_namespace as n on n.oid = e.extnamespace
    where e.extname = 'pg_trgm'
    """
)
