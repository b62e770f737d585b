"""The handler that reports how far compaction has come in a collection's log."""

from __future__ import annotations

from typing import LiteralString

from psycopg import sql

from pgchroma.model.hnsw import clamped
from pgchroma.model.inspection import IndexingStatus
from pgchroma.model.operations import GetIndexingStatus
from pgchroma.store.context import StoreContext
from pgchroma.store.handlers import handles
from pgchroma.store.layout.segments import needs_index, position_range, ranges_without
from pgchroma.store.resolved import ResolvedCollection
from pgchroma.store.resolving import resolve
from pgchroma.store.running.steps import Statement, Steps, render
from pgchroma.store.waits import compactor_blockers

__all__ = ("get_indexing_status",)


@handles(GetIndexingStatus)
def get_indexing_status(
    operation: GetIndexingStatus, context: StoreContext
) -> Steps[IndexingStatus]:
    """Count the operations that no compaction has seen, and the embeddings without an index."""
    context.forget_collection(operation.collection)
    resolved = yield from resolve(operation.collection, context, is_fresh=True)
    text = render(
        _STATUS,
        operations=resolved.tables.operation_count,
        tail=_tail(resolved),
    )
    named = {"id": resolved.tables.id, "vectors": resolved.tables.vectors.as_string(None)}
    rows = yield Statement(text, named)
    operations, compacted, tail, stored_threshold, error, built = rows[0]
    sync_threshold = clamped("sync_threshold", int(stored_threshold))
    dimension = resolved.dimension or 0
    without_index = (
        tail if needs_index(tail, dimension, sync_threshold, context.segment_bytes) else 0
    )
    pending = operations - compacted
    if resolved.indexes.segments:
        # The first of several indexes may be ready, and then only the rest waits.
        pending = min(pending, tail)
    waiting = max(pending, without_index)
    if waiting:
        # The process that wrote may have ended before a compaction.
        context.record_wait(resolved)
    if waiting and error is None:
        # This collection's build may wait for another collection's build, which is blocked.
        blockers = yield from compactor_blockers()
        error = f"building indexes waits for {blockers[0]}" if blockers else None
    total = max(operations, waiting)
    done = total - waiting + min(built or 0, waiting)
    return IndexingStatus(total - waiting, waiting, total, done / total if total else 1.0, error)


def _tail(resolved: ResolvedCollection) -> sql.Composable:
    """Compose the number of embeddings without an index."""
    if resolved.dimension is None:
        return sql.SQL("0")
    ranges = [
        position_range("pos", *bounds) for bounds in ranges_without(resolved.indexes.segments)
    ]
    return sql.SQL("(select count(*) from {vectors} where {ranges})").format(
        vectors=resolved.tables.vectors, ranges=sql.SQL(" or ").join(ranges)
    )


_STATUS: LiteralString = """
select
    ({operations}),
    coalesce(c.compacted_operations, 0),
    {tail},
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
