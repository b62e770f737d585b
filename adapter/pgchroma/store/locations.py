"""Where a collection's tables are, remembered between calls.

A collection's table of embeddings never changes its dimension and space, and one that is no longer
in use has another name. What is kept here can still be of the past: the collection was deleted, got
other embeddings, or a transaction that made it or fixed its dimension was rolled back. So nobody is
refused on the word of memory alone, and a statement that meets a missing table makes the caller
forget and look again.

Its indexes do change. A reader who does not know of the latest is slower and finds the same, so
what is known of them is looked up again once a second and not each time.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Set
from dataclasses import dataclass, field, replace
from threading import Lock
from uuid import UUID

import orjson

from pgchroma.errors import InvalidArgumentError, NotFoundError
from pgchroma.model.configuration import clamped
from pgchroma.model.entities import DatabaseRef, Limits
from pgchroma.model.filterable import FilterableKeys
from pgchroma.model.operations import CollectionRef
from pgchroma.model.types import Space
from pgchroma.store.layout.secondary import DEMAND_THRESHOLD, SecondaryIndex
from pgchroma.store.layout.segments import Segment
from pgchroma.store.layout.tables import (
    MAX_DIMENSION,
    CollectionTables,
    create_vectors,
)
from pgchroma.store.running.steps import Statement, Steps, render

__all__ = (
    "Activity",
    "ReadyIndexes",
    "ResolvedCollection",
    "StoreContext",
    "make_vectors",
    "resolve",
    "resolve_for_query",
)

_REMEMBERED = 10_000
"""More collections than this in use at once only cost look-ups."""

_COUNTED = 1_000
"""More indexes that are missed at once are counted from the beginning."""

FRESH_SECONDS = 1.0
"""How old what a reader knows of indexes may be."""


@dataclass(frozen=True, slots=True)
class ReadyIndexes:
    """What can be used to find records faster.

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
        """How many embeddings the segments have, about."""
        return sum(segment.entries for segment in self.segments)


@dataclass(frozen=True, slots=True)
class ResolvedCollection:
    """A collection's tables and what is fixed about its embeddings.

    Attributes:
        dimension: None until the first embedding is written; then there is no table of vectors.
        filterable: What may be filtered by.
        indexes: What finds records faster.
        shadow: The table of its second embeddings, if there are any: at the same positions.
        seen_at: When that was so, on the clock of `time.monotonic`.
    """

    scope: DatabaseRef
    tables: CollectionTables
    space: Space
    dimension: int | None
    filterable: FilterableKeys = field(default_factory=FilterableKeys)
    indexes: ReadyIndexes = field(default_factory=ReadyIndexes)
    shadow: CollectionTables | None = None
    seen_at: float = 0.0

    @property
    def is_stale(self) -> bool:
        """Whether its indexes may be others by now."""
        return time.monotonic() - self.seen_at > FRESH_SECONDS


class Activity:
    """What was done to collections, for the compactor of this process to look at.

    Args:
        takes_filters: Whether indexes that filters would have used are of interest.

    Attributes:
        wake: Called when there is something to look at.
    """

    def __init__(self, *, takes_filters: bool = True) -> None:
        self.wake: Callable[[], None] = _nobody
        self._takes_filters = takes_filters
        self._lock = Lock()
        self._written: set[UUID] = set()
        self._asked: set[tuple[UUID, SecondaryIndex]] = set()
        self._misses: Counter[tuple[UUID, SecondaryIndex]] = Counter()
        self._has_discarded = False

    def record_write(self, resolved: ResolvedCollection) -> None:
        """Keep in mind that a collection was written to."""
        with self._lock:
            self._written.add(resolved.tables.id)
        self.wake()

    def record_missing_indexes(
        self, resolved: ResolvedCollection, missing: Set[SecondaryIndex]
    ) -> None:
        """Count a statement that these indexes would have served, and request those missed often.

        Each index is requested once: a client that only reads must not keep the compactor busy.
        """
        if not self._takes_filters:
            return
        if any([self._miss((resolved.tables.id, index)) for index in missing]):
            self.wake()

    def record_discarded(self) -> None:
        """Keep in mind that a deleted database has tables that are still to be dropped."""
        self._has_discarded = True
        self.wake()

    def drain_discarded(self) -> bool:
        """Tell whether tables of deleted databases are to be dropped; then forget."""
        with self._lock:
            seen, self._has_discarded = self._has_discarded, False
            return seen

    def drain(self) -> tuple[set[UUID], set[tuple[UUID, SecondaryIndex]]]:
        """Return the collections written to, and the indexes asked for; then forget."""
        with self._lock:
            seen = self._written, self._asked
            self._written, self._asked = set(), set()
            return seen

    def _miss(self, index: tuple[UUID, SecondaryIndex]) -> bool:
        with self._lock:
            if index not in self._misses and len(self._misses) >= _COUNTED:
                self._misses.clear()
            self._misses[index] += 1
            if self._misses[index] != DEMAND_THRESHOLD:
                return False
            self._asked.add(index)
            return True


@dataclass(slots=True)
class StoreContext:
    """What handlers know about the database they work on.

    Attributes:
        vector_oid: The object id of the type `vector` there.
        regex_timeout_ms: How long a statement with a regular expression may run; None to leave
            that to the caller, whose transaction it is.
        caches_nothing: Whether nothing is remembered, since what was seen in the caller's
            transaction may never have been.
        allows_reset: Whether everything may be deleted at once.
        limits: What one request may carry.
        has_tenant_roles: Whether each tenant's requests run as a role of PostgreSQL of its own.
        segment_bytes: The least a part of the log has to have to be worth an index.
        observed: Where reads and writes leave word; None if nobody reads it.
    """

    vector_oid: int
    regex_timeout_ms: int | None = None
    caches_nothing: bool = False
    allows_reset: bool = False
    limits: Limits = field(default_factory=Limits)
    has_tenant_roles: bool = False
    segment_bytes: int = 8 << 20
    observed: Activity | None = None
    _locations: dict[UUID, ResolvedCollection] = field(default_factory=dict)
    _roles: dict[str, str] = field(default_factory=dict)
    _advanced: set[UUID] = field(default_factory=set)
    _lock: Lock = field(default_factory=Lock)

    def recall(self, collection: CollectionRef) -> ResolvedCollection | None:
        """Return what is known of a collection, if it is of the database asked about."""
        known = self._locations.get(collection.id)
        return known if known is not None and known.scope == collection.scope else None

    def remember(self, resolved: ResolvedCollection) -> None:
        """Keep a location for later calls."""
        if self.caches_nothing:
            return
        with self._lock:
            if len(self._locations) >= _REMEMBERED:
                self._locations.clear()
            self._locations[resolved.tables.id] = resolved

    def forget_location(self, collection: CollectionRef) -> None:
        """Drop what is remembered of a collection; who asks next looks it up."""
        with self._lock:
            self._locations.pop(collection.id, None)

    def record_write(self, resolved: ResolvedCollection) -> None:
        """Leave word that a collection was written to."""
        if self.observed is not None:
            self.observed.record_write(resolved)

    def record_discarded(self) -> None:
        """Leave word that tables of a deleted database are still to be dropped."""
        if self.observed is not None:
            self.observed.record_discarded()

    def record_missing_indexes(
        self, resolved: ResolvedCollection, missing: Set[SecondaryIndex]
    ) -> None:
        """Tell the compactor that a statement would have used these indexes."""
        if self.observed is not None:
            self.observed.record_missing_indexes(resolved, missing)

    def is_advanced(self, id: UUID) -> bool:
        """Whether a collection's sequence was looked at since the last connection was made."""
        return id in self._advanced

    def note_advanced(self, id: UUID) -> None:
        """Keep in mind that a collection's sequence is not behind."""
        with self._lock:
            if len(self._advanced) >= _REMEMBERED:
                self._advanced.clear()
            self._advanced.add(id)

    def note_vector_oid(self, oid: int) -> None:
        """Take in the object id of the type `vector`: another one means another database.

        Also the same one may be a replica's that has taken over.
        """
        with self._lock:
            self._advanced.clear()
        if oid != self.vector_oid:
            self.vector_oid = oid
            self.forget()

    def role_of(self, tenant: str) -> str | None:
        """Return what is known of a tenant's role."""
        return self._roles.get(tenant)

    def remember_role(self, tenant: str, role: str) -> None:
        """Keep a tenant's role for later calls."""
        with self._lock:
            if len(self._roles) >= _REMEMBERED:
                self._roles.clear()
            self._roles[tenant] = role

    def forget(self) -> None:
        """Drop all that is remembered."""
        with self._lock:
            self._locations.clear()
            self._roles.clear()
            self._advanced.clear()


def _nobody() -> None:
    """Nobody looks."""


def resolve(
    collection: CollectionRef, context: StoreContext, *, is_fresh: bool = False
) -> Steps[ResolvedCollection]:
    """Find a collection: from memory if its dimension is known there, else with a look-up.

    Args:
        collection: Which.
        context: What is remembered.
        is_fresh: Whether what is known of its indexes has to be of the last second.

    Raises:
        NotFoundError: The database has no such collection.
    """
    known = context.recall(collection)
    if known is not None and known.dimension is not None and not (is_fresh and known.is_stale):
        return known
    seen_at = time.monotonic()
    rows = yield Statement(
        _FIND,
        {
            "id": collection.id,
            "tenant": collection.scope.tenant,
            "database": collection.scope.database,
        },
    )
    if not rows:
        raise NotFoundError(f"Collection [{collection.id}] does not exist.")
    schema, generation, space, dimension, filterable, ef_search, shadow, *found = rows[0]
    segments, secondary = found
    tables = CollectionTables(schema, collection.id, generation)
    allowed = FilterableKeys.from_json(None if filterable is None else orjson.loads(filterable))
    indexes = ReadyIndexes(
        tuple(Segment(*columns) for columns in orjson.loads(segments or "[]")),
        frozenset(SecondaryIndex(*columns) for columns in orjson.loads(secondary or "[]")),
        clamped("ef_search", int(ef_search)),
    )
    second = None if shadow is None else replace(tables, generation=shadow, is_shadow=True)
    resolved = ResolvedCollection(
        collection.scope, tables, space, dimension, allowed, indexes, second, seen_at
    )
    context.remember(resolved)
    return resolved


def resolve_for_query(
    collection: CollectionRef, context: StoreContext, dimension: int, *, is_fresh: bool = False
) -> Steps[ResolvedCollection]:
    """Find a collection that embeddings of this length are compared with.

    Raises:
        NotFoundError: The database has no such collection.
        InvalidArgumentError: The collection's embeddings have another length, or are others than
            those that the caller knows.
    """
    resolved = yield from resolve(collection, context, is_fresh=is_fresh)
    if not (_is_meant(resolved, collection) and resolved.dimension in (None, dimension)):
        context.forget()
        resolved = yield from resolve(collection, context)
    _check(resolved, collection, dimension)
    return resolved


def _check(resolved: ResolvedCollection, collection: CollectionRef, dimension: int) -> None:
    problems = []
    if resolved.dimension not in (None, dimension):
        problems.append(
            f"Collection expecting embedding with dimension of {resolved.dimension}, "
            f"got {dimension}"
        )
    if not _is_meant(resolved, collection):
        problems.append(
            f"Collection [{collection.id}] has been embedded anew, by another function or for "
            "another space, since this client got it; get it again with get_collection, so that "
            "embeddings of both are not mixed"
        )
    if problems:
        raise InvalidArgumentError(". ".join(problems))


def _is_meant(resolved: ResolvedCollection, collection: CollectionRef) -> bool:
    return collection.generation in (None, resolved.tables.generation)


def make_vectors(
    collection: CollectionRef, resolved: ResolvedCollection, context: StoreContext, dimension: int
) -> Steps[ResolvedCollection]:
    """Fix a collection's dimension and make its table of vectors, as part of the first write.

    Of two first writers one does, and the other waits for its transaction at the catalog's row.
    Nothing of this is remembered, since the transaction may yet be rolled back.

    Raises:
        NotFoundError: The collection was deleted.
        InvalidArgumentError: The collection's embeddings have another length, or are others.
    """
    if dimension > MAX_DIMENSION:
        raise InvalidArgumentError(
            f"an embedding of {dimension} dimensions is too long: PostgreSQL's type vector "
            f"holds up to {MAX_DIMENSION}"
        )
    tables = resolved.tables
    rows = yield Statement(
        _FIX_DIMENSION,
        {"id": tables.id, "dimension": dimension, "generation": tables.generation},
    )
    if not rows:
        found = yield from resolve_for_query(collection, context, dimension)
        if found.dimension is None:
            # It got another embedding function, and still has no embedding.
            return (yield from make_vectors(collection, found, context, dimension))
        return found
    yield create_vectors(tables, rows[0][0], dimension, resolved.space, resolved.filterable)
    return replace(resolved, dimension=dimension)


_FIND = render(
    """
    select
        d.schema_name, c.generation, c.configuration -> 'hnsw' ->> 'space', c.dimension,
        nullif(c.configuration -> 'indexed', 'null')::text,
        c.configuration -> 'hnsw' ->> 'ef_search',
        (select r.generation from pgchroma.reembeddings as r where r.collection_id = c.id),
        (
            select
                jsonb_agg(
                    jsonb_build_array(first_pos, end_pos, index_name, entries, quantization)
                    order by first_pos
                )::text
            from pgchroma.segments as s
            where s.collection_id = c.id and s.generation = c.generation and s.is_ready
        ),
        (
            select jsonb_agg(jsonb_build_array(kind, key))::text
            from pgchroma.secondary_indexes as i
            where i.collection_id = c.id and i.is_ready
        )
    from pgchroma.collections as c
    join pgchroma.databases as d on d.id = c.database_id
    where c.id = %(id)s and d.tenant = %(tenant)s and d.name = %(database)s
    """
)

_FIX_DIMENSION = render(
    """
    update pgchroma.collections set dimension = %(dimension)s
    where id = %(id)s and dimension is null and generation = %(generation)s
    returning name
    """
)
