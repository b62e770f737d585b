"""What handlers know about their database, and what they cache of it between operations.

A collection's table of embeddings never changes its dimension and its space: replacing the
embeddings creates a table with another name. A cached entry can still be stale. The collection may
have been deleted, its embeddings replaced, or the transaction that created it rolled back. So a
cached entry alone never causes an error, and if a statement finds a table missing, the cache is
cleared and the collection looked up again.

A collection's indexes do change. A reader who does not know the latest is slower and finds the
same, so they are looked up again once a second, not each time.
"""

from __future__ import annotations

import time
from collections.abc import Sequence, Set
from dataclasses import dataclass, field
from threading import Lock
from typing import Generic, TypeVar
from uuid import UUID

from pgchroma.model.configuration import DefaultIndex
from pgchroma.model.discovery import find_kinds
from pgchroma.model.entities import Limits
from pgchroma.model.metadata import CleanMetadata
from pgchroma.model.operations import CollectionRef
from pgchroma.store.activity import Activity
from pgchroma.store.layout.secondary import SecondaryIndex
from pgchroma.store.proposers import Proposers
from pgchroma.store.resolved import ResolvedCollection

__all__ = ("StoreContext",)

V = TypeVar("V")

BROAD_SECONDS = 60.0
"""Seconds for which an index that found too many records is not asked for the same ones."""

COUNTED_SECONDS = 60.0
"""Seconds for which it is remembered whether a condition has to be counted."""

SHARE_SECONDS = 60.0
"""Seconds for which it is assumed that a condition leaves the same share of candidates."""

MAX_CACHED = 10_000
"""With more collections than this in use at once, the cache starts over, which costs look-ups."""


class _Recent(Generic[V]):
    """Values that are remembered for a while, by the hash of a condition."""

    def __init__(self) -> None:
        self._values: dict[int, tuple[V, float]] = {}
        self._lock = Lock()

    def __len__(self) -> int:
        return len(self._values)

    def get(self, condition: int) -> V | None:
        """Return the value of a condition; `None` if there is none, or if it is too old."""
        value, until = self._values.get(condition, (None, 0.0))
        return value if until > time.monotonic() else None

    def store(self, condition: int, value: V, seconds: float) -> None:
        """Remember the value of a condition for some seconds."""
        with self._lock:
            if len(self._values) >= MAX_CACHED:
                self._values.clear()
            self._values[condition] = value, time.monotonic() + seconds


@dataclass(slots=True)
class StoreContext:
    """The context in which handlers run.

    Attributes:
        vector_oid: The object id of the database's type `vector`.
        sparsevec_oid: The object id of the database's type `sparsevec`.
        regex_timeout_ms: The time limit of a statement with a regular expression. None leaves that
            to the caller, in whose transaction it runs.
        caches_nothing: Whether nothing is cached, because the caller's transaction may be rolled
            back, and with it everything that was seen there.
        allows_reset: Whether `Reset` is allowed.
        limits: The limits of one request.
        has_tenant_roles: Whether each tenant's operations run as a PostgreSQL role of that tenant.
        segment_bytes: The minimum size of a part of the log that is indexed.
        default_index: The index that a collection shows if its request has no settings of one.
        observed: Where handlers report to a compactor, if there is one.
        proposers: The indexes in the memory of this process, if it has any.
    """

    vector_oid: int
    sparsevec_oid: int = 0
    regex_timeout_ms: int | None = None
    caches_nothing: bool = False
    allows_reset: bool = False
    limits: Limits = field(default_factory=Limits)
    has_tenant_roles: bool = False
    segment_bytes: int = 8 << 20
    default_index: DefaultIndex = "hnsw"
    observed: Activity | None = None
    proposers: Proposers | None = None
    _collections: dict[UUID, ResolvedCollection] = field(default_factory=dict)
    _roles: dict[str, str] = field(default_factory=dict)
    _advanced: set[UUID] = field(default_factory=set)
    _broad: _Recent[bool] = field(default_factory=_Recent)
    _frequent: _Recent[bool] = field(default_factory=_Recent)
    _shares: _Recent[float] = field(default_factory=_Recent)
    _lock: Lock = field(default_factory=Lock)

    def cached(self, collection: CollectionRef) -> ResolvedCollection | None:
        """Return the cached entry of a collection, if it belongs to the given database."""
        known = self._collections.get(collection.id)
        return known if known is not None and known.scope == collection.scope else None

    def cache(self, resolved: ResolvedCollection) -> None:
        """Cache a collection for later operations."""
        if self.caches_nothing:
            return
        with self._lock:
            if len(self._collections) >= MAX_CACHED:
                self._collections.clear()
            self._collections[resolved.tables.id] = resolved

    def forget_collection(self, collection: CollectionRef) -> None:
        """Remove a collection from the cache."""
        with self._lock:
            self._collections.pop(collection.id, None)

    def record_write(
        self,
        resolved: ResolvedCollection,
        metadatas: Sequence[CleanMetadata | None] | None = None,
    ) -> None:
        """Report to the compactor that a collection was written to, and with which metadata."""
        if self.observed is not None:
            self.observed.record_write(resolved, find_kinds(metadatas or ()))

    def record_wait(self, resolved: ResolvedCollection) -> None:
        """Report to the compactor that a caller may wait until a collection is compacted."""
        if self.observed is not None:
            self.observed.record_wait(resolved)

    def record_discarded(self) -> None:
        """Report to the compactor that tables of a deleted database are still to be dropped."""
        if self.observed is not None:
            self.observed.record_discarded()

    def record_missing_indexes(
        self, resolved: ResolvedCollection, missing: Set[SecondaryIndex]
    ) -> None:
        """Report to the compactor that a statement would have used these indexes."""
        if self.observed is not None:
            self.observed.record_missing_indexes(resolved, missing)

    def is_broad(self, condition: int) -> bool:
        """Whether a condition's index found too many records in the last minute.

        Args:
            condition: A hash of the condition.
        """
        return self._broad.get(condition) is True

    def record_broad(self, condition: int) -> None:
        """Record that a condition's index found too many records to be of use."""
        self._broad.store(condition, True, BROAD_SECONDS)

    def is_frequent(self, condition: int) -> bool | None:
        """Whether enough records match a condition that queries need not count them.

        `None` means that this is not known of the last minute.

        Args:
            condition: A hash of the condition.
        """
        return self._frequent.get(condition)

    def record_frequent(self, condition: int, *, is_frequent: bool) -> None:
        """Record whether queries with a condition need not count the records that match."""
        if not self.caches_nothing:
            self._frequent.store(condition, is_frequent, COUNTED_SECONDS)

    def share_of(self, condition: int) -> float | None:
        """Return which share of candidates a condition left in the last minute, if it is known.

        Args:
            condition: A hash of the condition.
        """
        return self._shares.get(condition)

    def record_share(self, condition: int, share: float) -> None:
        """Record which share of candidates a condition left."""
        self._shares.store(condition, share, SHARE_SECONDS)

    def is_advanced(self, id: UUID) -> bool:
        """Whether a collection's sequence was checked since the last connection was made."""
        return id in self._advanced

    def record_advanced(self, id: UUID) -> None:
        """Record that a collection's sequence was checked."""
        with self._lock:
            if len(self._advanced) >= MAX_CACHED:
                self._advanced.clear()
            self._advanced.add(id)

    def set_type_oids(self, vector: int, sparsevec: int) -> None:
        """Set the object ids of the types `vector` and `sparsevec` that a new connection reports.

        Different ones mean another database. The same ones may be those of a replica that was
        promoted, so sequences are checked again in any case.
        """
        with self._lock:
            self._advanced.clear()
        if (vector, sparsevec) != (self.vector_oid, self.sparsevec_oid):
            self.vector_oid, self.sparsevec_oid = vector, sparsevec
            self.forget()

    def cached_role(self, tenant: str) -> str | None:
        """Return the cached role of a tenant."""
        return self._roles.get(tenant)

    def cache_role(self, tenant: str, role: str) -> None:
        """Cache the role of a tenant."""
        with self._lock:
            if len(self._roles) >= MAX_CACHED:
                self._roles.clear()
            self._roles[tenant] = role

    def forget(self) -> None:
        """Clear the cache."""
        with self._lock:
            self._collections.clear()
            self._roles.clear()
            self._advanced.clear()
