"""The compactor of a process: a thread that follows what the process writes and asks.

It sleeps while nothing is written. What other processes leave behind, those that were killed among
them, it finds when it starts and every few minutes after.
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

from pgchroma.compactor.bookkeeping import Collection
from pgchroma.compactor.dropping import drop_all_discarded
from pgchroma.compactor.runner import BuildInterruptedError, Compaction, CompactionSettings
from pgchroma.errors import ChromaError
from pgchroma.store.activity import Activity
from pgchroma.store.layout.segments import needs_index
from pgchroma.store.running.errors import primary_message, why_not_indexed

__all__ = ("Compactor",)

_log = logging.getLogger("pgchroma.compaction")

POLL_SECONDS: Final = 0.5
"""Seconds between two looks at collections that are written to."""

IDLE_SECONDS: Final = 2.0
"""Seconds without a write after which a collection counts as being at rest."""

SCAN_SECONDS: Final = 300.0
"""Seconds between two looks at all collections there are."""

PATIENCE: Final = 10.0
"""A tail is left to grow while it would grow by half again or more in so many seconds: an index
built in the middle of a burst would soon be built again."""

RETRY: Final = 1.0
"""Seconds after which something that failed is tried again; after each further failure twice as
many."""

MAX_RETRY_SECONDS: Final = 3600.0
"""The longest pause for a collection whose index cannot be built."""

MAX_RECONNECT_SECONDS: Final = 60.0
"""The longest pause where a connection was lost or none can be made."""


@dataclass(slots=True)
class _Watched:
    """A collection that was written to or asked about, and is not at rest yet.

    Attributes:
        changed_at: When it was last written to, by this process or as far as its log tells.
        waiting: How many embeddings had no index at the last look.
        failures: How often in a row it could not be compacted.
    """

    changed_at: float
    waiting: int = -1
    seen_at: float = 0.0
    not_before: float = 0.0
    failures: int = 0


@dataclass
class Compactor:
    """Builds indexes behind the log, from the first write on or from `start`.

    Attributes:
        observed: Where the process's reads and writes leave word.
    """

    conninfo: str
    settings: CompactionSettings
    observed: Activity = field(default_factory=Activity)
    _lock: Lock = field(default_factory=Lock)
    _stop: Event = field(default_factory=Event)
    _woken: Event = field(default_factory=Event)
    _thread: Thread | None = None
    _watched: dict[UUID, _Watched] = field(default_factory=dict)
    _swept_at: float | None = None
    _dropped_at: float | None = None
    _absences: int = 0

    def __post_init__(self) -> None:
        self.observed.wake = self.wake

    def start(self) -> None:
        """Start, without waiting for a write."""
        self.wake()

    def wake(self) -> None:
        """Have the thread look, which is started with the first call."""
        self._woken.set()
        if self._thread is None:
            with self._lock:
                if self._thread is None and not self._stop.is_set():
                    thread = Thread(target=self._work, name="pgchroma-compactor", daemon=True)
                    # A process that is ending starts no more threads. What it wrote is written.
                    with suppress(RuntimeError):
                        thread.start()
                        self._thread = thread

    def stop(self) -> None:
        """Give up what is being built, and end some time soon."""
        self._stop.set()
        self._woken.set()

    def close(self) -> None:
        """Give up what is being built, and end."""
        with self._lock:
            self.stop()
        if self._thread is not None:
            self._thread.join(timeout=10)

    def _work(self) -> None:
        while not self._stop.is_set():
            try:
                # It can be done also where nothing can be built.
                self._drop_discarded()
                with Compaction(self.conninfo, self.settings, self._stop) as compaction:
                    self._follow(compaction)
                # No connection is held while nothing happens.
                self._woken.wait(SCAN_SECONDS)
            except BuildInterruptedError:
                return
            except (psycopg.Error, ChromaError) as error:
                # The database is away, or nothing can be built this way.
                pause = _pause(RETRY, self._absences, MAX_RECONNECT_SECONDS)
                _log.warning(
                    "indexes are not being built: %s; trying again in %g s",
                    primary_message(error),
                    pause,
                )
                self._absences += 1
                self._stop.wait(pause)
            except Exception:
                # Nobody sees to it that a thread which has ended is started again.
                _log.exception("indexes are not being built")
                self._stop.wait(_pause(RETRY, self._absences, MAX_RECONNECT_SECONDS))
                self._absences += 1

    def _follow(self, compaction: Compaction) -> None:
        """Look at what happens, until nothing did for a while."""
        while not self._stop.is_set():
            self._woken.clear()
            self._drop_discarded()
            self._take_in(compaction)
            self._tend(compaction)
            self._absences = 0
            if self._watched:
                self._stop.wait(POLL_SECONDS)
            elif not self._woken.wait(IDLE_SECONDS):
                return

    def _take_in(self, compaction: Compaction) -> None:
        now = time.monotonic()
        written, asked = self.observed.drain()
        for id in written:
            self._watched.setdefault(id, _Watched(now)).changed_at = now
        for id, _ in asked:
            self._watched.setdefault(id, _Watched(now))
        # Last, since it may fail: what was written is known by now.
        if asked:
            compaction.note_asked(asked)
        if self._swept_at is None or now - self._swept_at > SCAN_SECONDS:
            self._swept_at = now
            for collection in compaction.collections():
                if collection.has_leftovers or self._is_due(collection, collection.waiting):
                    self._watched.setdefault(collection.tables.id, _Watched(now))

    def _drop_discarded(self) -> None:
        """Drop what deleted databases have left; what cannot be dropped, with the next sweep."""
        now = time.monotonic()
        is_asked = self.observed.drain_discarded()
        if not (is_asked or self._dropped_at is None or now - self._dropped_at > SCAN_SECONDS):
            return
        self._dropped_at = now
        obstacle = drop_all_discarded(self.conninfo, self._stop)
        if obstacle is not None:
            _log.warning("a table of a deleted database is not dropped yet: %s", obstacle)

    def _tend(self, compaction: Compaction) -> None:
        now = time.monotonic()
        ready = {id for id, watched in self._watched.items() if watched.not_before <= now}
        if not ready:
            return
        found = _by_id(compaction.collections(ready))
        for id in ready:
            if id not in found:
                self._pass_over(compaction, id)
                continue
            try:
                if self._tend_one(compaction, found[id], self._watched[id]):
                    del self._watched[id]
            except BuildInterruptedError:
                if self._stop.is_set():
                    raise
                # Somebody waited for its tables, and may do so again.
                self._put_off(self._watched[id], IDLE_SECONDS)
            except (psycopg.Error, ChromaError) as error:
                if compaction.is_broken:
                    raise
                if compaction.has(id):
                    self._fail(compaction, id, error)

    def _pass_over(self, compaction: Compaction, id: UUID) -> None:
        """Forget a collection that is gone; one whose tables somebody has is looked at later."""
        if compaction.has(id):
            self._put_off(self._watched[id], IDLE_SECONDS)
        else:
            del self._watched[id]

    def _tend_one(
        self, compaction: Compaction, tables: Sequence[Collection], watched: _Watched
    ) -> bool:
        """Do what there is to do for a collection now; true if it needs no more looks.

        Args:
            compaction: What does it.
            tables: The collection with each of its tables of embeddings.
            watched: What is known of it.
        """
        looks = [compaction.peek(each) for each in tables]
        waiting, now = sum(looks), time.monotonic()
        growth = (waiting - watched.waiting) / max(now - watched.seen_at, POLL_SECONDS)
        is_bursting = watched.waiting < 0 or growth * PATIENCE > waiting / 2
        if waiting != watched.waiting:
            # Others write to it, too.
            watched.changed_at = now
        watched.waiting, watched.seen_at = waiting, now
        is_idle = now - watched.changed_at >= IDLE_SECONDS
        needs_index = any(map(self._is_due, tables, looks))
        if not (is_idle or (needs_index and not is_bursting)):
            return False
        if all([compaction.compact(each, is_idle=is_idle) for each in tables]):
            watched.failures = 0
            return is_idle
        # Another compactor has it.
        watched.not_before = time.monotonic() + IDLE_SECONDS
        return False

    def _fail(self, compaction: Compaction, id: UUID, error: psycopg.Error | ChromaError) -> None:
        message = why_not_indexed(error)
        _log.warning("building an index of collection %s failed: %s", id, message)
        compaction.note_error(id, message)
        self._put_off(self._watched[id], RETRY)

    @staticmethod
    def _put_off(watched: _Watched, seconds: float) -> None:
        pause = _pause(seconds, watched.failures, MAX_RETRY_SECONDS)
        watched.not_before = time.monotonic() + pause
        watched.failures += 1

    def _is_due(self, collection: Collection, rows: int) -> bool:
        return needs_index(
            rows,
            collection.dimension or 0,
            collection.hnsw.sync_threshold,
            self.settings.segment_bytes,
        )


def _pause(seconds: float, failures: int, longest: float) -> float:
    """Double a pause with each failure before it."""
    return min(seconds * 2.0 ** min(failures, 100), longest)


def _by_id(collections: Sequence[Collection]) -> dict[UUID, list[Collection]]:
    found: dict[UUID, list[Collection]] = {}
    for collection in collections:
        found.setdefault(collection.tables.id, []).append(collection)
    return found
