"""What to build next. No function here touches a database."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from itertools import takewhile
from math import ceil
from typing import Final

from pgchroma.compactor.settings import CompactionSettings
from pgchroma.compactor.state import (
    BlockState,
    Build,
    Inspection,
    SegmentRow,
    SparseAction,
    SparseState,
    SparseStep,
    TrackedCollection,
    Updates,
)
from pgchroma.store.layout.pgvector import PgvectorVersion
from pgchroma.store.layout.secondary import DEMAND_THRESHOLD, MAX_KEY_BYTES, SecondaryIndex
from pgchroma.store.layout.segments import needs_index, segment_prefix
from pgchroma.store.layout.tables import FILLFACTOR, UPDATED_FILLFACTOR

__all__ = (
    "MIN_BLOCK",
    "MIN_IDLE_BLOCK",
    "build_memory",
    "choose_build",
    "choose_fillfactor",
    "choose_secondary",
    "choose_sparse",
    "is_long_tail",
    "max_build_rows",
    "min_tail",
    "needs_provisional",
    "orphan_scan_start",
    "vacuums_indexes",
)

MIN_INDEXED: Final = 5_000
"""A collection with fewer records is read as fast without a secondary index."""

MAX_DEAD_FRACTION: Final = 0.2
"""A segment is rebuilt if a larger fraction of its entries is dead."""

MAX_VACUUMED_FRACTION: Final = 0.005
"""Vacuum removes dead entries from indexes only if at most this fraction of them is dead."""

MIN_MOVED: Final = 1_000
"""Fewer updates that left their page are no reason to leave more room."""

MIN_BUILD_MEMORY_BYTES: Final = 64 << 20

MIN_BLOCK: Final = 1_000
"""The number of added sparse vectors that become a block in any case. A search compares each of
them, and reads any block in the time of some 100."""

MIN_IDLE_BLOCK: Final = 250
"""The number of added sparse vectors that become a block if the collection is idle."""

MIN_REMOVED: Final = 200
"""The number of removed sparse vectors that are masked in any case; or a thousandth of all, if that
is more, because finding them reads the positions of all."""

MERGED_BLOCKS: Final = 4
"""The number of small blocks that are merged; at most twice as many are merged at once."""

MAX_MERGED_FILL: Final = 0.5
"""A block that is less full is small."""

LONG_TAIL: Final = 4
"""A tail this many times as long as one that needs an index is indexed by provisional segments."""

PROVISIONAL_TAIL: Final = 2
"""How many times as long as such a tail a provisional segment is at least, if the tail has as
many rows."""

PROVISIONAL_SEGMENTS: Final = 8
"""A provisional segment is not shorter than those before it together, divided by this."""

_SEALING, _IDLE = 2, 8
"""How many times as long as the build a preceding segment may be to be merged with it: if an index
is built in any case, and if there is nothing else to do."""


def choose_build(
    collection: TrackedCollection,
    inspection: Inspection,
    settings: CompactionSettings,
    *,
    is_idle: bool,
    merges_all: bool,
    is_bursting: bool = False,
) -> Build | None:
    """Choose the segment to build next, if there is one.

    During a burst, the tail becomes provisional segments, which are built fast, and replaced
    afterwards. Any other tail that needs an index becomes a segment. It
    is merged with the segments before it as long as they are not much longer than what is built in
    any case, so the number of times that an embedding is indexed grows with the logarithm of the
    collection. Segments with many dead entries, and segments built with other parameters, are
    rebuilt.

    Args:
        collection: The collection with one of its tables of embeddings.
        inspection: Its segments, indexes and row counts.
        settings: The minimum size of a tail and the memory for a build.
        is_idle: Whether the collection seems to have no writers. Builds that are not urgent are
            chosen only then.
        merges_all: Whether to merge everything into one segment, whatever that costs.
        is_bursting: Whether records come faster than an index can be built.
    """
    if collection.dimension is None:
        return None
    ready, max_rows = inspection.ready, max_build_rows(collection, settings)
    sealing = None if merges_all else _SEALING
    if _needs_segment(collection, inspection, settings, merges_all=merges_all):
        tail = Build(inspection.tail_start, inspection.end_pos, inspection.tail)
        if is_bursting:
            return replace(tail, limit=_provisional_rows(collection, inspection, settings))
        tail, before = _with_provisional(collection, tail, ready, max_rows)
        return _merged(tail, before, max_rows, sealing) or tail
    if not (is_idle or merges_all):
        return None
    if inspection.gaps:
        gap = inspection.gaps[0]
        before = [segment for segment in ready if segment.end_pos <= gap.first_pos]
        return _merged(gap, before, max_rows, _SEALING) or gap
    for index, segment in enumerate(ready):
        if _is_stale(collection, segment):
            rebuild = _stale_run(collection, ready[index:], max_rows)
            return _merged(rebuild, ready[:index], max_rows, sealing) or rebuild
    # Only a merge of everything looks at segments before the last one.
    ends = range(len(ready), 0, -1)
    for end in ends if merges_all else ends[:1]:
        last = Build(ready[end - 1].first_pos, ready[end - 1].end_pos, ready[end - 1].rows)
        merged = _merged(last, ready[: end - 1], max_rows, None if merges_all else _IDLE)
        if merged is not None:
            return merged
    return None


def choose_secondary(
    collection: TrackedCollection,
    inspection: Inspection,
    settings: CompactionSettings,
    *,
    has_trigrams: bool,
) -> SecondaryIndex | None:
    """Choose the secondary index to build next: a declared one, or one that filters keep missing.

    Args:
        collection: The collection.
        inspection: Its secondary indexes, and the demand for others.
        settings: Whether demand alone is a reason to build an index.
        has_trigrams: Whether the extension pg_trgm is installed.
    """
    if inspection.records < MIN_INDEXED:
        return None
    candidates = _declared(collection)
    if settings.is_automatic:
        demand = inspection.demand.items()
        candidates += [index for index, misses in demand if misses >= DEMAND_THRESHOLD]
    for index in candidates:
        if index.kind == "trigrams" and not has_trigrams:
            continue
        if not inspection.secondary.get(index, False):
            return index
    return None


def choose_sparse(
    state: SparseState,
    *,
    is_idle: bool,
    merges_all: bool,
    completed: Collection[SparseAction] = (),
) -> SparseStep | None:
    """Choose what to do next with the sparse vectors under a key.

    Args:
        state: Their blocks and changes.
        is_idle: Whether the collection seems to have no writers.
        merges_all: Whether to put all vectors into as few blocks as possible.
        completed: The actions that this pass has completed. They are repeated only if that is
            urgent: otherwise a pass would go on for as long as others write.
    """
    total = sum(block.vectors for block in state.blocks)
    min_removed, min_added = max(MIN_REMOVED, total // 1_000), MIN_BLOCK
    if (is_idle or merges_all) and "remove" not in completed:
        min_removed = 1
    if (is_idle or merges_all) and "build" not in completed:
        min_added = 1 if merges_all else MIN_IDLE_BLOCK
    if state.removed >= min_removed:
        return SparseStep("remove")
    if state.added >= min_added:
        return SparseStep("build")
    merged = _merged_blocks(sorted(state.blocks, key=lambda block: block.fill), merges_all)
    return SparseStep("merge", tuple(block.block for block in merged)) if merged else None


def max_build_rows(collection: TrackedCollection, settings: CompactionSettings) -> int:
    """Return how many embeddings can be indexed in the memory for a build."""
    return settings.memory // collection.memory_per_row


def build_memory(collection: TrackedCollection, build: Build, settings: CompactionSettings) -> int:
    """Return the memory for a build, in bytes."""
    needed = build.rows * collection.memory_per_row
    return min(max(needed, MIN_BUILD_MEMORY_BYTES), settings.memory)


def choose_fillfactor(records: int, updates: Updates) -> int:
    """Return how full inserts should make the pages of a number of records, in per cent."""
    stayed = updates.updated - updates.moved
    # Updates that change an indexed column need new entries, however much room there is.
    are_hot = updates.hot >= stayed / 2
    lack_room = updates.moved >= max(records / 2, MIN_MOVED)
    return UPDATED_FILLFACTOR if lack_room and are_hot else FILLFACTOR


def orphan_scan_start(inspection: Inspection, *, merges_all: bool) -> int:
    """Return the position from which to look for embeddings that belong to no record.

    Concurrent writers of one record leave such embeddings, so they are in the tail. If the
    collection has more embeddings than records, they may be anywhere.
    """
    scans_all = merges_all or inspection.embeddings > inspection.records
    return 1 if scans_all else inspection.tail_start


def vacuums_indexes(
    collection: TrackedCollection, inspection: Inspection, pgvector: PgvectorVersion
) -> bool:
    """Whether vacuum should also remove dead entries from the indexes of embeddings.

    Removing an entry from an HNSW index costs several searches. An index with many dead entries is
    therefore left as it is until it is rebuilt. Some versions of pgvector must not remove any.
    """
    if not pgvector.vacuums_indexes:
        prefix = segment_prefix(collection.tables)
        return not any(name.startswith(prefix) for name in inspection.valid | inspection.invalid)
    dead = sum(max(segment.entries - segment.rows, 0) for segment in inspection.ready)
    total = sum(segment.entries for segment in inspection.ready)
    return dead <= MAX_VACUUMED_FRACTION * total


def _needs_segment(
    collection: TrackedCollection,
    inspection: Inspection,
    settings: CompactionSettings,
    *,
    merges_all: bool,
) -> bool:
    """Whether the tail becomes a segment: if it is long enough, or joins others in any case."""
    tail, hnsw = inspection.tail, collection.hnsw
    if needs_index(tail, collection.dimension or 0, hnsw.sync_threshold, settings.segment_bytes):
        return True
    return merges_all and bool(inspection.ready) and tail >= hnsw.batch_size


def is_long_tail(collection: TrackedCollection, tail: int, settings: CompactionSettings) -> bool:
    """Whether queries of a tail take too long to wait until one index covers it."""
    return tail >= LONG_TAIL * min_tail(collection, settings)


def min_tail(collection: TrackedCollection, settings: CompactionSettings) -> int:
    """Return the length of a tail that needs an index."""
    size = 4 * (collection.dimension or 1)
    return max(collection.hnsw.sync_threshold, ceil(settings.segment_bytes / size))


def _trailing_provisional(collection: TrackedCollection, inspection: Inspection) -> int:
    """Return the number of embeddings of the provisional segments before the tail."""
    provisional = takewhile(
        lambda segment: segment.spec == collection.provisional_spec, reversed(inspection.ready)
    )
    return sum(segment.rows for segment in provisional)


def needs_provisional(
    collection: TrackedCollection,
    inspection: Inspection,
    settings: CompactionSettings,
    *,
    is_growing: bool,
) -> bool:
    """Whether a part of the tail becomes a provisional segment.

    A tail that is growing is left until it has the rows of the next one.
    """
    if is_growing and inspection.tail < _provisional_rows(collection, inspection, settings):
        return False
    has_begun = _trailing_provisional(collection, inspection) > 0
    return has_begun or is_long_tail(collection, inspection.tail, settings)


def _provisional_rows(
    collection: TrackedCollection, inspection: Inspection, settings: CompactionSettings
) -> int:
    """Return the size of the next provisional segment, unless the burst ends before.

    It grows with the burst, so the number of segments grows with its logarithm only.
    """
    rows = _trailing_provisional(collection, inspection) // PROVISIONAL_SEGMENTS
    return max(PROVISIONAL_TAIL * min_tail(collection, settings), rows)


def _with_provisional(
    collection: TrackedCollection, build: Build, segments: Sequence[SegmentRow], max_rows: int
) -> tuple[Build, Sequence[SegmentRow]]:
    """Return a build that replaces the provisional segments before it, and the other segments."""
    for end in range(len(segments), 0, -1):
        segment = segments[end - 1]
        is_provisional = segment.spec == collection.provisional_spec
        if not is_provisional or build.rows + segment.rows > max_rows:
            return build, segments[:end]
        build = Build(segment.first_pos, build.end_pos, build.rows + segment.rows)
    return build, ()


def _stale_run(
    collection: TrackedCollection, segments: Sequence[SegmentRow], max_rows: int
) -> Build:
    """Return the build that replaces the first of some segments, and the stale ones after it."""
    first, *others = segments
    build = Build(first.first_pos, first.end_pos, first.rows)
    for segment in others:
        if build.rows + segment.rows > max_rows or not _is_stale(collection, segment):
            break
        build = Build(build.first_pos, segment.end_pos, build.rows + segment.rows)
    return build


def _is_stale(collection: TrackedCollection, segment: SegmentRow) -> bool:
    has_many_dead = segment.rows < segment.entries * (1 - MAX_DEAD_FRACTION)
    return has_many_dead or not collection.accepts(segment.spec)


def _merged_blocks(blocks: Sequence[BlockState], merges_all: bool) -> Sequence[BlockState]:
    """Return the blocks to merge, of all blocks in the order of what they would need."""
    most = 2 * MERGED_BLOCKS
    small = [block for block in blocks if block.fill <= MAX_MERGED_FILL]
    stale = [block for block in blocks if block.removed > block.vectors * MAX_DEAD_FRACTION]
    if stale:
        return [*stale, *(block for block in small if block not in stale)][:most]
    if merges_all:
        partial = [block for block in blocks if block.fill < 1][:most]
        return partial if ceil(sum(block.fill for block in partial)) < len(partial) else []
    return small[:most] if len(small) >= MERGED_BLOCKS else []


def _merged(
    build: Build, before: Sequence[SegmentRow], max_rows: int, factor: int | None
) -> Build | None:
    """Merge a build with segments before it; return `None` if it can be merged with no segment."""
    merged = None
    for segment in reversed(before):
        if segment.rows + build.rows > max_rows:
            break
        if factor is not None and segment.rows > factor * build.rows:
            break
        build = merged = Build(segment.first_pos, build.end_pos, segment.rows + build.rows)
    return merged


def _declared(collection: TrackedCollection) -> list[SecondaryIndex]:
    """List the secondary indexes that the collection's schema declares."""
    declared = []
    if collection.configuration.filterable.text is not None:
        declared.append(SecondaryIndex("lexemes"))
    for key, kinds in sorted(collection.configuration.filterable.keys.items()):
        if len(key.encode()) > MAX_KEY_BYTES:
            continue
        if kinds.get("int") or kinds.get("float"):
            declared.append(SecondaryIndex("number", key))
        if kinds.get("string") or kinds.get("bool"):
            declared.append(SecondaryIndex("value", key))
    return declared
