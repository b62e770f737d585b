"""The compactor of a process: a thread that follows the process's own reads and writes.

It sleeps while there are no writes. When it starts, and every few minutes afterwards, it also looks
for work that other processes left, for example because they were killed.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from threading import Event, Lock, Thread
from typing import Final
from uuid import UUID

import psycopg

from pgchroma.compactor.dropping import drop_all_discarded
from pgchroma.compactor.layouts import upgrade_layouts
from pgchroma.compactor.planner import MIN_BLOCK, MIN_IDLE_BLOCK, is_long_tail, min_tail
from pgchroma.compactor.runner import Compaction
from pgchroma.compactor.session import BuildInterruptedError
from pgchroma.compactor.settings import CompactionSettings
from pgchroma.compactor.state import TrackedCollection
from pgchroma.errors import ChromaError
from pgchroma.model.discovery import KeyKind
from pgchroma.store.activity import Activity
from pgchroma.store.layout.segments import needs_index
from pgchroma.store.running.errors import primary_message, why_not_indexed

__all__ = ("Compactor",)

_log = logging.getLogger("pgchroma.compaction")

POLL_SECONDS: Final = 0.5
"""Seconds between two checks of the collections that are written to."""

IDLE_SECONDS: Final = 2.0
"""Seconds without a write after which a collection counts as idle."""

SCAN_SECONDS: Final = 300.0
"""Seconds between two scans of all collections."""

BURST_WINDOW: Final = 10.0
"""A tail is not indexed yet if, at its present rate, it would grow by half or more in this many
seconds: an index that is built in the middle of a burst would soon be rebuilt."""

OVERDUE_SECONDS: Final = 60.0
"""Seconds after which a collection that is never idle gets a pass nevertheless: what was written
becomes a version."""

RETRY_SECONDS: Final = 1.0
"""Seconds before the first retry after a failure; the pause doubles with each further failure."""

MAX_RETRY_SECONDS: Final = 3600.0
"""The longest pause for a collection whose index cannot be built."""

MAX_RECONNECT_SECONDS: Final = 60.0
"""The longest pause if connections are lost or cannot be opened."""


@dataclass(slots=True)
class _CollectionState:
    """A collection that was written to or missed an index, and is not idle yet.

    Attributes:
        changed_at: When it was last written to, by this process or according to its log.
        waiting: The number of embeddings without an index at the last check; -1 before the first.
        checked_at: When it was last checked.
        not_before: When it may be checked again.
        failures: How often in a row it could not be compacted.
        has_burst: Whether the last check has built a provisional segment.
        has_parts: Whether one was built since records began to come faster than they are indexed.
        refused: The length of the tail of each generation of embeddings when it last seemed to need
            a provisional segment and did not.
        keys: The metadata keys that this process wrote and that no pass has seen; `None` if it has
            written nothing.
        passed_at: When the last pass ended, or when it became active.
    """

    changed_at: float
    waiting: int = -1
    checked_at: float = 0.0
    not_before: float = 0.0
    failures: int = 0
    has_burst: bool = False
    has_parts: bool = False
    refused: dict[int, int] = field(default_factory=dict)
    keys: set[KeyKind] | None = None
    passed_at: float = field(default_factory=time.monotonic)


@dataclass
class Compactor:
    """Builds indexes in a thread, from the first write or from `start` on.

    Attributes:
        observed: Where the process's reads and writes are recorded.
    """

    conninfo: str
    settings: CompactionSettings
    observed: Activity = field(default_factory=Activity)
    _lock: Lock = field(default_factory=Lock)
    _stop: Event = field(default_factory=Event)
    _woken: Event = field(default_factory=Event)
    _thread: Thread | None = None
    _active: dict[UUID, _CollectionState] = field(default_factory=dict)
    _scanned_at: float | None = None
    _dropped_at: float | None = None
    _upgraded_at: float | None = None
    _failures: int = 0

    def __post_init__(self) -> None:
        self.observed.wake = self.wake

    def start(self) -> None:
        """Start without waiting for a write."""
        self.wake()

    def wake(self) -> None:
        """Make the thread check for work; the first call starts it."""
        self._woken.set()
        if self._thread is None:
            with self._lock:
                if self._thread is None and not self._stop.is_set():
                    thread = Thread(target=self._work, name="pgchroma-compactor", daemon=True)
                    # An ending process can start no threads. Its writes are not affected.
                    with suppress(RuntimeError):
                        thread.start()
                        self._thread = thread

    def stop(self) -> None:
        """Interrupt a build, and let the thread end without waiting for it."""
        self._stop.set()
        self._woken.set()

    def close(self) -> None:
        """Interrupt a build, and wait for the thread to end."""
        with self._lock:
            self.stop()
        if self._thread is not None:
            self._thread.join(timeout=10)

    def _work(self) -> None:
        while not self._stop.is_set():
            try:
                # This is possible even if no index can be built.
                self._drop_discarded()
                self._upgrade_layouts()
                with Compaction(self.conninfo, self.settings, self._stop) as compaction:
                    self._poll(compaction)
                # No connection stays open without work.
                self._woken.wait(SCAN_SECONDS)
            except BuildInterruptedError:
                return
            except (psycopg.Error, ChromaError) as error:
                # The database is unavailable, or no index can be built over this connection.
                pause = self._next_pause()
                _log.warning(
                    "index builds are failing, retrying in %g s: %s", pause, primary_message(error)
                )
                self._stop.wait(pause)
            except Exception:
                # Nothing restarts a thread that has ended.
                _log.exception("index builds are failing")
                self._stop.wait(self._next_pause())

    def _next_pause(self) -> float:
        pause = _pause(RETRY_SECONDS, self._failures, MAX_RECONNECT_SECONDS)
        self._failures += 1
        return pause

    def _poll(self, compaction: Compaction) -> None:
        """Process collections until none has been active for a while."""
        while not self._stop.is_set():
            self._woken.clear()
            self._drop_discarded()
            self._upgrade_layouts()
            self._collect(compaction)
            self._process_due(compaction)
            self._failures = 0
            if self._active:
                now = time.monotonic()
                states = self._active.values()
                is_behind = any(each.has_burst and each.not_before <= now for each in states)
                self._stop.wait(0 if is_behind else POLL_SECONDS)
            elif not self._woken.wait(IDLE_SECONDS):
                return

    def _collect(self, compaction: Compaction) -> None:
        """Add the collections that the process has used, and now and then all that need work."""
        now = time.monotonic()
        drained = self.observed.drain()
        for id, keys in drained.written.items():
            state = self._active.setdefault(id, _CollectionState(now))
            state.changed_at = now
            state.keys = keys | (state.keys or set())
        for id in drained.waited_for.union(id for id, _ in drained.demanded):
            self._active.setdefault(id, _CollectionState(now))
        # This may fail, so it comes after the writes have been taken over.
        if drained.demanded:
            compaction.record_demand(drained.demanded)
        if self._scanned_at is None or now - self._scanned_at > SCAN_SECONDS:
            self._scanned_at = now
            for collection in compaction.collections():
                if (
                    collection.has_leftovers
                    or collection.is_behind
                    or collection.has_stale
                    or self._needs_index(collection, collection.waiting)
                    or self._has_sparse_changes(compaction, collection)
                ):
                    self._active.setdefault(collection.id, _CollectionState(now))

    def _has_sparse_changes(self, compaction: Compaction, collection: TrackedCollection) -> bool:
        """Whether a collection may have sparse vectors to put into a block."""
        try:
            return compaction.count_sparse_changes(collection) >= MIN_IDLE_BLOCK
        except (BuildInterruptedError, psycopg.Error):
            if self._stop.is_set() or compaction.is_broken:
                raise
            # Another session has locked or deleted it, which `_process_due` handles.
            return True

    def _drop_discarded(self) -> None:
        """Drop the tables of deleted databases; what cannot be dropped is tried again later."""
        now = time.monotonic()
        has_deleted = self.observed.drain_discarded()
        if not (has_deleted or self._dropped_at is None or now - self._dropped_at > SCAN_SECONDS):
            return
        self._dropped_at = now
        obstacle = drop_all_discarded(self.conninfo, self._stop)
        if obstacle is not None:
            _log.warning("a table of a deleted database is not dropped yet: %s", obstacle)

    def _upgrade_layouts(self) -> None:
        """Upgrade the tables of older collections; what fails is tried again later."""
        now = time.monotonic()
        if self._upgraded_at is not None and now - self._upgraded_at <= SCAN_SECONDS:
            return
        self._upgraded_at = now
        for name, obstacle in upgrade_layouts(self.conninfo, self._stop):
            _log.warning("the tables of collection %s are not upgraded yet: %s", name, obstacle)

    def _process_due(self, compaction: Compaction) -> None:
        now = time.monotonic()
        due = {id for id, state in self._active.items() if state.not_before <= now}
        if not due:
            return
        found = _by_id(compaction.collections(due))
        for id in due:
            if id not in found:
                self._skip(compaction, id)
                continue
            try:
                if self._process(compaction, found[id], self._active[id]):
                    del self._active[id]
            except BuildInterruptedError:
                if self._stop.is_set():
                    raise
                # A session waited for its tables, and may do so again.
                self._back_off(self._active[id], IDLE_SECONDS)
            except (psycopg.Error, ChromaError) as error:
                if compaction.is_broken:
                    raise
                if compaction.has(id):
                    self._fail(compaction, id, error)

    def _skip(self, compaction: Compaction, id: UUID) -> None:
        """Forget a deleted collection; put one off whose tables another session has locked."""
        if compaction.has(id):
            self._back_off(self._active[id], IDLE_SECONDS)
        else:
            del self._active[id]

    def _process(
        self,
        compaction: Compaction,
        collections: Sequence[TrackedCollection],
        state: _CollectionState,
    ) -> bool:
        """Compact a collection if it is time; return whether it needs no further checks.

        Args:
            compaction: What compacts it.
            collections: The collection with each of its tables of embeddings.
            state: Its state, which is updated.
        """
        tails = [compaction.peek(collection) for collection in collections]
        changes = sum(map(compaction.count_sparse_changes, collections))
        waiting, now = sum(tails) + changes, time.monotonic()
        growth = (waiting - state.waiting) / max(now - state.checked_at, POLL_SECONDS)
        is_bursting = state.waiting < 0 or growth * BURST_WINDOW > waiting / 2
        if waiting != state.waiting:
            # Other processes write to it as well.
            state.changed_at = now
        state.waiting, state.checked_at = waiting, now
        is_idle = now - state.changed_at >= IDLE_SECONDS
        needs_index = any(map(self._needs_index, collections, tails))
        is_overdue = state.keys is not None and now - state.passed_at > OVERDUE_SECONDS
        self._index_tails(compaction, collections, tails, state, is_growing=is_bursting)
        is_due = (is_idle or (needs_index and not is_bursting)) and not state.has_burst
        if not (is_due or is_overdue):
            if changes >= MIN_BLOCK:
                # A block is never built again because others follow.
                all(map(compaction.compact_sparse, collections))
            return False
        keys = state.keys
        # A segment that takes long to build would keep the rest of a burst from being indexed.
        is_urgent = is_overdue and not is_due
        if all(
            [
                compaction.compact(
                    each, is_idle=is_idle and not is_urgent, is_bursting=is_urgent, keys=keys
                )
                for each in collections
            ]
        ):
            state.failures, state.passed_at = 0, time.monotonic()
            state.keys = None if state.keys is None else set()
            return is_idle and not is_urgent
        # Another compactor has locked it.
        state.not_before = time.monotonic() + IDLE_SECONDS
        return False

    def _index_tails(
        self,
        compaction: Compaction,
        collections: Sequence[TrackedCollection],
        tails: Sequence[int],
        state: _CollectionState,
        *,
        is_growing: bool,
    ) -> None:
        """Build a provisional segment if a tail is long, or if a burst has left a part of it."""
        # After an error, it is not repeated at once.
        has_parts, state.has_parts, state.has_burst = state.has_parts, False, False
        for collection, tail in zip(collections, tails, strict=True):
            generation = collection.tables.generation
            is_rest = has_parts and not is_growing and self._needs_index(collection, tail)
            # Looking at a tail of replaced embeddings, or at one that is still too short, takes as
            # long as counting all embeddings.
            refused = state.refused.get(generation, 0)
            is_other = not refused <= tail < refused + min_tail(collection, self.settings)
            if is_rest or (is_other and is_long_tail(collection, tail, self.settings)):
                if compaction.index_tail(collection, is_growing=is_growing):
                    state.has_burst = True
                    state.refused.pop(generation, None)
                else:
                    state.refused[generation] = tail
        # Once a burst slows down and its rest has an index, the next pass replaces the parts, even
        # if the writers never pause.
        state.has_parts = is_growing and (state.has_burst or has_parts)
        if state.has_burst:
            # The tail is shorter now, which does not mean that the burst is over.
            state.waiting = -1

    def _fail(self, compaction: Compaction, id: UUID, error: psycopg.Error | ChromaError) -> None:
        message = why_not_indexed(error)
        _log.warning("building an index of collection %s failed: %s", id, message)
        compaction.record_error(id, message)
        self._back_off(self._active[id], RETRY_SECONDS)

    @staticmethod
    def _back_off(state: _CollectionState, seconds: float) -> None:
        pause = _pause(seconds, state.failures, MAX_RETRY_SECONDS)
        state.not_before = time.monotonic() + pause
        state.failures += 1

    def _needs_index(self, collection: TrackedCollection, rows: int) -> bool:
        return needs_index(
            rows,
            collection.dimension or 0,
            collection.hnsw.sync_threshold,
            self.settings.segment_bytes,
        )


def _pause(seconds: float, failures: int, max_seconds: float) -> float:
    """Return a pause that doubles with each failure."""
    return min(seconds * 2.0 ** min(failures, 100), max_seconds)


def _by_id(collections: Sequence[TrackedCollection]) -> dict[UUID, list[TrackedCollection]]:
    found: dict[UUID, list[TrackedCollection]] = {}
    for collection in collections:
        found.setdefault(collection.id, []).append(collection)
    return found
