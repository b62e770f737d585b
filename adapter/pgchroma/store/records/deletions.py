"""The handler that deletes records: one round trip and one transaction, all of them or none."""

from __future__ import annotations

from typing import LiteralString

from psycopg import sql

from pgchroma.model.operations import DeleteRecords
from pgchroma.store.conditions.condition import can_reuse_plan, compile_conditions, time_bound
from pgchroma.store.handlers import handles
from pgchroma.store.layout.sequences import advance_once
from pgchroma.store.locations import ResolvedCollection, StoreContext, resolve
from pgchroma.store.records.row_locks import HELD, IS_HELD, LOCK, hold
from pgchroma.store.running.steps import Statement, Steps, render

__all__ = ("delete_records",)


@handles(DeleteRecords)
def delete_records(operation: DeleteRecords, context: StoreContext) -> Steps[int]:
    """Delete records with their embeddings."""
    # Also of second embeddings, which somebody may just have begun, none is to be left behind.
    resolved = yield from resolve(operation.collection, context, is_fresh=True)
    resolved.indexed.check(operation.filter)
    yield from advance_once(resolved, context)
    parameters, condition = compile_conditions(
        operation.ids, operation.filter, resolved.indexes.secondary
    )
    if operation.limit is not None:
        first = sql.SQL(_FIRST).format(
            records=resolved.tables.records,
            condition=condition,
            limit=parameters.bind(operation.limit),
        )
        # The condition stands in both places: a row that changes meanwhile is tested again.
        condition = sql.SQL("{} and {}").format(condition, first)
    held = sql.SQL(HELD).format(records=resolved.tables.records, condition=condition)
    text = render(
        _DELETE,
        records=resolved.tables.records,
        counts=resolved.tables.counts,
        log=resolved.tables.log_literal,
        held=held,
        is_held=sql.SQL(IS_HELD),
        cleared=_cleared(resolved),
    )
    lock = render(LOCK, records=resolved.tables.records, condition=condition)
    settings = time_bound(operation.filter, context)
    reuses_plan = can_reuse_plan(operation.filter, resolved.indexes.secondary)
    statements = (Statement(sent, parameters, reuses_plan) for sent in (lock, text))
    rows = yield from hold(*settings, *statements)
    context.record_write(resolved)
    return int(rows[0][0])


def _cleared(resolved: ResolvedCollection) -> sql.Composable:
    """Compose what deletes the embeddings of deleted records, second ones too."""
    parts: list[sql.Composable] = []
    if resolved.dimension is not None:
        parts.append(sql.SQL(_CLEARED).format(vectors=resolved.tables.vectors))
    if resolved.shadow is not None:
        parts.append(sql.SQL(_CLEARED_SPARE).format(shadow=resolved.shadow.vectors))
    return sql.Composed(parts)


_FIRST: LiteralString = """
r.seq = any(array(select r.seq from {records} as r where {condition} order by r.seq limit {limit}))
"""

_DELETE: LiteralString = """
with {held},
removed as (
    delete from {records} as r using held as h where r.seq = h.seq returning r.pos
),
counted as (
    insert into {counts} (place, change)
    select nextval({log}), - count(*) from removed having count(*) > 0
)
{cleared}
select (select count(*) from removed), {is_held}
"""

_CLEARED: LiteralString = """
, cleared as (
    delete from {vectors} as v using removed where v.pos = removed.pos
)
"""

_CLEARED_SPARE: LiteralString = """
, outdated as (
    delete from {shadow} as s using removed where s.pos = removed.pos
)
"""
