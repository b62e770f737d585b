"""What handlers report to the compactor of their process."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Set
from threading import Lock
from typing import NamedTuple
from uuid import UUID

from pgchroma.model.discovery import MAX_KEYS, KeyKind
from pgchroma.store.layout.secondary import DEMAND_THRESHOLD, SecondaryIndex
from pgchroma.store.resolved import ResolvedCollection

__all__ = ("Activity", "Drained")

MAX_COUNTED = 1_000
"""If more indexes than this are missing at once, counting starts over."""


class Drained(NamedTuple):
    """What handlers have reported since the last time.

    Attributes:
        written: The collections written to, and the keys of the metadata that was written, with the
            kinds of their values.
        waited_for: The collections that a caller may wait for.
        demanded: The indexes that filters missed often.
    """

    written: dict[UUID, set[KeyKind]]
    waited_for: set[UUID]
    demanded: set[tuple[UUID, SecondaryIndex]]


class Activity:
    """Collects which collections were written to, with which keys, and the indexes filters missed.

    Args:
        takes_filters: Whether to count the indexes that filters missed.

    Attributes:
        wake: Called when there is something to drain.
    """

    def __init__(self, *, takes_filters: bool = True) -> None:
        self.wake: Callable[[], None] = _do_nothing
        self._takes_filters = takes_filters
        self._lock = Lock()
        self._written: dict[UUID, set[KeyKind]] = {}
        self._waited_for: set[UUID] = set()
        self._demanded: set[tuple[UUID, SecondaryIndex]] = set()
        self._misses: Counter[tuple[UUID, SecondaryIndex]] = Counter()
        self._has_discarded = False

    def record_write(self, resolved: ResolvedCollection, keys: Set[KeyKind] = frozenset()) -> None:
        """Record that a collection was written to, and the keys of the metadata."""
        with self._lock:
            written = self._written.setdefault(resolved.tables.id, set())
            if len(written) < MAX_KEYS:
                written |= keys
        self.wake()

    def record_wait(self, resolved: ResolvedCollection) -> None:
        """Record that a caller may wait until a collection is compacted."""
        with self._lock:
            self._waited_for.add(resolved.tables.id)
        self.wake()

    def record_missing_indexes(
        self, resolved: ResolvedCollection, missing: Set[SecondaryIndex]
    ) -> None:
        """Count a statement that these indexes would have served, and demand those missed often.

        Each index is demanded once: a client that only reads must not keep the compactor busy.
        """
        if not self._takes_filters:
            return
        if any([self._miss((resolved.tables.id, index)) for index in missing]):
            self.wake()

    def record_discarded(self) -> None:
        """Record that a deleted database has tables that are still to be dropped."""
        self._has_discarded = True
        self.wake()

    def drain_discarded(self) -> bool:
        """Return whether tables of deleted databases are to be dropped, and reset this."""
        with self._lock:
            seen, self._has_discarded = self._has_discarded, False
            return seen

    def drain(self) -> Drained:
        """Return what was recorded, and reset it."""
        with self._lock:
            drained = Drained(self._written, self._waited_for, self._demanded)
            self._written, self._waited_for, self._demanded = {}, set(), set()
            return drained

    def _miss(self, index: tuple[UUID, SecondaryIndex]) -> bool:
        with self._lock:
            if index not in self._misses and len(self._misses) >= MAX_COUNTED:
                self._misses.clear()
            self._misses[index] += 1
            if self._misses[index] != DEMAND_THRESHOLD:
                return False
            self._demanded.add(index)
            return True


def _do_nothing() -> None:
    """Stand in for a compactor."""
