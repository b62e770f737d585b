"""The indexes in the memory of this process, and the thread that opens and builds them.

A query asks for the indexes of its collection. It requests those that are missing from the thread,
which opens a file of one of the segment's tokens, or builds an index. So only collections that are
queried have indexes in memory, and each host builds its own.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from threading import Condition, Event, Thread
from typing import Final
from uuid import UUID

import psycopg

from pgchroma.memory.builder import (
    MAX_BYTES,
    MAX_DIMENSION,
    MAX_ENTRIES,
    MIN_ENTRIES,
    Builder,
    RefusedError,
    open_any,
)
from pgchroma.memory.directory import Directory, OccupiedError
from pgchroma.memory.files import FileIndex, SegmentKey
from pgchroma.memory.source import VanishedError
from pgchroma.store.layout.segments import Segment
from pgchroma.store.resolved import ResolvedCollection
from pgchroma.store.running.errors import primary_message

__all__ = ("MemoryIndexes",)

_log = logging.getLogger("pgchroma.memory")

RETRY_SECONDS: Final = 5.0
"""Seconds until a request is tried again, while another process builds."""

MAX_RETRY_SECONDS: Final = 3_600.0
"""The longest pause after failures, and the pause after a refusal."""

UNLISTED_SECONDS: Final = 60.0
"""Seconds after which the file of an index is removed that no look-up has found: older snapshots
may have it."""

DOUBT_SECONDS: Final = 60.0
"""Seconds for which an index is not used after PostgreSQL did not know its token."""

TOUCH_SECONDS: Final = 3_600.0
"""Seconds after which the file of an open index is marked as used."""

MAX_OPENED: Final = 256
"""How many indexes are open at most. Each takes a file descriptor; those that were not used for
longest are closed."""

BUSY_SECONDS: Final = 60.0
"""An index that was used so lately is not closed for another one, which is opened later instead."""

MAX_COLLECTIONS: Final = 1_000
"""With more collections than this, the process starts over with finding their indexes."""


@dataclass(frozen=True, slots=True)
class _Known:
    """The indexes of a collection's segments.

    Attributes:
        segments: The segments that a look-up found.
        seen_at: When that was, on the clock of `time.monotonic`.
        opened: How many files had been opened or closed then.
    """

    generation: int
    segments: tuple[Segment, ...]
    seen_at: float
    opened: int
    found: tuple[FileIndex | None, ...]


@dataclass(slots=True)
class _Request:
    """A request for an index that a query has not found.

    Attributes:
        tokens: The tokens that the last look-up found.
        not_before: When it may be tried.
        failures: How often in a row it could not be built.
    """

    tokens: tuple[str, ...]
    not_before: float = 0.0
    failures: int = 0


class MemoryIndexes:
    """The indexes of one database. It is a `pgchroma.store.proposers.Proposers`.

    Args:
        conninfo: The database; `None` to build no indexes.
        directory: Where the files are.
    """

    def __init__(self, conninfo: str | None, directory: Directory) -> None:
        self._directory = directory
        self._stop = Event()
        self._builder = None if conninfo is None else Builder(conninfo, directory, self._stop.wait)
        self._changed = Condition()
        self._thread: Thread | None = None
        self._known: dict[UUID, _Known] = {}
        self._opened: dict[str, FileIndex] = {}
        self._opened_count = 0
        self._requests: dict[SegmentKey, _Request] = {}
        self._doubted: dict[str, float] = {}
        self._unlisted: dict[str, float] = {}
        self._touched_at = time.monotonic()

    def find(self, resolved: ResolvedCollection) -> Sequence[FileIndex | None]:
        """Return the index of each of a collection's segments; `None` for those without one."""
        segments, generation = resolved.indexes.segments, resolved.tables.generation
        known = self._known.get(resolved.tables.id)
        if (
            known is not None
            and known.opened == self._opened_count
            and known.generation == generation
            and known.segments == segments
        ):
            return known.found
        with self._changed:
            return self._find(resolved)

    def doubt(self, tokens: Sequence[str]) -> None:
        """Do without these indexes for a while; the thread finds out which of them are usable."""
        with self._changed:
            until = time.monotonic() + DOUBT_SECONDS
            self._doubted.update(dict.fromkeys(tokens, until))
            for token in tokens:
                index = self._opened.get(token)
                if index is not None:
                    self._close(index)

    def stop(self) -> None:
        """Stop opening and building indexes, without waiting for it."""
        self._stop.set()
        with self._changed:
            self._changed.notify()

    def close(self) -> None:
        """Stop opening and building indexes, and wait for it."""
        self.stop()
        if self._thread is not None:
            self._thread.join(timeout=10)

    def _find(self, resolved: ResolvedCollection) -> tuple[FileIndex | None, ...]:
        id, generation = resolved.tables.id, resolved.tables.generation
        found: list[FileIndex | None] = []
        for segment in resolved.indexes.segments:
            key = SegmentKey(id, generation, segment.first_pos, segment.end_pos)
            index = self._open_index(key, segment.tokens)
            found.append(index)
            if (
                index is None
                and _is_suited(segment, resolved.dimension)
                and not self._is_opened_since(key, resolved.seen_at)
            ):
                self._request(key, segment.tokens)
        if len(self._known) >= MAX_COLLECTIONS:
            self._known.clear()
        self._known[id] = known = _Known(
            generation,
            resolved.indexes.segments,
            resolved.seen_at,
            self._opened_count,
            tuple(found),
        )
        return known.found

    def _open_index(self, key: SegmentKey, tokens: Sequence[str]) -> FileIndex | None:
        opened = (self._opened.get(token) for token in tokens)
        return next(
            (index for index in opened if index is not None and index.head.key == key), None
        )

    def _is_opened_since(self, key: SegmentKey, seen_at: float) -> bool:
        """Whether an index was opened since a look-up, which may not have found its token yet."""
        opened = self._opened.values()
        return any(index.head.key == key and index.opened_at >= seen_at for index in opened)

    def _request(self, key: SegmentKey, tokens: tuple[str, ...]) -> None:
        request = self._requests.setdefault(key, _Request(tokens))
        if request.tokens != tokens:
            request.tokens, request.not_before = tokens, 0.0
        if self._thread is None and not self._stop.is_set():
            thread = Thread(target=self._work, name="pgchroma-memory", daemon=True)
            # An ending process can start no threads.
            with suppress(RuntimeError):
                thread.start()
                self._thread = thread
        self._changed.notify()

    def _work(self) -> None:
        while not self._stop.is_set():
            try:
                self._remove_unlisted()
                self._touch()
                for key, request in self._due():
                    self._serve(key, request)
            except Exception:
                # Nothing restarts a thread that has ended.
                _log.exception("opening indexes in memory is failing")
                self._stop.wait(RETRY_SECONDS)

    def _due(self) -> list[tuple[SegmentKey, _Request]]:
        """Wait for requests that may be tried now, and return them."""
        with self._changed:
            now = time.monotonic()
            due = [each for each in self._requests.items() if each[1].not_before <= now]
            if not due and not self._stop.is_set():
                times = [request.not_before - now for request in self._requests.values()]
                times += [UNLISTED_SECONDS] if self._unlisted else []
                self._changed.wait(min([*times, TOUCH_SECONDS]))
            return due

    def _serve(self, key: SegmentKey, request: _Request) -> None:
        """Open or build an index, or put the request off."""
        if self._stop.is_set():
            return
        if self._is_full():
            self._put_off(key, request, BUSY_SECONDS)
            return
        try:
            self._directory.prepare()
            index = open_any(self._directory, key, self._undoubted(request.tokens))
            index = index or self._build(key)
        except OccupiedError:
            # Another process may be building the same.
            self._put_off(key, request, RETRY_SECONDS)
        except VanishedError as reason:
            _log.debug("collection %s: no index in memory, %s", key.collection, reason)
            self._fail(key, request)
        except RefusedError as reason:
            _log.info("collection %s: no index in memory, %s", key.collection, reason)
            self._put_off(key, request, MAX_RETRY_SECONDS)
        except (psycopg.Error, OSError) as error:
            if not self._stop.is_set():
                _log.warning(
                    "collection %s: no index in memory: %s", key.collection, primary_message(error)
                )
            self._fail(key, request)
        except Exception:
            # Other requests must not wait for one that always fails.
            _log.exception("collection %s: no index in memory", key.collection)
            self._fail(key, request)
        else:
            self._register(key, index)

    def _is_full(self) -> bool:
        """Whether as many indexes as may be open are in use."""
        with self._changed:
            lately = time.monotonic() - BUSY_SECONDS
            used = [index for index in self._opened.values() if index.used_at >= lately]
            return len(used) >= MAX_OPENED

    def _fail(self, key: SegmentKey, request: _Request) -> None:
        self._put_off(key, request, min(RETRY_SECONDS * 2.0**request.failures, MAX_RETRY_SECONDS))
        request.failures = min(request.failures + 1, 20)

    def _put_off(self, key: SegmentKey, request: _Request, seconds: float) -> None:
        with self._changed:
            request.not_before = time.monotonic() + seconds
            if not self._is_awaited(key):
                self._requests.pop(key, None)

    def _is_awaited(self, key: SegmentKey) -> bool:
        """Whether the last look-up of a collection had a segment."""
        known = self._known.get(key.collection)
        return (
            known is not None
            and known.generation == key.generation
            and any(
                (s.first_pos, s.end_pos) == (key.first_pos, key.end_pos) for s in known.segments
            )
        )

    def _register(self, key: SegmentKey, index: FileIndex) -> None:
        with self._changed:
            self._opened[index.token] = index
            self._opened_count += 1
            self._requests.pop(key, None)
            if len(self._opened) > MAX_OPENED:
                self._close(min(self._opened.values(), key=lambda each: each.used_at))

    def _close(self, index: FileIndex) -> None:
        """Do without an index until a query misses it."""
        self._opened.pop(index.token, None)
        # What queries know of open indexes is outdated.
        self._opened_count += 1

    def _undoubted(self, tokens: Sequence[str]) -> list[str]:
        now = time.monotonic()
        with self._changed:
            self._doubted = {each: until for each, until in self._doubted.items() if until > now}
            return [token for token in tokens if token not in self._doubted]

    def _build(self, key: SegmentKey) -> FileIndex:
        if self._builder is None:
            raise RefusedError("this client builds none")
        return self._builder.build(key)

    def _remove_unlisted(self) -> None:
        """Close the indexes that no look-up finds any more, and remove their files."""
        with self._changed:
            now = time.monotonic()
            gone = {
                token: self._unlisted.get(token, now)
                for token, index in self._opened.items()
                if self._is_unlisted(index)
            }
            self._unlisted = gone
            outdated = [token for token, since in gone.items() if now - since >= UNLISTED_SECONDS]
            paths = [self._opened.pop(token).path for token in outdated]
        for path in paths:
            path.unlink(missing_ok=True)

    def _is_unlisted(self, index: FileIndex) -> bool:
        """Whether a look-up since an index was opened has not found its token."""
        known = self._known.get(index.head.key.collection)
        return (
            known is not None
            and known.seen_at > index.opened_at
            and all(index.token not in segment.tokens for segment in known.segments)
        )

    def _touch(self) -> None:
        """Mark the files of indexes that were used as used, and close the others, now and then."""
        before, now = self._touched_at, time.monotonic()
        if now - before < TOUCH_SECONDS:
            return
        self._touched_at = now
        with self._changed:
            opened = list(self._opened.values())
            # An index whose file was removed still takes its space.
            unused = [each for each in opened if each.used_at < before or not each.path.exists()]
            for index in unused:
                self._close(index)
        for index in opened:
            if index not in unused:
                with suppress(OSError):
                    os.utime(index.path)


def _is_suited(segment: Segment, dimension: int | None) -> bool:
    if dimension is None or not 0 < dimension <= MAX_DIMENSION:
        return False
    return (
        MIN_ENTRIES <= segment.entries <= MAX_ENTRIES
        and 4 * dimension * segment.entries <= MAX_BYTES
    )
