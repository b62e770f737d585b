"""A resolved collection: its tables, and what statements on them have to know."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace

from pgchroma.model.entities import DatabaseRef
from pgchroma.model.filterable import FilterableKeys
from pgchroma.model.types import Space
from pgchroma.store.layout.secondary import SecondaryIndex
from pgchroma.store.layout.segments import Segment
from pgchroma.store.layout.tables import CollectionTables

__all__ = ("FRESH_SECONDS", "LAG_PERIODS", "ReadyIndexes", "ResolvedCollection")

FRESH_SECONDS = 1.0
"""Maximum age of a reader's information about indexes, while they change."""

LAG_PERIODS = 60
"""Its maximum age while they do not change, in multiples of `FRESH_SECONDS`. A read brings the next
information along."""


@dataclass(frozen=True, slots=True)
class ReadyIndexes:
    """The indexes that are ready to be used.

    Attributes:
        segments: The segments whose indexes are ready, in the order of their positions.
        secondary: The indexes of records that are ready.
        ef_search: How many candidates a search of a segment keeps.
    """

    segments: tuple[Segment, ...] = ()
    secondary: frozenset[SecondaryIndex] = frozenset()
    ef_search: int = 100

    @property
    def entries(self) -> int:
        """The approximate number of embeddings in the segments."""
        return sum(segment.entries for segment in self.segments)


@dataclass(frozen=True, slots=True)
class ResolvedCollection:
    """A collection's tables, and the properties of its embeddings.

    Attributes:
        dimension: None until the first embedding is written. Until then there is no table of
            vectors.
        filterable: What records may be filtered by.
        indexes: The indexes that are ready.
        shadow: The table of pending or previous embeddings, at the same positions, if there is one.
        seen_at: When all of this was looked up, on the clock of `time.monotonic`.
        is_settled: Whether the look-up before found the same.
    """

    scope: DatabaseRef
    tables: CollectionTables
    space: Space
    dimension: int | None
    filterable: FilterableKeys = field(default_factory=FilterableKeys)
    indexes: ReadyIndexes = field(default_factory=ReadyIndexes)
    shadow: CollectionTables | None = None
    seen_at: float = 0.0
    is_settled: bool = False

    @property
    def is_stale(self) -> bool:
        """Whether its indexes may have changed since."""
        return time.monotonic() - self.seen_at > FRESH_SECONDS

    @property
    def may_lag(self) -> bool:
        """Whether a read may use it although it is stale, and bring the next look-up along."""
        age = time.monotonic() - self.seen_at
        return self.is_settled and age <= LAG_PERIODS * FRESH_SECONDS

    def followed_by(self, resolved: ResolvedCollection) -> ResolvedCollection:
        """Return what the next look-up has found, and whether it is the same."""
        same = replace(self, seen_at=resolved.seen_at, is_settled=resolved.is_settled)
        return replace(resolved, is_settled=same == resolved)
