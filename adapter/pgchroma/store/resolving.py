"""Resolving a collection: from its id to its tables."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Final, LiteralString

import orjson
from psycopg import sql

from pgchroma.errors import ChromaError, InvalidArgumentError, NotFoundError
from pgchroma.model.filterable import FilterableKeys
from pgchroma.model.hnsw import clamped
from pgchroma.model.limits import MAX_DIMENSION
from pgchroma.model.operations import CollectionRef
from pgchroma.store.context import StoreContext
from pgchroma.store.layout.secondary import SecondaryIndex
from pgchroma.store.layout.segments import Segment
from pgchroma.store.layout.tables import CollectionTables, create_vectors
from pgchroma.store.layout.upgrading import check_layout
from pgchroma.store.resolved import ReadyIndexes, ResolvedCollection
from pgchroma.store.running.steps import Rows, Statement, Steps, render

__all__ = ("Renewal", "make_vectors", "renewal", "resolve", "resolve_for_query")


@dataclass(frozen=True, slots=True)
class Renewal:
    """A look-up that goes along with a read. So it costs a slow client no round trip.

    The read is correct in any case. If an index is not the one that it expects, it is slower once.
    """

    statement: Statement
    _collection: CollectionRef
    _context: StoreContext
    _known: ResolvedCollection
    _sent_at: float

    def note(self, rows: Rows) -> None:
        """Store what was found, for the next operations."""
        # If the collection was deleted, or has another layout now, the next operation finds that.
        self._context.forget_collection(self._collection)
        with suppress(ChromaError):
            _store(rows, self._collection, self._context, self._known, self._sent_at)


def resolve(
    collection: CollectionRef,
    context: StoreContext,
    *,
    is_fresh: bool = False,
    may_lag: bool = False,
) -> Steps[ResolvedCollection]:
    """Find a collection: in the cache if its dimension is known there, else with a look-up.

    Args:
        collection: The collection to find.
        context: The store's context, which has the cache.
        is_fresh: Whether its indexes have to be known as of the last second.
        may_lag: Whether the caller sends the `renewal` along with what it reads.

    Raises:
        NotFoundError: The database has no such collection.
        OldLayoutError: Its tables have an older layout.
    """
    known = context.cached(collection)
    if known is not None and _suffices(known, is_fresh=is_fresh, may_lag=may_lag):
        return known
    seen_at = time.monotonic()
    rows = yield _look_up(collection, context)
    return _store(rows, collection, context, known, seen_at)


def renewal(
    resolved: ResolvedCollection, collection: CollectionRef, context: StoreContext
) -> Renewal | None:
    """Return the look-up to send along with a read; `None` if none is needed."""
    if not (resolved.is_stale and resolved.may_lag):
        return None
    return Renewal(_look_up(collection, context), collection, context, resolved, time.monotonic())


def _suffices(known: ResolvedCollection, *, is_fresh: bool, may_lag: bool) -> bool:
    if known.dimension is None:
        return False
    return not (is_fresh and known.is_stale) or (may_lag and known.may_lag)


def _look_up(collection: CollectionRef, context: StoreContext) -> Statement:
    return Statement(
        _SELECT_COLLECTION if context.proposers is None else _SELECT_WITH_TOKENS,
        {
            "id": collection.id,
            "tenant": collection.scope.tenant,
            "database": collection.scope.database,
        },
    )


def _store(
    rows: Rows,
    collection: CollectionRef,
    context: StoreContext,
    known: ResolvedCollection | None,
    seen_at: float,
) -> ResolvedCollection:
    """Cache and return what a look-up has found."""
    if not rows:
        raise NotFoundError(f"Collection [{collection.id}] does not exist.")
    schema, generation, space, dimension, filterable, ef_search, shadow, *others = rows[0]
    segments, secondary, layout = others
    check_layout(collection.id, layout)
    tables = CollectionTables(schema, collection.id, generation)
    allowed = FilterableKeys.from_json(None if filterable is None else orjson.loads(filterable))
    indexes = ReadyIndexes(
        tuple(_segment(columns) for columns in orjson.loads(segments or "[]")),
        frozenset(SecondaryIndex(*columns) for columns in orjson.loads(secondary or "[]")),
        clamped("ef_search", int(ef_search)),
    )
    shadow_tables = None if shadow is None else replace(tables, generation=shadow, is_shadow=True)
    resolved = ResolvedCollection(
        collection.scope, tables, space, dimension, allowed, indexes, shadow_tables, seen_at
    )
    if known is not None:
        resolved = known.followed_by(resolved)
    context.cache(resolved)
    return resolved


def _segment(columns: list[Any]) -> Segment:
    first_pos, end_pos, index_name, entries, quantization, tokens = columns
    return Segment(first_pos, end_pos, index_name, entries, quantization, tuple(tokens))


def resolve_for_query(
    collection: CollectionRef,
    context: StoreContext,
    dimension: int,
    *,
    is_fresh: bool = False,
    may_lag: bool = False,
) -> Steps[ResolvedCollection]:
    """Find a collection that embeddings of this dimension are compared with; see `resolve`.

    Raises:
        NotFoundError: The database has no such collection.
        InvalidArgumentError: The collection's embeddings have another dimension, or the collection
            has been re-embedded since the caller got it.
    """
    resolved = yield from resolve(collection, context, is_fresh=is_fresh, may_lag=may_lag)
    if not (_is_same_generation(resolved, collection) and resolved.dimension in (None, dimension)):
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
    if not _is_same_generation(resolved, collection):
        problems.append(
            f"Collection [{collection.id}] has been re-embedded, by another function or for "
            "another space, since this client got it; get it again with get_collection, so that "
            "embeddings of both are not mixed"
        )
    if problems:
        raise InvalidArgumentError(". ".join(problems))


def _is_same_generation(resolved: ResolvedCollection, collection: CollectionRef) -> bool:
    return collection.generation in (None, resolved.tables.generation)


def make_vectors(
    collection: CollectionRef, resolved: ResolvedCollection, context: StoreContext, dimension: int
) -> Steps[ResolvedCollection]:
    """Set a collection's dimension and create its table of vectors, as part of the first write.

    Of two concurrent first writers, one does this, and the other waits at the catalog's row for
    the first one's transaction. Nothing is cached, because the transaction may be rolled back.

    Raises:
        NotFoundError: The collection was deleted.
        InvalidArgumentError: The collection's embeddings have another dimension, or the collection
            has been re-embedded.
    """
    if dimension > MAX_DIMENSION:
        raise InvalidArgumentError(
            f"an embedding of {dimension} dimensions is too long: PostgreSQL's type vector "
            f"holds up to {MAX_DIMENSION}"
        )
    tables = resolved.tables
    rows = yield Statement(
        _SET_DIMENSION,
        {"id": tables.id, "dimension": dimension, "generation": tables.generation},
    )
    if not rows:
        current = yield from resolve_for_query(collection, context, dimension)
        if current.dimension is None:
            # It has another embedding function now, and still no embeddings.
            return (yield from make_vectors(collection, current, context, dimension))
        return current
    yield create_vectors(tables, rows[0][0], dimension, resolved.space, resolved.filterable)
    return replace(resolved, dimension=dimension)


_COLLECTION: Final[LiteralString] = """
    select
        d.schema_name, c.generation, c.configuration -> 'hnsw' ->> 'space', c.dimension,
        nullif(c.configuration -> 'indexed', 'null')::text,
        c.configuration -> 'hnsw' ->> 'ef_search',
        (select r.generation from pgchroma.reembeddings as r where r.collection_id = c.id),
        (
            select
                jsonb_agg(
                    jsonb_build_array(
                        first_pos, end_pos, index_name, entries, quantization, {tokens}
                    )
                    order by first_pos
                )::text
            from pgchroma.segments as s
            where s.collection_id = c.id and s.generation = c.generation and s.is_ready
        ),
        (
            select jsonb_agg(jsonb_build_array(kind, key))::text
            from pgchroma.secondary_indexes as i
            where i.collection_id = c.id and i.is_ready
        ),
        c.layout_version
    from pgchroma.collections as c
    join pgchroma.databases as d on d.id = c.database_id
    where c.id = %(id)s and d.tenant = %(tenant)s and d.name = %(database)s
"""

_TOKENS: Final[LiteralString] = """(
    select coalesce(jsonb_agg(m.token order by m.created_at desc), '[]')
    from pgchroma.memory_indexes as m
    where m.segment_id = s.id
)"""

_SELECT_COLLECTION = render(_COLLECTION, tokens=sql.SQL("'[]'::jsonb"))
_SELECT_WITH_TOKENS = render(_COLLECTION, tokens=sql.SQL(_TOKENS))

_SET_DIMENSION = render(
    """
    update pgchroma.collections set dimension = %(dimension)s
    where id = %(id)s and dimension is null and generation = %(generation)s
    returning name
    """
)
