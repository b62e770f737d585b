"""What runs passes over collections, in a session of its own."""

from __future__ import annotations

from collections.abc import Set
from contextlib import nullcontext, suppress
from threading import Event
from typing import Self
from uuid import UUID

import psycopg
from psycopg import errors as pg

from pgchroma.compactor import bookkeeping, inspection, passes, sparse
from pgchroma.compactor.passes import PassResult, Progress
from pgchroma.compactor.session import Session
from pgchroma.compactor.settings import CompactionSettings
from pgchroma.compactor.state import Inspection, TrackedCollection
from pgchroma.compactor.steps import PassSteps, as_role
from pgchroma.model.discovery import KeyKind
from pgchroma.store.layout.secondary import SecondaryIndex

__all__ = ("Compaction",)


class Compaction:
    """Compacts collections, one at a time.

    Attributes:
        obstacles: By the id of a collection, what prevents an index that filters keep missing.

    Args:
        conninfo: A database, without a pooler in between.
        settings: When indexes are built, and with how much memory.
        stop: Set to interrupt what runs.
        on_progress: Called while indexes are built.

    Raises:
        UnavailableError: There is a pooler in between.
    """

    def __init__(
        self,
        conninfo: str,
        settings: CompactionSettings,
        stop: Event,
        on_progress: Progress | None = None,
    ) -> None:
        self._settings = settings
        self._on_progress = on_progress
        self._session = Session(conninfo, stop)
        self.obstacles: dict[UUID, str] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._session.close()

    @property
    def is_broken(self) -> bool:
        """Whether a connection was lost."""
        return self._session.is_broken

    def collections(self, ids: set[UUID] | None = None) -> list[TrackedCollection]:
        """Return the collections with these ids, or all of them.

        A collection whose tables another session has locked is skipped with a warning in the log.
        """
        found: list[TrackedCollection] = []
        sorted_ids, after = None if ids is None else sorted(ids), None
        while True:
            page = self._session.run(inspection.list_collections(sorted_ids, after))
            found += self._find_page(page)
            if len(page) < inspection.PAGE:
                return found
            after = page[-1]

    def _find_page(self, ids: list[UUID]) -> list[TrackedCollection]:
        for is_last in (False, False, False, True):
            # PostgreSQL reads each collection's sequence, and one may just have been dropped.
            with nullcontext() if is_last else suppress(pg.InternalError_):
                try:
                    return self._session.run(inspection.find_collections(ids))
                except pg.LockNotAvailable:
                    break
        if len(ids) > 1:
            return [collection for id in ids for collection in self._find_page([id])]
        self._session.report_holder(ids[0])
        return []

    def has(self, id: UUID) -> bool:
        """Whether a collection still exists."""
        return bool(self._session.run(inspection.list_collections([id], None)))

    def inspect(self, collection: TrackedCollection) -> Inspection:
        """Read a collection's segments and indexes, and count its live embeddings."""
        steps = as_role(collection.role, inspection.inspect(collection))
        return self._session.run_interruptible(collection, steps)

    def peek(self, collection: TrackedCollection) -> int:
        """Return an upper bound of the length of the tail, and merge counts if there are many."""
        return self._session.run_interruptible(collection, passes.peek(collection))

    def count_sparse_changes(self, collection: TrackedCollection) -> int:
        """Return how many changes of sparse vectors wait, counting up to a bound."""
        steps = as_role(collection.role, sparse.count_changes(collection))
        return self._session.run_interruptible(collection, steps)

    def record_demand(self, missing: Set[tuple[UUID, SecondaryIndex]]) -> None:
        """Record which indexes filters missed, if the user may."""
        with suppress(pg.InsufficientPrivilege):
            self._session.run(bookkeeping.record_demand(missing))

    def record_error(self, id: UUID, error: str | None) -> bool:
        """Record the error that stopped a build, or that there is none, if the user may.

        Returns:
            False if another session has locked the collection's row, so it has to be recorded
            later.
        """
        return self._session.record_error(id, error)

    def compact(
        self,
        collection: TrackedCollection,
        *,
        is_idle: bool = True,
        is_bursting: bool = False,
        merges_all: bool = False,
        keys: Set[KeyKind] | None = None,
    ) -> bool:
        """Do everything there is to do for a collection; see `pgchroma.compactor.passes`.

        Returns:
            False if something is left, because another session has locked the collection or
            because its embeddings are in another table by now.
        """
        self.obstacles.pop(collection.id, None)
        steps = passes.compact_pass(
            collection,
            self._settings,
            is_idle=is_idle,
            is_bursting=is_bursting,
            merges_all=merges_all,
            keys=keys,
            on_progress=self._on_progress,
        )
        return self._run_pass(collection, steps)

    def index_tail(self, collection: TrackedCollection, *, is_growing: bool = False) -> bool:
        """Index a part of a long tail by a provisional segment, and do nothing else.

        Args:
            collection: The collection with one of its tables of embeddings.
            is_growing: Whether the tail is expected to be longer soon.

        Returns:
            False if nothing was built, because the tail is not long enough or because another
            session has locked the collection.
        """
        steps = passes.tail_pass(
            collection, self._settings, self._on_progress, is_growing=is_growing
        )
        return self._run_pass(collection, steps)

    def compact_sparse(self, collection: TrackedCollection) -> bool:
        """Do what is urgent for the sparse vectors of a collection, and nothing else.

        Returns:
            False if another session has locked the collection.
        """
        return self._run_pass(collection, passes.sparse_pass(collection))

    def _run_pass(self, collection: TrackedCollection, steps: PassSteps[PassResult]) -> bool:
        try:
            result = self._session.run_interruptible(collection, steps)
        except pg.UndefinedTable:
            # The collection was deleted; or it has been re-embedded, and has to be found again.
            return not self.has(collection.id)
        except psycopg.Error:
            if self.is_broken or self.has(collection.id):
                raise
            # The collection was deleted, so there is nothing left to do.
            return True
        if result.obstacle is not None:
            self.obstacles[collection.id] = result.obstacle
        return result.is_done
