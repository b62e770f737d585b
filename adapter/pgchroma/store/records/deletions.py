"""The handler that deletes records: one round trip and one transaction."""

from __future__ import annotations

from typing import LiteralString

from psycopg import sql

from pgchroma.model.operations import DeleteRecords
from pgchroma.store.conditions.condition import resolve_where
from pgchroma.store.conditions.row_locks import HELD, IS_HELD, LOCK
from pgchroma.store.context import StoreContext
from pgchroma.store.handlers import handles
from pgchroma.store.records.sparse import SparseClauses
from pgchroma.store.resolved import ResolvedCollection
from pgchroma.store.running.steps import Steps, render
from pgchroma.store.sequences import advance_once

__all__ = ("delete_records",)


@handles(DeleteRecords)
def delete_records(operation: DeleteRecords, context: StoreContext) -> Steps[int]:
    """Delete records with their embeddings, including pending and previous ones."""
    # Another client may just have begun to re-embed. A recent look-up finds its pending embeddings.
    resolved, condition = yield from resolve_where(
        operation.collection, context, operation.ids, operation.filter
    )
    yield from advance_once(resolved, context)
    records = resolved.tables.records
    matching: sql.Composable = condition.sql
    if operation.limit is not None:
        # Both parts have the condition, so a row that is changed in between is tested again.
        first = sql.SQL(_FIRST).format(records=records, condition=condition.sql)
        matching = sql.SQL("{} and {}").format(condition.sql, first)
    filterable = resolved.filterable
    numbers = filterable.sparse_numbers().values()
    sparse = SparseClauses(resolved.tables, numbers, filterable.text_number).parts()
    change = render(
        _DELETE,
        records=records,
        counts=resolved.tables.counts,
        log=resolved.tables.log_literal,
        held=sql.SQL(HELD).format(records=records, condition=matching, **sparse),
        is_held=sql.SQL(IS_HELD),
        cleared=_cleared(resolved),
        sparse_held=sparse["sparse_held"],
        sparse_cleared=sparse["sparse_cleared"],
    )
    lock = render(LOCK, records=records, condition=matching)
    rows = yield from condition.write(lock, change, {"limit": operation.limit})
    return int(rows[0][0])


def _cleared(resolved: ResolvedCollection) -> sql.Composable:
    """Compose the clauses that delete the records' embeddings, pending and previous ones also."""
    parts: list[sql.Composable] = []
    if resolved.dimension is not None:
        parts.append(sql.SQL(_CLEARED).format(vectors=resolved.tables.vectors))
    if resolved.shadow is not None:
        parts.append(sql.SQL(_CLEARED_SHADOW).format(shadow=resolved.shadow.vectors))
    return sql.Composed(parts)


_FIRST: LiteralString = """
r.seq = any(array(
    select r.seq from {records} as r where {condition} order by r.seq limit %(limit)s::bigint
))
"""

_DELETE: LiteralString = """
with {held},
removed as (
    delete from {records} as r using held as h where r.seq = h.seq returning r.pos{sparse_held}
),
counted as (
    insert into {counts} (place, change, operations)
    select nextval({log}), - count(*), count(*) from removed having count(*) > 0
)
{cleared}{sparse_cleared}
select (select count(*) from removed), {is_held}
"""

_CLEARED: LiteralString = """
, cleared as (
    delete from {vectors} as v using removed where v.pos = removed.pos
)
"""

_CLEARED_SHADOW: LiteralString = """
, outdated as (
    delete from {shadow} as s using removed where s.pos = removed.pos
)
"""
