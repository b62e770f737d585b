"""A pass over a collection, from the lock to its release.

It yields steps and touches no connection; `pgchroma.compactor.runner` runs it in a session.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Set
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Final, TypeAlias

import psycopg
from psycopg import errors as pg

from pgchroma.compactor import (
    bookkeeping,
    inspection,
    maintenance,
    planner,
    sparse,
    state,
    watermark,
)
from pgchroma.compactor.settings import CompactionSettings
from pgchroma.compactor.state import Build, Inspection, TrackedCollection
from pgchroma.compactor.steps import IndexDDL, PassSteps, Pause, as_role, uninterruptible
from pgchroma.model.discovery import KeyKind
from pgchroma.store import StoreContext
from pgchroma.store.layout.pgvector import read_pgvector_version
from pgchroma.store.layout.secondary import SecondaryIndex, create_secondary, secondary_name
from pgchroma.store.resolved import FRESH_SECONDS
from pgchroma.store.roles import role_of_tenant
from pgchroma.store.running.steps import Statement
from pgchroma.store.sequences import advance

__all__ = (
    "PassResult",
    "Progress",
    "build_secondary",
    "build_segment",
    "compact_pass",
    "locked",
    "peek",
    "sparse_pass",
    "tail_pass",
)

_log = logging.getLogger("pgchroma.compaction")

NO_TRIGRAMS: Final = (
    "filters keep searching its documents, which have no index, because the extension pg_trgm is "
    "not installed in this database. As its owner or a superuser, run: create extension pg_trgm"
)

_OUT_OF_RESOURCES: Final = (pg.DiskFull, pg.OutOfMemory, pg.InsufficientResources)

Progress: TypeAlias = Callable[[TrackedCollection, str, int, int], None]
"""Called during a build with the collection, the index's name, the rows done and all rows."""


@dataclass(frozen=True, slots=True)
class PassResult:
    """The result of a pass over a collection.

    Attributes:
        is_done: Whether nothing is left to do; false if another session has locked the
            collection.
        obstacle: What prevents an index that filters keep missing, if anything does.
    """

    is_done: bool
    obstacle: str | None = None


def compact_pass(
    collection: TrackedCollection,
    settings: CompactionSettings,
    *,
    is_idle: bool = True,
    is_bursting: bool = False,
    merges_all: bool = False,
    keys: Set[KeyKind] | None = None,
    on_progress: Progress | None = None,
) -> PassSteps[PassResult]:
    """Do everything there is to do for a collection.

    Args:
        collection: The collection with one of its tables of embeddings.
        settings: When indexes are built, and with how much memory.
        is_idle: Whether the collection seems to have no writers. Work that is not urgent is done
            only then.
        is_bursting: Whether records come faster than an index can be built.
        merges_all: Whether to merge its segments into one, whatever that costs.
        keys: The metadata keys that were written since the last pass; `None` if they are not known.
        on_progress: Called while an index is built.

    Raises:
        BuildInterruptedError: Another session waits for the tables, or the compactor stops.
        MissingRightError: The user may not become the tenant's role.
        psycopg.Error: A statement failed. Queries are not affected.
    """
    steps = _compact(
        collection,
        settings,
        is_idle=is_idle,
        is_bursting=is_bursting,
        merges_all=merges_all,
        keys=keys,
        on_progress=on_progress,
    )
    return (yield from locked(collection, steps))


def _compact(
    collection: TrackedCollection,
    settings: CompactionSettings,
    *,
    is_idle: bool,
    is_bursting: bool,
    merges_all: bool,
    keys: Set[KeyKind] | None,
    on_progress: Progress | None,
) -> PassSteps[PassResult]:
    yield from _prepare(collection)
    end = yield from watermark.read_log_end(collection)
    while True:
        yield Pause()
        found = yield from _clean_up(collection)
        if found.tail_start > end.pos:
            # While others write, a pass would go on for as long as they do.
            found = replace(found, tail=0)
        build = planner.choose_build(
            collection,
            found,
            settings,
            is_idle=is_idle,
            merges_all=merges_all,
            is_bursting=is_bursting,
        )
        if build is not None:
            yield from build_segment(collection, build, settings, on_progress)
            if not build.is_provisional:
                continue
        index, trigrams_schema, obstacle = yield from _choose_secondary(collection, found, settings)
        if index is None or not is_idle:
            break
        yield from build_secondary(collection, index, found.records, trigrams_schema, on_progress)
    if collection.dimension is not None and (is_idle or merges_all):
        start = planner.orphan_scan_start(found, merges_all=merges_all)
        yield maintenance.delete_orphans(collection, start)
    yield from sparse.compact_sparse(collection, is_idle=is_idle, merges_all=merges_all)
    if merges_all:
        yield maintenance.recount(collection)
    yield maintenance.merge_counts(collection)
    yield from _make_room(collection, found.records)
    is_recorded = yield from _record_obstacle(collection, obstacle)
    if not collection.tables.is_shadow:
        is_recorded &= yield from watermark.record_watermark(
            collection, end, keys, reads_all=merges_all
        )
    return PassResult(is_recorded, obstacle)


def _make_room(collection: TrackedCollection, records: int) -> PassSteps[None]:
    """Leave more room in the pages of records if updates have not found enough of it."""
    updates = yield from inspection.read_updates(collection.tables)
    fillfactor = planner.choose_fillfactor(records, updates)
    if fillfactor < updates.fillfactor:
        yield maintenance.set_fillfactor(collection, fillfactor)


def sparse_pass(collection: TrackedCollection) -> PassSteps[PassResult]:
    """Do what is urgent for the sparse vectors of a collection, from the lock to its release."""
    return (yield from locked(collection, _compact_urgent(collection)))


def _compact_urgent(collection: TrackedCollection) -> PassSteps[PassResult]:
    yield from sparse.compact_sparse(collection, is_idle=False)
    return PassResult(is_done=True)


def tail_pass(
    collection: TrackedCollection,
    settings: CompactionSettings,
    on_progress: Progress | None = None,
    *,
    is_growing: bool,
) -> PassSteps[PassResult]:
    """Build one provisional segment, from the lock to its release.

    The result is not done if none is needed: the tail is short, or it is growing and not yet as
    long as the next segment should be.
    """
    steps = _index_tail(collection, settings, on_progress, is_growing=is_growing)
    return (yield from locked(collection, steps))


def _index_tail(
    collection: TrackedCollection,
    settings: CompactionSettings,
    on_progress: Progress | None,
    *,
    is_growing: bool,
) -> PassSteps[PassResult]:
    yield from _prepare(collection)
    found = yield from _clean_up(collection)
    if not planner.needs_provisional(collection, found, settings, is_growing=is_growing):
        return PassResult(is_done=False)
    build = planner.choose_build(
        collection, found, settings, is_idle=False, merges_all=False, is_bursting=True
    )
    if build is None or not build.is_provisional:
        return PassResult(is_done=False)
    yield from build_segment(collection, build, settings, on_progress)
    return PassResult(is_done=True)


def locked(collection: TrackedCollection, steps: PassSteps[PassResult]) -> PassSteps[PassResult]:
    """Run a pass from the lock of the collection to its release.

    The result is not done, and nothing is run, if another compactor has the lock.
    """
    if not (yield from uninterruptible(bookkeeping.lock_collection(collection.id))):
        return PassResult(is_done=False)
    try:
        return (yield from steps)
    finally:
        # A lost connection has lost its locks.
        with suppress(psycopg.Error):
            yield from uninterruptible(bookkeeping.unlock_collection(collection.id))


def _prepare(collection: TrackedCollection) -> PassSteps[None]:
    """Make sure that the tenant's role owns the tables, and that the sequence is not behind."""
    if collection.role is not None:
        # Some of the tables may have been created without roles.
        yield from role_of_tenant(collection.tenant, StoreContext(0))
    live = collection.tables if collection.dimension is not None else None
    yield from as_role(collection.role, advance(collection.tables, live, None))


def _clean_up(collection: TrackedCollection) -> PassSteps[Inspection]:
    """Drop unused indexes, make the catalog agree with PostgreSQL, and return the state then."""
    has_dropped = False
    while True:
        found = yield from as_role(collection.role, inspection.inspect(collection))
        has_changed, leftovers = yield from bookkeeping.reconcile(collection, found)
        if has_changed:
            yield from maintenance.analyze(collection)
        for name in leftovers:
            yield IndexDDL(maintenance.drop_index(collection, name))
            has_dropped = True
        if not (has_changed or leftovers):
            break
    if has_dropped and collection.dimension is not None:
        pgvector = yield from read_pgvector_version()
        cleans = planner.vacuums_indexes(collection, found, pgvector)
        yield maintenance.vacuum(collection, cleans_indexes=cleans)
    return found


def build_segment(
    collection: TrackedCollection,
    build: Build,
    settings: CompactionSettings,
    on_progress: Progress | None = None,
) -> PassSteps[None]:
    """Build a segment, as much of it as the memory allows, in place of those in its range."""
    if build.rows == 0:
        # No query misses an index over a range without embeddings.
        yield from bookkeeping.delete_segments(collection, build)
        return
    yield maintenance.delete_orphans(collection, build.first_pos if build.is_provisional else 1)
    max_rows = min(planner.max_build_rows(collection, settings), build.limit or build.rows)
    if build.rows > max_rows:
        limited = inspection.limited_to(collection, build, max_rows)
        build = yield from as_role(collection.role, limited)
    segment = yield from bookkeeping.announce_build(collection, build)
    _log.info("building %s over %d embeddings", segment.index_name, build.rows)
    memory = planner.build_memory(collection, build, settings)
    yield maintenance.set_for_session("maintenance_work_mem", f"{memory >> 10}kB")
    pgvector = yield from read_pgvector_version()
    # The writers of a burst need the rest of the processor.
    is_parallel = pgvector.builds_in_parallel and not build.is_provisional
    threads = collection.hnsw.num_threads if is_parallel else 1
    workers = min(max(threads - 1, 0), 16)
    yield maintenance.set_for_session("max_parallel_maintenance_workers", str(workers))
    yield maintenance.disable_index_vacuum(collection)
    statement = maintenance.create_segment_index(collection, segment)
    yield from create_index(collection, statement, segment.index_name, build.rows, on_progress)
    counted = inspection.count_rows(collection, segment.first_pos, segment.end_pos)
    entries = yield from as_role(collection.role, counted)
    has_replaced = yield from bookkeeping.finish_build(segment, entries)
    if build.is_provisional:
        # Without statistics of the new positions, PostgreSQL would not use the index.
        yield maintenance.analyze_vectors(collection)
    else:
        yield from maintenance.analyze(collection)
    if has_replaced:
        # Readers may still have the replaced indexes cached, which the next round drops.
        yield Pause(2 * FRESH_SECONDS)


def build_secondary(
    collection: TrackedCollection,
    index: SecondaryIndex,
    records: int,
    trigrams_schema: str | None = None,
    on_progress: Progress | None = None,
) -> PassSteps[None]:
    """Build a secondary index."""
    name = secondary_name(collection.tables, index)
    _log.info("building %s over %d records", name, records)
    memory = planner.MIN_BUILD_MEMORY_BYTES
    yield maintenance.set_for_session("maintenance_work_mem", f"{memory >> 10}kB")
    statement = create_secondary(collection.tables, index, trigrams_schema)
    yield from create_index(collection, statement, name, records, on_progress)
    yield from bookkeeping.set_secondary(collection, index, is_ready=True)
    yield from maintenance.analyze(collection)


def create_index(
    collection: TrackedCollection,
    statement: Statement,
    name: str,
    rows: int,
    on_progress: Progress | None,
) -> PassSteps[None]:
    """Build an index, in parallel if there are resources for that."""

    def report(done: int) -> None:
        if on_progress is not None:
            on_progress(collection, name, min(done, rows), rows)

    for is_last in (False, True):
        try:
            yield IndexDDL(statement, report)
            return
        except psycopg.Error as error:
            # An incomplete index takes space, and every write has to maintain it.
            with suppress(psycopg.Error):
                yield IndexDDL(maintenance.drop_index(collection, name))
            if is_last or not isinstance(error, _OUT_OF_RESOURCES):
                raise
        # A parallel build keeps its graph in shared memory, of which containers have little.
        _log.info("building %s again with one process", name)
        yield maintenance.set_for_session("max_parallel_maintenance_workers", "0")


def _choose_secondary(
    collection: TrackedCollection, found: Inspection, settings: CompactionSettings
) -> PassSteps[tuple[SecondaryIndex | None, str | None, str | None]]:
    """Return the secondary index to build next, the schema of pg_trgm, and an obstacle."""
    index = planner.choose_secondary(collection, found, settings, has_trigrams=True)
    if index is None or index.kind != "trigrams":
        return index, None, None
    # The extension may have been created or dropped since the last build.
    schema = yield from inspection.find_trigrams()
    if schema is not None:
        return index, schema, None
    index = planner.choose_secondary(collection, found, settings, has_trigrams=False)
    return index, None, NO_TRIGRAMS


def _record_obstacle(collection: TrackedCollection, obstacle: str | None) -> PassSteps[bool]:
    """Record what prevents an index, or that nothing does; return false if that has to wait."""
    try:
        recorded = yield from bookkeeping.record_error(collection.id, obstacle)
    except pg.InsufficientPrivilege:
        return True
    if recorded.is_new and obstacle is not None:
        _log.warning("collection %s: %s", collection.id, obstacle)
    return recorded.is_done


def peek(collection: TrackedCollection) -> PassSteps[int]:
    """Return an upper bound of the length of the tail, and merge counts if there are many."""
    steps = inspection.peek(collection)
    waiting, count_rows = yield from as_role(collection.role, steps)
    if count_rows > state.MAX_COUNT_ROWS:
        yield maintenance.merge_counts(collection)
    return waiting
