"""How far passes have come in a collection's log: its version, and the keys of its metadata.

A process knows the keys that it wrote itself. If it was killed before a pass, or wrote without a
compactor, the next pass reads the metadata of all records.
"""

from __future__ import annotations

from collections.abc import Set
from typing import LiteralString, NamedTuple

import orjson
from psycopg import errors as pg

from pgchroma.compactor.state import TrackedCollection
from pgchroma.compactor.steps import AsRole, PassSteps
from pgchroma.model.discovery import MAX_KEYS, KeyKind, merge_kinds, read_kinds
from pgchroma.store.running.steps import Statement, render

__all__ = ("LogEnd", "read_log_end", "record_watermark")


class LogEnd(NamedTuple):
    """How far a collection's log goes.

    Attributes:
        operations: How many operations there were.
        pos: The last position.
    """

    operations: int
    pos: int


def read_log_end(collection: TrackedCollection) -> PassSteps[LogEnd]:
    """Read how far a collection's log goes."""
    tables = collection.tables
    text = render(_LOG_END, operations=tables.operation_count, log=tables.log_literal)
    rows = yield AsRole(collection.role, Statement(text))
    return LogEnd(*rows[0])


def record_watermark(
    collection: TrackedCollection, end: LogEnd, keys: Set[KeyKind] | None, *, reads_all: bool
) -> PassSteps[bool]:
    """Record how far the log went when a pass began, after everything was done for it.

    Args:
        collection: The collection.
        end: How far the log went when the pass began.
        keys: The keys that were written since the last pass; `None` if they are not known.
        reads_all: Whether to look for keys in the metadata of all records in any case.

    Returns:
        False if another session has locked the collection's row, so it has to be recorded later.
    """
    rows = yield Statement(_RECORDED, {"id": collection.id})
    if not rows:
        return True
    operations, pos, stored = rows[0]
    if (operations, pos) == end and not keys and not reads_all:
        return True
    found = set(keys or ())
    if reads_all or operations is None or (keys is None and operations != end.operations):
        found |= yield from _find_keys(collection)
    known = read_kinds(None if stored is None else orjson.loads(stored))
    merged = merge_kinds(known, found, collection.configuration.filterable)
    is_discovery = merged != known
    try:
        if is_discovery:
            encoded = orjson.dumps(merged).decode()
            rows = yield Statement(_DISCOVER, {"id": collection.id, "keys": encoded})
            if not rows:
                return False
        parameters = {"id": collection.id, "is_discovery": is_discovery, **end._asdict()}
        rows = yield Statement(_RECORD, parameters)
    except pg.InsufficientPrivilege:
        return True
    return bool(rows)


def _find_keys(collection: TrackedCollection) -> PassSteps[set[KeyKind]]:
    text = render(_KEYS, records=collection.tables.records)
    # More than the bound, because the user may have named some of them.
    rows = yield AsRole(collection.role, Statement(text, {"limit": 10 * MAX_KEYS}))
    return {(key, kind) for key, kind in rows}


_LOG_END: LiteralString = """
select ({operations}), coalesce(pg_sequence_last_value({log}::regclass), 0)
"""

_RECORDED = render(
    """
    select compacted_operations, compacted_pos, discovered_keys::text from pgchroma.collections
    where id = %(id)s
    """
)

# The triggers that copy the catalog fire for this column only.
_DISCOVER = render(
    """
    with free as materialized (
        select id from pgchroma.collections where id = %(id)s for no key update skip locked
    )
    update pgchroma.collections as c set discovered_keys = %(keys)s::jsonb
    from free where c.id = free.id
    returning c.id
    """
)

_RECORD = render(
    """
    with free as materialized (
        select id from pgchroma.collections where id = %(id)s for no key update skip locked
    )
    update pgchroma.collections as c
    set
        version = version + (
            %(is_discovery)s or c.compacted_operations is distinct from %(operations)s
        )::int,
        compacted_operations = %(operations)s,
        compacted_pos = %(pos)s
    from free where c.id = free.id
    returning c.id
    """
)

# Numbers have a point exactly if they are floats; see `pgchroma.store.encoding.metadata`.
_KEYS: LiteralString = """
select distinct key, case jsonb_typeof(value)
    when 'string' then 'string'
    when 'boolean' then 'bool'
    when 'object' then 'sparse_vector'
    else case when position('.' in value::text) > 0 then 'float' else 'int' end
end
from (
    select k.key, e.value
    from {records} as r
    cross join lateral jsonb_each(r.metadata) as k (key, value)
    cross join lateral jsonb_array_elements(
        case jsonb_typeof(k.value) when 'array' then k.value else jsonb_build_array(k.value) end
    ) as e (value)
) as found
limit %(limit)s
"""
