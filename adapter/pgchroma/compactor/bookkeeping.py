"""What the compactor does to a collection: it looks, decides, and does one thing at a time.

Looking is `inspect`. Deciding is `choose_build`, which touches no database. What is done survives
being killed anywhere: a segment's row is written before its index is built and marked as ready
after, so the next look finds either an index to adopt or a rest to drop.

Nothing here is done in the name of a tenant's objects with more than the tenant's rights: rows of
collections are changed in the tenant's role, where it has one, and PostgreSQL itself builds an
index with the rights of its table's owner.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from typing import Any, Final, LiteralString, NamedTuple
from uuid import UUID

import orjson
from psycopg import sql

from pgchroma.model.configuration import CollectionConfiguration, HnswConfiguration
from pgchroma.store.layout.secondary import (
    DEMAND_THRESHOLD,
    MAX_KEY_BYTES,
    SecondaryIndex,
    secondary_name,
    secondary_prefix,
)
from pgchroma.store.layout.segments import (
    Quantization,
    build_memory_per_row,
    create_segment,
    effective_quantization,
    needs_index,
    segment_prefix,
)
from pgchroma.store.layout.tables import CollectionTables
from pgchroma.store.running.steps import Statement, Steps, render, text_of

__all__ = (
    "Build",
    "Collection",
    "Form",
    "Inspection",
    "SegmentRow",
    "analyze",
    "announce_build",
    "choose_build",
    "choose_secondary",
    "delete_orphans",
    "disable_index_vacuum",
    "drop_index",
    "drop_segments",
    "find_collections",
    "finish_build",
    "inspect",
    "limited_to",
    "list_collections",
    "live_rows",
    "lock_collection",
    "merge_counts",
    "note_asked",
    "note_error",
    "peek",
    "reconcile",
    "recount",
    "segment_statement",
    "set_secondary",
    "sweep_start",
    "unlock_collection",
    "vacuum",
)

PAGE: Final = 200
"""Collections looked at in one statement, which locks the sequence of each."""

MIN_INDEXED: Final = 5_000
"""A collection of fewer records is read as fast without a secondary index."""

DEAD_PART: Final = 0.2
"""A segment of which so much is dead is built anew."""

CLEAN_PART: Final = 0.005
"""An index of which no more is dead loses that to vacuum."""

MAX_AUTO_INDEXES: Final = 32
"""Secondary indexes of a collection, asked for or declared, above which no more can be asked for:
each costs writes something, and any reader can ask."""

MANY_CHANGES: Final = 64
"""Rows of counts that are added up to one."""

_LOCK_SPACE: Final = 0x70676368
"""Tells our advisory locks from others'."""


class Noted(NamedTuple):
    """What became of an error that was to be kept.

    Attributes:
        is_done: Whether it is kept; not if somebody else has the collection's row.
        is_new: Whether it was another one before.
    """

    is_done: bool
    is_new: bool


class Form(NamedTuple):
    """How a segment's index is built, by the settings."""

    quantization: Quantization
    max_neighbors: int
    ef_construction: int


@dataclass(frozen=True, slots=True)
class Collection:
    """A collection as the compactor sees it.

    Attributes:
        dimension: None until it has embeddings.
        tenant: Whose it is.
        role: The tenant's own role, if that owns the tables; what a tenant may have tied to its
            tables must not be run with more rights than its own.
        waiting: At most so many embeddings no segment covers.
        has_leftovers: Whether its segments and secondary indexes differ from those in the catalog,
            as after a compactor was killed; or an index can be built that could not before.
    """

    tables: CollectionTables
    name: str
    configuration: CollectionConfiguration
    dimension: int | None
    tenant: str
    role: str | None
    waiting: int
    has_leftovers: bool

    @property
    def hnsw(self) -> HnswConfiguration:
        """The settings of its indexes."""
        return self.configuration.hnsw

    @property
    def quantization(self) -> Quantization:
        """The form its indexes keep embeddings in."""
        return effective_quantization(self.hnsw.quantization, self.dimension or 0)

    @property
    def form(self) -> Form:
        """How its segments are to be built."""
        return Form(self.quantization, self.hnsw.max_neighbors, self.hnsw.ef_construction)


@dataclass(frozen=True, slots=True)
class SegmentRow:
    """A segment as the catalog has it.

    Attributes:
        live: How many embeddings are in its range; None if nobody counted.
    """

    id: int
    first_pos: int
    end_pos: int
    index_name: str
    entries: int
    is_ready: bool
    form: Form
    live: int | None = None

    @property
    def rows(self) -> int:
        """How many embeddings are in its range, as far as is known."""
        return self.entries if self.live is None else self.live


@dataclass(frozen=True, slots=True)
class Build:
    """A segment to build.

    Attributes:
        rows: About how many embeddings it will have.
    """

    first_pos: int
    end_pos: int
    rows: int


@dataclass(frozen=True, slots=True)
class Inspection:
    """What a look at a collection found.

    Attributes:
        segments: All of the catalog's segments, in the order of their positions.
        valid: The names of all of its indexes that PostgreSQL can use.
        invalid: The names of those it cannot.
        tail: How many embeddings are behind the last segment.
        end_pos: A position behind all of them.
        secondary: The secondary indexes the catalog has, and whether each is ready.
        asked: How often filters missed one.
        records: How many records there are.
        gaps: Ranges before the tail that have embeddings and no segment, since somebody dropped
            its index.
    """

    segments: tuple[SegmentRow, ...] = ()
    valid: frozenset[str] = frozenset()
    invalid: frozenset[str] = frozenset()
    tail: int = 0
    end_pos: int = 1
    secondary: Mapping[SecondaryIndex, bool] = field(default_factory=dict)
    asked: Mapping[SecondaryIndex, int] = field(default_factory=dict)
    records: int = 0
    gaps: tuple[Build, ...] = ()

    @property
    def ready(self) -> list[SegmentRow]:
        """The segments whose indexes queries use."""
        return [segment for segment in self.segments if segment.is_ready]

    @property
    def embeddings(self) -> int:
        """How many rows its table of embeddings has."""
        in_segments = sum(segment.rows for segment in self.ready)
        return in_segments + self.tail + sum(gap.rows for gap in self.gaps)

    @property
    def tail_start(self) -> int:
        """The position from which on no segment covers the log."""
        return max((segment.end_pos for segment in self.ready), default=1)


def list_collections(ids: Sequence[UUID] | None, after: UUID | None) -> Steps[list[UUID]]:
    """List collections, a page at a time, in the order of their ids.

    Args:
        ids: Which; None: all there are.
        after: The last one of the page before.
    """
    parameters = {"ids": None if ids is None else list(ids), "after": after, "limit": PAGE}
    rows = yield Statement(_LIST, parameters)
    return [id for (id,) in rows]


def find_collections(ids: Sequence[UUID]) -> Steps[list[Collection]]:
    """Find collections, in the order of their ids.

    One whose embeddings are being made anew comes twice: with the table in use and with the other.
    The sequence of each is locked, which waits for those who change or drop it for no longer than
    half a second.
    """
    rows = yield Statement(_WAIT_BRIEFLY), Statement(_FIND, {"ids": list(ids)})
    return [_collection(row) for row in rows]


def lock_collection(id: UUID) -> Steps[bool]:
    """Take a collection for oneself, unless another compactor has it."""
    rows = yield Statement(_LOCK, _lock_keys(id))
    return bool(rows[0][0])


def unlock_collection(id: UUID) -> Steps[None]:
    """Let others have a collection."""
    yield Statement(_UNLOCK, _lock_keys(id))


def inspect(collection: Collection) -> Steps[Inspection]:
    """Look at a collection's segments, indexes and tail, and count what lives of them."""
    id, tables = collection.tables.id, collection.tables
    rows = yield Statement(_SEGMENTS, _key(collection))
    segments = [_segment(row) for row in rows]
    rows = yield Statement(_SECONDARY, {"id": id})
    secondary = {SecondaryIndex(kind, key): ready for kind, key, ready, _ in rows}
    asked = {SecondaryIndex(kind, key): count for kind, key, _, count in rows}
    found = yield Statement(
        _INDEXES,
        {
            "tables": [tables.records.as_string(None), tables.vectors.as_string(None)],
            "prefixes": [segment_prefix(tables), secondary_prefix(tables)],
        },
    )
    records = (yield Statement(text_of(tables.record_count)))[0][0]
    examined = Inspection(
        tuple(segments),
        frozenset(name for name, is_valid in found if is_valid),
        frozenset(name for name, is_valid in found if not is_valid),
        secondary=secondary,
        asked=asked,
        records=records,
    )
    if collection.dimension is None:
        return examined
    tail, end = yield from _tail_rows(collection, examined.tail_start)
    examined = replace(examined, tail=tail, end_pos=end)
    counted = []
    for each in segments:
        live = yield from live_rows(collection, each.first_pos, each.end_pos)
        counted.append(replace(each, live=live))
    gaps = []
    for first, stop in _ranges_between(examined.ready):
        rows = yield from live_rows(collection, first, stop)
        if rows:
            gaps.append(Build(first, stop, rows))
    return replace(examined, segments=tuple(counted), gaps=tuple(gaps))


def peek(collection: Collection) -> Steps[tuple[int, int]]:
    """Tell at most how many embeddings are behind the last segment, and how many rows counts has.

    Reads one entry of an index, and so can be asked often.
    """
    tables = collection.tables
    changes = Statement(render(_CHANGES, counts=tables.counts), {"many": MANY_CHANGES + 1})
    count = (yield changes)[0][0]
    if collection.dimension is None:
        return 0, count
    rows = yield Statement(render(_LAST, vectors=tables.vectors), _key(collection))
    last, end = rows[0]
    return max(last - end + 1, 0), count


def choose_build(
    collection: Collection,
    examined: Inspection,
    *,
    segment_bytes: int,
    memory: int,
    is_idle: bool,
    merges_all: bool,
) -> Build | None:
    """Choose the segment to build next, if there is one.

    The tail is sealed when it is due. Its segment takes the ones before it along as long as they
    are not much longer than what is being built anyway; so each embedding is indexed a number of
    times that grows with the logarithm of the collection. Segments of which much is dead, or which
    were built with other settings, are built anew.

    Args:
        collection: Which.
        examined: What it is like.
        segment_bytes: The least a tail has to have, in bytes, to be worth an index.
        memory: Bytes that a build may take.
        is_idle: Whether nobody seems to write: only then is done what need not be.
        merges_all: Whether everything is to become one segment, whatever it costs now.
    """
    if collection.dimension is None:
        return None
    ready, tail = examined.ready, examined.tail
    most = memory // build_memory_per_row(
        collection.dimension, collection.quantization, collection.hnsw.max_neighbors
    )
    is_tail_due = needs_index(
        tail, collection.dimension, collection.hnsw.sync_threshold, segment_bytes
    ) or (merges_all and bool(ready) and tail >= collection.hnsw.batch_size)
    if is_tail_due:
        build = Build(examined.tail_start, examined.end_pos, tail)
        return _merged(build, ready, most, None if merges_all else _SEALING) or build
    if not (is_idle or merges_all):
        return None
    if examined.gaps:
        before = [each for each in ready if each.end_pos <= examined.gaps[0].first_pos]
        return _merged(examined.gaps[0], before, most, _SEALING) or examined.gaps[0]
    for index, segment in enumerate(ready):
        if _is_stale(collection, segment):
            build = Build(segment.first_pos, segment.end_pos, segment.rows)
            return _merged(build, ready[:index], most, None if merges_all else _SEALING) or build
    if not ready:
        return None
    last = Build(ready[-1].first_pos, ready[-1].end_pos, ready[-1].rows)
    return _merged(last, ready[:-1], most, None if merges_all else _RESTING)


def choose_secondary(
    collection: Collection, examined: Inspection, *, has_trigrams: bool, is_automatic: bool
) -> SecondaryIndex | None:
    """Choose the secondary index to build next: one declared, or one that filters ask for."""
    if examined.records < MIN_INDEXED:
        return None
    wanted = _declared(collection)
    if is_automatic:
        wanted += [index for index, asked in examined.asked.items() if asked >= DEMAND_THRESHOLD]
    for index in wanted:
        if index.kind == "trigrams" and not has_trigrams:
            continue
        if not examined.secondary.get(index, False):
            return index
    return None


def limited_to(collection: Collection, build: Build, most: int) -> Steps[Build]:
    """Cut a build off behind so many embeddings."""
    text = render(_CLIP, vectors=collection.tables.vectors)
    rows = yield Statement(text, {"first": build.first_pos, "most": max(most, 1)})
    end = rows[0][0] if rows else build.end_pos
    return Build(build.first_pos, min(end, build.end_pos), min(most, build.rows))


def announce_build(collection: Collection, build: Build) -> Steps[SegmentRow]:
    """Write a segment's row, and so name its index."""
    form = collection.form
    rows = yield Statement(
        _ANNOUNCE,
        {
            **_key(collection),
            "first": build.first_pos,
            "end": build.end_pos,
            "prefix": segment_prefix(collection.tables),
            **form._asdict(),
        },
    )
    id, name = rows[0]
    return SegmentRow(id, build.first_pos, build.end_pos, name, 0, False, form)


def segment_statement(collection: Collection, segment: SegmentRow) -> Statement:
    """Compose what builds a segment's index."""
    form = segment.form
    return create_segment(
        collection.tables,
        segment.index_name,
        (segment.first_pos, segment.end_pos),
        collection.hnsw.space,
        collection.dimension or 0,
        form.quantization,
        max_neighbors=form.max_neighbors,
        ef_construction=form.ef_construction,
    )


def drop_segments(collection: Collection, build: Build) -> Steps[None]:
    """Let queries no longer use the segments of a range."""
    bounds = {"first": build.first_pos, "end": build.end_pos}
    yield Statement(_DROP, {**_key(collection), **bounds})


def live_rows(collection: Collection, first: int, end: int) -> Steps[int]:
    """Count the embeddings at the positions of a range."""
    text = render(_LIVE, vectors=collection.tables.vectors)
    rows = yield Statement(text, {"first": first, "end": end})
    return int(rows[0][0])


def finish_build(segment: SegmentRow, entries: int) -> Steps[bool]:
    """Let queries use a segment, and no longer those within it; say whether there were any.

    Of one that was too long to be built anew in one piece, queries go on using what is behind.
    """
    bounds = {"first": segment.first_pos, "end": segment.end_pos}
    rows = yield Statement(_FINISH, {"segment": segment.id, "entries": entries, **bounds})
    return bool(rows)


def set_secondary(collection: Collection, index: SecondaryIndex, *, is_ready: bool) -> Steps[None]:
    """Let filters use a secondary index, or no longer."""
    named = {"id": collection.tables.id, "kind": index.kind, "key": index.key}
    yield Statement(_SET_SECONDARY, {**named, "is_ready": is_ready})


def reconcile(collection: Collection, examined: Inspection) -> Steps[tuple[bool, list[str]]]:
    """Bring the catalog and PostgreSQL together.

    A build that was killed leaves an index that PostgreSQL cannot use, and one killed right
    after it one that no query knows of: this one is adopted.

    Returns:
        Whether the catalog was changed; and the names of the indexes that are to be dropped.
    """
    changed = False
    yield Statement(_FORGET_DROPPED, {"id": collection.tables.id})
    leftovers = set(examined.invalid)
    for segment in examined.segments:
        if segment.index_name not in examined.valid:
            yield Statement(_FORGET, {"segment": segment.id})
            changed = True
        elif not segment.is_ready and _is_replaced(segment, examined):
            leftovers.add(segment.index_name)
        elif not segment.is_ready:
            yield from finish_build(segment, segment.rows)
            changed = True
    secondary = {secondary_name(collection.tables, index): index for index in examined.secondary}
    for name, index in secondary.items():
        is_there = name in examined.valid
        if is_there != examined.secondary[index]:
            yield from set_secondary(collection, index, is_ready=is_there)
            changed = True
    known = {segment.index_name for segment in examined.segments}.union(secondary)
    return changed, sorted(leftovers.union(examined.valid - known))


def _is_replaced(segment: SegmentRow, examined: Inspection) -> bool:
    """Whether a later segment has all of a segment's positions."""
    return any(
        each.id > segment.id
        and each.first_pos <= segment.first_pos
        and segment.end_pos <= each.end_pos
        for each in examined.ready
    )


def drop_index(collection: Collection, name: str) -> Statement:
    """Drop an index beside whoever reads and writes."""
    index = sql.Identifier(collection.tables.schema, name)
    return Statement(render("drop index concurrently if exists {index}", index=index))


def disable_index_vacuum(collection: Collection) -> Statement:
    """Have vacuum leave the indexes of embeddings alone from now on, unless it is told otherwise.

    It takes HNSW longer to lose entries one by one than to be built anew.
    """
    text = "alter table {vectors} set (vacuum_index_cleanup = off)"
    return Statement(render(text, vectors=collection.tables.vectors))


def delete_orphans(collection: Collection, start: int = 1) -> Statement:
    """Delete the embeddings, from a position on, that are no record's."""
    tables = collection.tables
    text = render(_SWEEP, records=tables.records, vectors=tables.vectors)
    return Statement(text, {"start": start})


def sweep_start(examined: Inspection, *, merges_all: bool) -> int:
    """Choose the position from which on to look for embeddings that are no record's.

    Such are left by writers of one record at the same time, and so are in the tail. If there are
    more embeddings than records then there are such, wherever they are.
    """
    is_whole = merges_all or examined.embeddings > examined.records
    return 1 if is_whole else examined.tail_start


def merge_counts(collection: Collection) -> Statement:
    """Add up what many writes have left word of."""
    tables = collection.tables
    text = render(_FOLD, counts=tables.counts, log=tables.log_literal)
    return Statement(text, {"many": MANY_CHANGES})


def vacuum(collection: Collection, examined: Inspection) -> Statement:
    """Give dead embeddings' space back, and their entries where an index has few of them.

    An HNSW index loses entries one by one, each for some searches; one that has many dead ones is
    left alone until it is built anew.
    """
    dead = sum(max(each.entries - each.rows, 0) for each in examined.ready)
    is_clean = dead <= CLEAN_PART * sum(each.entries for each in examined.ready)
    text = "vacuum (index_cleanup {cleanup}, parallel 0) {vectors}"
    cleanup = sql.SQL("on" if is_clean else "off")
    return Statement(render(text, vectors=collection.tables.vectors, cleanup=cleanup))


def analyze(collection: Collection) -> tuple[Statement, ...]:
    """Let the planner know what there is."""
    tables = collection.tables
    records = Statement(render("analyze {records}", records=tables.records))
    if collection.dimension is None:
        return (records,)
    # Embeddings themselves tell it nothing, and take long.
    return records, Statement(render("analyze {vectors} (pos, seq)", vectors=tables.vectors))


def note_asked(asked: Set[tuple[UUID, SecondaryIndex]]) -> Statement:
    """Keep which indexes filters missed."""
    rows = sorted((id, index.kind, index.key) for id, index in asked)
    names = ("ids", "kinds", "keys")
    columns = {name: [row[column] for row in rows] for column, name in enumerate(names)}
    return Statement(_ASKED, {**columns, "asked": DEMAND_THRESHOLD, "most": MAX_AUTO_INDEXES})


def recount(collection: Collection) -> Statement:
    """Count the records, and put right what writes have left word of."""
    tables = collection.tables
    text = render(
        _HEAL,
        counts=tables.counts,
        records=tables.records,
        log=tables.log_literal,
        noted=tables.record_count,
    )
    return Statement(text)


def note_error(id: UUID, error: str | None) -> Steps[Noted]:
    """Keep what stopped a build, or that nothing did."""
    rows = yield Statement(_ERROR, {"id": id, "error": error})
    return Noted(*rows[0])


def _collection(row: Sequence[Any]) -> Collection:
    id, generation, is_shadow, name, schema, stored, dimension, tenant, role, *found = row
    waiting, has_leftovers = found
    return Collection(
        CollectionTables(schema, id, generation, is_shadow),
        name,
        CollectionConfiguration.from_json(orjson.loads(stored)),
        dimension,
        tenant,
        role,
        waiting,
        has_leftovers,
    )


def _segment(row: Sequence[Any]) -> SegmentRow:
    id, first_pos, end_pos, index_name, entries, is_ready, *form = row
    return SegmentRow(id, first_pos, end_pos, index_name, entries, is_ready, Form(*form))


def _tail_rows(collection: Collection, start: int) -> Steps[tuple[int, int]]:
    """Count the embeddings from a position on; and tell a position behind all of them."""
    text = render(_TAIL, vectors=collection.tables.vectors)
    rows = yield Statement(text, {"start": start})
    count, last = rows[0]
    return count, start if last is None else last + 1


def _ranges_between(segments: Sequence[SegmentRow]) -> list[tuple[int, int]]:
    ends = [1, *(segment.end_pos for segment in segments)]
    pairs = zip(ends, segments, strict=False)
    return [(end, segment.first_pos) for end, segment in pairs if end < segment.first_pos]


def _is_stale(collection: Collection, segment: SegmentRow) -> bool:
    is_dying = segment.rows < segment.entries * (1 - DEAD_PART)
    return is_dying or segment.form != collection.form


_SEALING, _RESTING = 2, 8
"""How many times as long as what follows it a segment may be to be merged with it: when an index is
built anyway, and when nothing else is to be done."""


def _merged(
    build: Build, before: Sequence[SegmentRow], most: int, factor: int | None
) -> Build | None:
    """Take segments before a build along; None if none is."""
    found = None
    for segment in reversed(before):
        if segment.rows + build.rows > most:
            break
        if factor is not None and segment.rows > factor * build.rows:
            break
        build = found = Build(segment.first_pos, build.end_pos, segment.rows + build.rows)
    return found


def _declared(collection: Collection) -> list[SecondaryIndex]:
    found = []
    for key, kinds in sorted(collection.configuration.indexed.keys.items()):
        if len(key.encode()) > MAX_KEY_BYTES:
            continue
        if kinds.get("int") or kinds.get("float"):
            found.append(SecondaryIndex("number", key))
        if kinds.get("string") or kinds.get("bool"):
            found.append(SecondaryIndex("value", key))
    return found


def _key(collection: Collection) -> dict[str, Any]:
    return {"id": collection.tables.id, "generation": collection.tables.generation}


def _lock_keys(id: UUID) -> dict[str, int]:
    return {"space": _LOCK_SPACE, "key": int.from_bytes(id.bytes[:4], "big", signed=True)}


_LIST = render(
    """
    select id from pgchroma.collections
    where (id = any(%(ids)s::uuid[]) or %(ids)s::uuid[] is null)
        and (id > %(after)s::uuid or %(after)s::uuid is null)
    order by id
    limit %(limit)s
    """
)

_WAIT_BRIEFLY = render("set local lock_timeout = '500ms'")

_FIND = render(
    """
    select
        c.id, c.generation, c.is_spare, c.name, c.schema_name, c.configuration, c.dimension,
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
        )
    from (
        select
            c.id, c.name, g.configuration::text, g.dimension, d.tenant, d.schema_name, k.key,
            c.index_error,
            g.generation, g.is_spare,
            to_regclass(format('%%I.%%I', d.schema_name, 'log_' || k.key)) as log,
            array(
                select to_regclass(format('%%I.%%I', d.schema_name, name))
                from unnest(array[
                    'records_' || k.key,
                    'counts_' || k.key,
                    case when g.is_spare then 'spare_' else 'vectors_' end || k.key
                        || case when g.generation = 1 then '' else '_' || g.generation end
                ]) as name
            ) as tables
        from (select * from pgchroma.collections where id = any(%(ids)s::uuid[])) as c
        join pgchroma.databases as d on d.id = c.database_id
        cross join replace(c.id::text, '-', '') as k (key)
        cross join lateral (
            select c.generation, c.configuration, c.dimension, false
            union all
            select r.generation, r.configuration, r.dimension, true
            from pgchroma.reembeddings as r
            where r.collection_id = c.id and not r.is_previous
        ) as g (generation, configuration, dimension, is_spare)
    ) as c
    join pgchroma.tenants as t on t.name = c.tenant
    cross join lateral (
        select
            max(s.end_pos) filter (where s.is_ready) as end_pos,
            count(*) filter (where s.is_ready) as ready,
            count(*) filter (where not s.is_ready) as unready
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
    order by c.id, c.is_spare
    """
)

_LOCK = render("select pg_try_advisory_lock(%(space)s::int, %(key)s::int)")
_UNLOCK = render("select pg_advisory_unlock(%(space)s::int, %(key)s::int)")

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

_CHANGES: LiteralString = """
select count(*) from (select from {counts} limit %(many)s) as found
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

_CLIP: LiteralString = """
select pos from {vectors} where pos >= %(first)s::bigint order by pos offset %(most)s limit 1
"""

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

_DROP = render(
    """
    delete from pgchroma.segments
    where collection_id = %(id)s and generation = %(generation)s
        and first_pos >= %(first)s and end_pos <= %(end)s
    """
)

# Their tables were dropped by somebody who may not touch segments.
_FORGET_DROPPED = render(
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

_FORGET = render("delete from pgchroma.segments where id = %(segment)s")

_SET_SECONDARY = render(
    """
    insert into pgchroma.secondary_indexes (collection_id, kind, key, is_ready)
    select id, %(kind)s, %(key)s, %(is_ready)s from pgchroma.collections where id = %(id)s
    on conflict (collection_id, kind, key) do update set is_ready = excluded.is_ready
    """
)

_ASKED = render(
    """
    insert into pgchroma.secondary_indexes as i (collection_id, kind, key, asked)
    select given.id, given.kind, given.key, %(asked)s
    from (
        select *, row_number() over (partition by id order by kind, key) as n
        from unnest(%(ids)s::uuid[], %(kinds)s::text[], %(keys)s::text[]) as given (id, kind, key)
    ) as given
    join pgchroma.collections as c on c.id = given.id
    where given.n + (
        select count(*) from pgchroma.secondary_indexes as others
        where others.collection_id = given.id
    ) <= %(most)s
    for key share of c skip locked
    on conflict (collection_id, kind, key) do update set asked = i.asked + excluded.asked
    """
)

# A collection that is being deleted, or changed in a long transaction, keeps nobody waiting.
_ERROR = render(
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

_SWEEP: LiteralString = """
delete from {vectors} as v
where v.pos >= %(start)s::bigint and not exists (
    select from {records} as r where r.seq = v.seq and r.pos = v.pos
)
"""

_FOLD: LiteralString = """
with folded as (
    delete from {counts} where (select count(*) from {counts}) > %(many)s returning change
)
insert into {counts} (place, change)
select nextval({log}), sum(change) from folded having count(*) > 0
"""

# Both are seen at one moment, and each write changes both at once.
_HEAL: LiteralString = """
insert into {counts} (place, change)
select nextval({log}), counted.records - counted.noted
from (
    select
        (select count(*) from {records}) as records,
        ({noted}) as noted
) as counted
where counted.records <> counted.noted
"""
