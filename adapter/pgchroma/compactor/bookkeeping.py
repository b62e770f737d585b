"""The compactor's rows in the catalog: segments, secondary indexes, errors, and its locks.

A compactor may be killed at any time: a segment's row is written before its index is built, and
marked as ready afterwards. The next inspection therefore finds either an index to adopt or
leftovers to drop.
"""

from __future__ import annotations

from collections.abc import Set
from typing import Final, NamedTuple
from uuid import UUID

from pgchroma.compactor.state import Build, Inspection, SegmentRow, TrackedCollection
from pgchroma.store.layout.secondary import DEMAND_THRESHOLD, SecondaryIndex, secondary_name
from pgchroma.store.layout.segments import segment_prefix
from pgchroma.store.running.steps import Statement, Steps, render

__all__ = (
    "LOCK_SPACE",
    "RecordedError",
    "announce_build",
    "delete_segments",
    "finish_build",
    "lock_collection",
    "reconcile",
    "record_demand",
    "record_error",
    "set_secondary",
    "unlock_collection",
)

MAX_AUTO_INDEXES: Final = 32
"""A collection with this many secondary indexes, built or not, gets no further ones on demand:
each index costs writes something, and every reader can cause demand."""

LOCK_SPACE: Final = 0x70676368
"""The first key of the compactor's advisory locks, to tell them from others."""


class RecordedError(NamedTuple):
    """The outcome of recording an error.

    Attributes:
        is_done: Whether it was recorded; false if another session has locked the collection's row.
        is_new: Whether a different error was recorded before.
    """

    is_done: bool
    is_new: bool


def lock_collection(id: UUID) -> Steps[bool]:
    """Lock a collection against other compactors; return false if one of them has the lock."""
    rows = yield Statement(_LOCK, _lock_keys(id))
    return bool(rows[0][0])


def unlock_collection(id: UUID) -> Steps[None]:
    """Unlock a collection for other compactors."""
    yield Statement(_UNLOCK, _lock_keys(id))


def announce_build(collection: TrackedCollection, build: Build) -> Steps[SegmentRow]:
    """Insert the row of a segment that is not ready, which names its index."""
    spec = collection.provisional_spec if build.is_provisional else collection.index_spec
    rows = yield Statement(
        _ANNOUNCE,
        {
            **collection.key,
            "first": build.first_pos,
            "end": build.end_pos,
            "prefix": segment_prefix(collection.tables),
            **spec._asdict(),
        },
    )
    id, name = rows[0]
    return SegmentRow(id, build.first_pos, build.end_pos, name, 0, False, spec)


def finish_build(segment: SegmentRow, entries: int) -> Steps[bool]:
    """Mark a segment as ready, and the segments within it as not ready.

    If a segment was too long to be rebuilt as a whole, queries continue to use the rest of it.

    Returns:
        Whether the segment replaces others.
    """
    bounds = {"first": segment.first_pos, "end": segment.end_pos}
    rows = yield Statement(_FINISH, {"segment": segment.id, "entries": entries, **bounds})
    return bool(rows)


def delete_segments(collection: TrackedCollection, build: Build) -> Steps[None]:
    """Delete the rows of the segments in a range, so that queries no longer use them."""
    bounds = {"first": build.first_pos, "end": build.end_pos}
    yield Statement(_DELETE_RANGE, {**collection.key, **bounds})


def set_secondary(
    collection: TrackedCollection, index: SecondaryIndex, *, is_ready: bool
) -> Steps[None]:
    """Record whether filters can use a secondary index."""
    parameters = {"id": collection.id, "kind": index.kind, "key": index.key}
    yield Statement(_SET_SECONDARY, {**parameters, "is_ready": is_ready})


def reconcile(
    collection: TrackedCollection, inspection: Inspection
) -> Steps[tuple[bool, list[str]]]:
    """Make the catalog agree with PostgreSQL's indexes.

    A compactor that was killed during a build leaves an index that PostgreSQL cannot use. One that
    was killed just after a build leaves an index that queries do not know; it is adopted.

    Returns:
        Whether the catalog was changed; and the names of the indexes to drop.
    """
    yield Statement(_DELETE_OF_DROPPED, {"id": collection.id})
    has_changed, leftovers = False, set(inspection.invalid)
    for segment in inspection.segments:
        if segment.index_name not in inspection.valid:
            yield Statement(_DELETE, {"segment": segment.id})
            has_changed = True
        elif not segment.is_ready and _is_replaced(segment, inspection):
            leftovers.add(segment.index_name)
        elif not segment.is_ready:
            yield from finish_build(segment, segment.rows)
            has_changed = True
    has_changed |= yield from _reconcile_secondary(collection, inspection)
    known = {segment.index_name for segment in inspection.segments}
    known.update(secondary_name(collection.tables, index) for index in inspection.secondary)
    return has_changed, sorted(leftovers.union(inspection.valid - known))


def _reconcile_secondary(collection: TrackedCollection, inspection: Inspection) -> Steps[bool]:
    """Correct which secondary indexes are ready; return whether any had to be corrected."""
    has_changed = False
    for index, is_ready in inspection.secondary.items():
        exists = secondary_name(collection.tables, index) in inspection.valid
        if exists != is_ready:
            yield from set_secondary(collection, index, is_ready=exists)
            has_changed = True
    return has_changed


def _is_replaced(segment: SegmentRow, inspection: Inspection) -> bool:
    """Whether a later segment covers all positions of a segment."""
    return any(
        other.id > segment.id
        and other.first_pos <= segment.first_pos
        and segment.end_pos <= other.end_pos
        for other in inspection.ready
    )


def record_demand(missing: Set[tuple[UUID, SecondaryIndex]]) -> Steps[None]:
    """Record which indexes filters missed."""
    rows = sorted((id, index.kind, index.key) for id, index in missing)
    names = ("ids", "kinds", "keys")
    columns = {name: [row[column] for row in rows] for column, name in enumerate(names)}
    limits = {"misses": DEMAND_THRESHOLD, "max_indexes": MAX_AUTO_INDEXES}
    yield Statement(_RECORD_DEMAND, {**columns, **limits})


def record_error(id: UUID, error: str | None) -> Steps[RecordedError]:
    """Record the error that stopped a build; `None` records that there is no error."""
    rows = yield Statement(_RECORD_ERROR, {"id": id, "error": error})
    return RecordedError(*rows[0])


def _lock_keys(id: UUID) -> dict[str, int]:
    return {"space": LOCK_SPACE, "key": int.from_bytes(id.bytes[:4], "big", signed=True)}


_LOCK = render("select pg_try_advisory_lock(%(space)s::int, %(key)s::int)")
_UNLOCK = render("select pg_advisory_unlock(%(space)s::int, %(key)s::int)")

_ANNOUNCE = render(
    """
    with next as (
        select nextval(pg_get_serial_sequence('pgchroma.segments', 'id')) as id
    )
    insert into pgchroma.segments (
        id, collection_id, generation, first_pos, end_pos, index_name, quantization,
        max_neighbors, ef_construction
    )
    overriding system value
    select
        id, %(id)s, %(generation)s, %(first)s, %(end)s, %(prefix)s::text || id, %(quantization)s,
        %(max_neighbors)s, %(ef_construction)s
    from next
    returning id, index_name
    """
)

_FINISH = render(
    """
    with done as (
        update pgchroma.segments set is_ready = true, entries = %(entries)s
        where id = %(segment)s
        returning id, collection_id, generation
    ),
    cut as (
        update pgchroma.segments as s set first_pos = %(end)s
        from done
        where s.collection_id = done.collection_id and s.generation = done.generation
            and s.id <> done.id and s.is_ready
            and s.first_pos >= %(first)s and s.first_pos < %(end)s and s.end_pos > %(end)s
    )
    update pgchroma.segments as s set is_ready = false
    from done
    where s.collection_id = done.collection_id and s.generation = done.generation
        and s.id <> done.id and s.is_ready
        and s.first_pos >= %(first)s and s.end_pos <= %(end)s
    returning s.id
    """
)

_DELETE_RANGE = render(
    """
    delete from pgchroma.segments
    where collection_id = %(id)s and generation = %(generation)s
        and first_pos >= %(first)s and end_pos <= %(end)s
    """
)

# Their tables were dropped by a session that may not change segments.
_DELETE_OF_DROPPED = render(
    """
    delete from pgchroma.segments as s
    where s.collection_id = %(id)s and not exists (
        select from pgchroma.collections as c
        where c.id = s.collection_id and c.generation = s.generation
    ) and not exists (
        select from pgchroma.reembeddings as r
        where r.collection_id = s.collection_id and r.generation = s.generation
    )
    """
)

_DELETE = render("delete from pgchroma.segments where id = %(segment)s")

_SET_SECONDARY = render(
    """
    insert into pgchroma.secondary_indexes (collection_id, kind, key, is_ready)
    select id, %(kind)s, %(key)s, %(is_ready)s from pgchroma.collections where id = %(id)s
    on conflict (collection_id, kind, key) do update set is_ready = excluded.is_ready
    """
)

_RECORD_DEMAND = render(
    """
    insert into pgchroma.secondary_indexes as i (collection_id, kind, key, asked)
    select given.id, given.kind, given.key, %(misses)s
    from (
        select *, row_number() over (partition by id order by kind, key) as n
        from unnest(%(ids)s::uuid[], %(kinds)s::text[], %(keys)s::text[]) as given (id, kind, key)
    ) as given
    join pgchroma.collections as c on c.id = given.id
    where given.n + (
        select count(*) from pgchroma.secondary_indexes as others
        where others.collection_id = given.id
    ) <= %(max_indexes)s
    for key share of c skip locked
    on conflict (collection_id, kind, key) do update set asked = i.asked + excluded.asked
    """
)

# A collection that is being deleted, or altered in a long transaction, is skipped.
_RECORD_ERROR = render(
    """
    with other as materialized (
        select id from pgchroma.collections
        where id = %(id)s and index_error is distinct from %(error)s::text
    ),
    free as materialized (
        select id from pgchroma.collections where id in (select id from other)
        for no key update skip locked
    ),
    noted as (
        update pgchroma.collections as c set index_error = %(error)s
        from free where c.id = free.id
        returning c.id
    )
    select
        (select count(*) from other) = (select count(*) from noted),
        exists (select from noted)
    """
)
