"""Compacting all collections of a database once, without a thread."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from threading import Event
from time import sleep
from typing import Final
from uuid import UUID

import psycopg
from psycopg import errors as pg

from pgchroma.compactor.dropping import drop_all_discarded
from pgchroma.compactor.layouts import upgrade_layouts
from pgchroma.compactor.passes import Progress
from pgchroma.compactor.runner import Compaction
from pgchroma.compactor.session import BuildInterruptedError
from pgchroma.compactor.settings import CompactionSettings
from pgchroma.compactor.state import TrackedCollection
from pgchroma.errors import ChromaError
from pgchroma.store.running.errors import mapped_errors, why_not_indexed

__all__ = ("Report", "SmallCollection", "compact_all")

RETRY_SECONDS: Final = 1.0
"""Seconds between two attempts at a collection that another session has locked."""


@dataclass(frozen=True, slots=True)
class SmallCollection:
    """A collection that has embeddings and no index, because it is too small for one.

    Attributes:
        name: Its name, after that of its schema if several collections have the name.
        size: The size of its embeddings in bytes.
        sync_threshold: The number of embeddings from which on it gets an index.
    """

    name: str
    embeddings: int
    size: int
    sync_threshold: int


@dataclass(frozen=True, slots=True)
class Report:
    """The result of compacting collections.

    Attributes:
        idle: How many collections need no more work.
        total: How many collections there are to compact.
        failed: How many collections failed.
        small: The collections that are too small for an index.
        obstacles: The collections without an index that filters keep missing: name and reason.
        discarded: Why a table of a deleted database could not be dropped; `None` if none is left.
        unknown: Names that no collection has. If there are any, no collection was compacted.
    """

    idle: int = 0
    total: int = 0
    failed: int = 0
    small: Sequence[SmallCollection] = ()
    obstacles: Sequence[tuple[str, str]] = ()
    discarded: str | None = None
    unknown: Sequence[str] = ()


def compact_all(
    conninfo: str,
    settings: CompactionSettings,
    names: Sequence[str] = (),
    *,
    wait: bool = False,
    on_progress: Progress | None = None,
    on_failure: Callable[[str, str], None] = lambda _name, _error: None,
) -> Report:
    """Do everything there is to do for the collections of a database.

    A collection that fails does not keep the others from their indexes.

    Args:
        conninfo: The database.
        settings: When indexes are built, and with how much memory.
        names: The names of the collections; if there are none, all collections.
        wait: Whether to merge each collection into one segment, and to wait for other compactors.
        on_progress: Called while indexes are built.
        on_failure: Called with the name of a collection and the error, as soon as it failed.

    Raises:
        UnavailableError: The database cannot be reached, or there is a pooler in between.
    """
    with mapped_errors(), Compaction(conninfo, settings, Event(), on_progress) as compaction:
        discarded = drop_all_discarded(conninfo, Event())
        outdated = [
            (name, message)
            for name, message in upgrade_layouts(conninfo, Event())
            if not names or name in names
        ]
        collections = compaction.collections()
        known = {collection.name for collection in collections} | {name for name, _ in outdated}
        unknown = sorted(set(names) - known)
        if unknown:
            return Report(unknown=unknown)
        chosen = [each for each in collections if not names or each.name in names]
        labels = _labels(chosen)
        idle, failed = [], len(outdated)
        for name, message in outdated:
            on_failure(name, message)
        for collection in chosen:
            try:
                if _compact(compaction, collection, wait=wait):
                    idle.append(collection)
            except (psycopg.Error, ChromaError) as error:
                if compaction.is_broken:
                    raise
                message = why_not_indexed(error)
                compaction.record_error(collection.id, message)
                failed += 1
                on_failure(labels[collection.id], message)
        small = [small for each in idle if (small := _small(compaction, each, labels[each.id]))]
        obstacles = [(labels[id], text) for id, text in compaction.obstacles.items()]
        total = len(chosen) + len(outdated)
        return Report(len(idle), total, failed, small, obstacles, discarded)


def _labels(collections: Sequence[TrackedCollection]) -> Mapping[UUID, str]:
    """Return a name for each collection, with its schema if several have the same name."""
    counts = Counter(each.name for each in collections)
    return {
        each.id: each.name if counts[each.name] == 1 else f"{each.tables.schema}.{each.name}"
        for each in collections
    }


def _compact(compaction: Compaction, collection: TrackedCollection, *, wait: bool) -> bool:
    while True:
        try:
            if compaction.compact(collection, merges_all=wait):
                return True
        except BuildInterruptedError:
            # A session waits for its tables, and may have deleted it.
            if not compaction.has(collection.id):
                return True
        if not wait:
            return False
        sleep(RETRY_SECONDS)
        current = _found_again(compaction, collection)
        if current is None:
            return True
        collection = current


def _found_again(compaction: Compaction, collection: TrackedCollection) -> TrackedCollection | None:
    """Look a collection up again with the same embeddings; return `None` if they are gone.

    A re-embedding gives their table another name when it takes its place.
    """
    generation = collection.tables.generation
    found = compaction.collections({collection.id})
    if not found and compaction.has(collection.id):
        # Another session has locked it.
        return collection
    return next((each for each in found if each.tables.generation == generation), None)


def _small(
    compaction: Compaction, collection: TrackedCollection, label: str
) -> SmallCollection | None:
    """Return the size of a collection that has embeddings and no index."""
    with suppress(pg.UndefinedTable, BuildInterruptedError):
        found = compaction.inspect(collection)
        if found.tail and not found.segments:
            size = found.tail * 4 * (collection.dimension or 0)
            threshold = collection.hnsw.sync_threshold
            return SmallCollection(label, found.tail, size, threshold)
    return None
