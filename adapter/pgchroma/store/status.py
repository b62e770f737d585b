"""The handler that reports how many of a collection's embeddings are not indexed yet."""

from __future__ import annotations

from typing import LiteralString

from psycopg import sql

from pgchroma.model.configuration import clamped
from pgchroma.model.inspection import IndexingStatus
from pgchroma.model.operations import GetIndexingStatus
from pgchroma.store.context import StoreContext
from pgchroma.store.handlers import handles
from pgchroma.store.layout.segments import needs_index, position_range, ranges_without
from pgchroma.store.resolving import resolve
from pgchroma.store.running.steps import Statement, Steps, render, text_of
from pgchroma.store.waits import compactor_blockers

__all__ = ("get_indexing_status",)


@handles(GetIndexingStatus)
def get_indexing_status(
    operation: GetIndexingStatus, context: StoreContext
) -> Steps[IndexingStatus]:
    """Count the embeddings that wait for an index, and read the progress of a running build."""
    context.forget_collection(operation.collection)
    resolved = yield from resolve(operation.collection, context, is_fresh=True)
    if resolved.dimension is None:
        records = (yield Statement(text_of(resolved.tables.record_count)))[0][0]
        return IndexingStatus(records, 0, records, 1.0)
    ranges = [
        position_range("pos", *bounds) for bounds in ranges_without(resolved.indexes.segments)
    ]
    text = render(
        _STATUS,
        count=resolved.tables.record_count,
        vectors=resolved.tables.vectors,
        ranges=sql.SQL(" or ").join(ranges),
    )
    named = {"id": resolved.tables.id, "vectors": resolved.tables.vectors.as_string(None)}
    rows = yield Statement(text, named)
    records, tail, stored_threshold, error, built = rows[0]
    sync_threshold = clamped("sync_threshold", int(stored_threshold))
    waiting = (
        tail if needs_index(tail, resolved.dimension, sync_threshold, context.segment_bytes) else 0
    )
    if waiting and error is None:
        # This collection's build may wait for another collection's build, which is blocked.
        blockers = yield from compactor_blockers()
        error = f"building indexes waits for {blockers[0]}" if blockers else None
    total = max(records, waiting)
    done = total - waiting + min(built or 0, waiting)
    return IndexingStatus(total - waiting, waiting, total, done / total if total else 1.0, error)


_STATUS: LiteralString = """
select
    ({count}),
    (select count(*) from {vectors} where {ranges}),
    c.configuration -> 'hnsw' ->> 'sync_threshold',
    c.index_error,
    (
        select sum(p.tuples_done)::bigint
        from pg_catalog.pg_stat_progress_create_index as p
        where p.relid = to_regclass(%(vectors)s)
    )
from pgchroma.collections as c
where c.id = %(id)s
"""
