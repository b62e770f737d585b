"""The handler that deletes records: one round trip and one transaction, all of them or none."""

from __future__ import annotations

from typing import LiteralString

from psycopg import sql

from pgchroma.model.operations import DeleteRecords
from pgchroma.store.conditions.condition import can_reuse_plan, compile_conditions, time_bound
from pgchroma.store.handlers import handles
from pgchroma.store.layout.sequences import advance_once
from pgchroma.store.locations import Environment, Location, locate
from pgchroma.store.records.row_locks import HELD, IS_HELD, LOCK, hold
from pgchroma.store.running.steps import Statement, Steps, render

__all__ = ("delete_records",)


@handles(DeleteRecords)
def delete_records(operation: DeleteRecords, environment: Environment) -> Steps[int]:
    """Delete records with their embeddings."""
    # Also of second embeddings, which somebody may just have begun, none is to be left behind.
    location = yield from locate(operation.collection, environment, is_fresh=True)
    location.indexed.check(operation.filter)
    yield from advance_once(location, environment)
    parameters, condition = compile_conditions(
        operation.ids, operation.filter, location.indexes.secondary
    )
    if operation.limit is not None:
        first = sql.SQL(_FIRST).format(
            records=location.tables.records,
            condition=condition,
            limit=parameters.bind(operation.limit),
        )
        # The condition stands in both places: a row that changes meanwhile is tested again.
        condition = sql.SQL("{} and {}").format(condition, first)
    held = sql.SQL(HELD).format(records=location.tables.records, condition=condition)
    text = render(
        _DELETE,
        records=location.tables.records,
        counts=location.tables.counts,
        log=location.tables.log_literal,
        held=held,
        is_held=sql.SQL(IS_HELD),
        cleared=_cleared(location),
    )
    lock = render(LOCK, records=location.tables.records, condition=condition)
    settings = time_bound(operation.filter, environment)
    reuses_plan = can_reuse_plan(operation.filter, location.indexes.secondary)
    statements = (Statement(sent, parameters, reuses_plan) for sent in (lock, text))
    rows = yield from hold(*settings, *statements)
    environment.record_write(location)
    return int(rows[0][0])


def _cleared(location: Location) -> sql.Composable:
    """Compose what deletes the embeddings of deleted records, second ones too."""
    parts: list[sql.Composable] = []
    if location.dimension is not None:
        parts.append(sql.SQL(_CLEARED).format(vectors=location.tables.vectors))
    if location.spare is not None:
        parts.append(sql.SQL(_CLEARED_SPARE).format(spare=location.spare.vectors))
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
    delete from {spare} as s using removed where s.pos = removed.pos
)
"""
