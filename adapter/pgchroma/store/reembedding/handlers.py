"""Handlers of a collection's pending embeddings, which another function makes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, LiteralString

import numpy as np

from pgchroma.errors import InvalidArgumentError, UniqueConstraintError
from pgchroma.model.configuration import CollectionConfiguration
from pgchroma.model.limits import MAX_DIMENSION
from pgchroma.model.operations import (
    CollectionRef,
    CompareEmbeddings,
    DropReembedding,
    GetReembedding,
    GetUnembedded,
    StartReembedding,
    StoreReembedded,
)
from pgchroma.model.reembedding import EmbeddingComparison, Reembedding, Unembedded
from pgchroma.store.context import StoreContext
from pgchroma.store.encoding.vectors import pack_vectors
from pgchroma.store.handlers import handles
from pgchroma.store.layout.segments import distance, needs_index
from pgchroma.store.layout.tables import create_shadow
from pgchroma.store.reembedding.privileges import check_owner, copy_grants
from pgchroma.store.reembedding.state import EmbeddingVersions, find_versions, stored_json
from pgchroma.store.resolving import resolve
from pgchroma.store.running.steps import Statement, Steps, Transaction, render
from pgchroma.store.sequences import advance_once

__all__ = (
    "compare_embeddings",
    "drop_reembedding",
    "get_reembedding",
    "get_unembedded",
    "start_reembedding",
    "store_reembedded",
)


@handles(StartReembedding)
def start_reembedding(operation: StartReembedding, context: StoreContext) -> Steps[int | None]:
    """Create a table for pending embeddings, unless there is one for the same function."""
    if not 1 <= operation.dimension <= MAX_DIMENSION:
        raise InvalidArgumentError(
            f"dimension: expected an int from 1 to {MAX_DIMENSION:,}, got {operation.dimension}"
        )
    yield from advance_once((yield from resolve(operation.collection, context)), context)
    generation: int | None = yield Transaction(_start(operation))
    context.forget_collection(operation.collection)
    if generation is not None:
        # The compactor maintains both tables.
        context.record_write((yield from resolve(operation.collection, context)))
    return generation


@handles(GetReembedding)
def get_reembedding(operation: GetReembedding, context: StoreContext) -> Steps[Reembedding | None]:
    """Count the embeddings of both tables, and those without an index."""
    versions = yield from find_versions(operation.collection)
    if versions.shadow is None:
        return None
    parameters = {"id": versions.shadow.id, "generation": versions.shadow.generation}
    rows = yield Statement(render(_COUNT, **versions.parts), parameters)
    total, embedded, without_document, tail = rows[0]
    hnsw = versions.shadow_configuration.hnsw
    # Other sessions cannot see the table in the caller's transaction, so none indexes it.
    is_waiting = not context.caches_nothing and needs_index(
        tail, versions.shadow_dimension, hnsw.sync_threshold, context.segment_bytes
    )
    return Reembedding(
        versions.shadow_configuration.embedding_function,
        hnsw.space,
        versions.shadow_dimension,
        versions.is_previous,
        total,
        embedded,
        without_document,
        tail if is_waiting else 0,
    )


@handles(GetUnembedded)
def get_unembedded(operation: GetUnembedded, context: StoreContext) -> Steps[Unembedded]:
    """Read records whose position has no pending embedding."""
    versions = yield from find_versions(operation.collection)
    if versions.is_current(operation.generation):
        return Unembedded([], [], [], [])
    parameters = {"after": operation.after, "limit": operation.limit}
    rows = yield Statement(render(_UNEMBEDDED, **versions.parts), parameters)
    positions, ids, documents, uris = map(list, zip(*rows, strict=True)) if rows else ([],) * 4
    return Unembedded(positions, ids, documents, uris)


@handles(StoreReembedded)
def store_reembedded(operation: StoreReembedded, context: StoreContext) -> Steps[None]:
    """Insert pending embeddings at the positions that still belong to a record."""
    count, dimension = operation.embeddings.shape
    if len(operation.positions) != count:
        raise InvalidArgumentError(f"{len(operation.positions)} positions for {count} embeddings")
    versions = yield from find_versions(operation.collection)
    if versions.is_current(operation.generation):
        # Another client, with the same function, has already made the switch.
        return
    if dimension != versions.shadow_dimension:
        raise InvalidArgumentError(
            f"Pending embeddings have a dimension of {versions.shadow_dimension}, got {dimension}"
        )
    if not np.isfinite(operation.embeddings).all():
        raise InvalidArgumentError("embeddings: a value is NaN or infinite")
    vectors = pack_vectors(operation.embeddings, context.vector_oid)
    yield Statement(
        render(_STORE, **versions.parts),
        {"positions": operation.positions, "embeddings": vectors},
    )
    context.record_write((yield from resolve(operation.collection, context)))


@handles(CompareEmbeddings)
def compare_embeddings(
    operation: CompareEmbeddings, context: StoreContext
) -> Steps[EmbeddingComparison]:
    """Find the neighbours of the same records in both tables, by exact searches."""
    versions = yield from find_versions(operation.collection)
    is_current = versions.is_current(operation.generation)
    if versions.shadow is None:
        return EmbeddingComparison(1.0, 0, operation.n_results)
    configurations = versions.configuration, versions.shadow_configuration
    spaces = tuple(distance(each.hnsw.space) for each in configurations)
    old, new = reversed(spaces) if is_current else spaces
    parts = versions.parts
    if is_current:
        parts = {**parts, "vectors": parts["shadow"], "shadow": parts["vectors"]}
    text = render(_COMPARE, **parts, old=old, new=new)
    parameters = {"sample": operation.sample, "n_results": operation.n_results}
    overlap, sample = (yield Statement(text, parameters))[0]
    return EmbeddingComparison(1.0 if overlap is None else overlap, sample, operation.n_results)


@handles(DropReembedding)
def drop_reembedding(operation: DropReembedding, context: StoreContext) -> Steps[None]:
    """Drop the table of the pending or previous embeddings."""
    yield Transaction(_drop(operation.collection))


def _start(operation: StartReembedding) -> Steps[int | None]:
    versions = yield from find_versions(operation.collection, is_locked=True)
    current = versions.configuration
    configuration = replace(
        current.updated({"embedding_function": operation.embedding_function}),
        hnsw=replace(current.hnsw, space=operation.space or current.hnsw.space),
    )
    if versions.shadow is not None:
        _check_same(versions, configuration, operation.dimension)
        yield Statement(_RESUME, {"id": operation.collection.id})
        return versions.shadow.generation
    if versions.dimension is None:
        # There are no embeddings to replace, so the new function can be used from now on.
        parameters = {"id": operation.collection.id, "configuration": stored_json(configuration)}
        yield Statement(_CONFIGURE, {**parameters, "generation": (yield from _draw(versions))})
        return None
    yield from check_owner(versions)
    generation = yield from _draw(versions)
    shadow = replace(versions.current, generation=generation, is_shadow=True)
    yield Statement(
        _INSERT,
        {
            "id": operation.collection.id,
            "generation": generation,
            "configuration": stored_json(configuration),
            "dimension": operation.dimension,
        },
    )
    yield create_shadow(shadow, operation.dimension, configuration.hnsw.space)
    # Writers also clear pending embeddings.
    yield from copy_grants(versions, shadow)
    return generation


def _draw(versions: EmbeddingVersions) -> Steps[int]:
    """Draw an unused generation: neither the first, nor one whose table was dropped."""
    draw = render("select nextval({log})", log=versions.current.log_literal)
    generation = 1
    while generation == 1:
        generation = (yield Statement(draw))[0][0]
    return generation


def _check_same(
    versions: EmbeddingVersions, configuration: CollectionConfiguration, dimension: int
) -> None:
    """Check that existing pending embeddings are from the same function.

    Raises:
        UniqueConstraintError: They are not, or it is unknown.
    """
    found = versions.shadow_configuration
    if (found.embedding_function or {}).get("type") != "known":
        raise UniqueConstraintError(
            f"Collection [{versions.name}] already has pending embeddings from a function that was "
            "not stored, so they cannot be compared with this one; call drop_reembedding() first"
        )
    if (found.embedding_function, found.hnsw.space, versions.shadow_dimension) != (
        configuration.embedding_function,
        configuration.hnsw.space,
        dimension,
    ):
        kind = "previous" if versions.is_previous else "pending"
        raise UniqueConstraintError(
            f"Collection [{versions.name}] already has {kind} embeddings from "
            f"{_function_name(found.embedding_function)} ({versions.shadow_dimension} dimensions, "
            f"{found.hnsw.space}); continue with that function, or call drop_reembedding() first"
        )


def _function_name(function: Mapping[str, Any] | None) -> str:
    return str((function or {}).get("name", "a function that was not stored"))


def _drop(collection: CollectionRef) -> Steps[None]:
    versions = yield from find_versions(collection, is_locked=True)
    if versions.shadow is None:
        return
    parameters = {"id": collection.id, "generation": versions.shadow.generation}
    yield (
        Statement(render("drop table if exists {shadow}", shadow=versions.shadow.vectors)),
        Statement(_DELETE, parameters),
    )


_CONFIGURE = render(
    """
    update pgchroma.collections
    set configuration = %(configuration)s::jsonb, generation = %(generation)s
    where id = %(id)s
    """
)

_INSERT = render(
    """
    insert into pgchroma.reembeddings (collection_id, generation, configuration, dimension)
    values (%(id)s, %(generation)s, %(configuration)s::jsonb, %(dimension)s)
    """
)

_RESUME = render(
    "update pgchroma.reembeddings set is_previous = false where collection_id = %(id)s"
)

_COUNT: LiteralString = """
select
    count(*),
    count(s.pos),
    count(*) filter (where s.pos is null and r.document is null),
    (
        select count(*) from {shadow} as t
        where not exists (
            select from pgchroma.segments as g
            where g.collection_id = %(id)s and g.generation = %(generation)s and g.is_ready
                and t.pos >= g.first_pos and t.pos < g.end_pos
        )
    )
from {vectors} as v
join {records} as r on r.seq = v.seq and r.pos = v.pos
left join {shadow} as s on s.pos = v.pos
"""

# Reads a page in the order of positions, and only the records on it: `offset` keeps PostgreSQL from
# joining all records.
_UNEMBEDDED: LiteralString = """
select v.pos, r.id, r.document, r.uri
from {vectors} as v
cross join lateral (
    select id, document, uri from {records} where seq = v.seq and pos = v.pos offset 0
) as r
where v.pos > %(after)s::bigint and not exists (
    select from {shadow} as s where s.pos = v.pos and s.pos > %(after)s::bigint
)
order by v.pos
limit %(limit)s::bigint
"""

_STORE: LiteralString = """
insert into {shadow} (pos, seq, embedding)
select v.pos, v.seq, given.embedding
from unnest(%(positions)b::bigint[], %(embeddings)b::vector[]) as given (pos, embedding)
join {vectors} as v on v.pos = given.pos
order by v.pos
on conflict (pos) do nothing
"""

_COMPARE: LiteralString = """
select avg(found.part)::float8, count(*)
from (
    select s.pos, s.seq, s.embedding as new, v.embedding as old
    from {shadow} as s
    join {vectors} as v on v.pos = s.pos
    join {records} as r on r.seq = v.seq and r.pos = v.pos
    order by random()
    limit %(sample)s
) as asked
cross join lateral (
    select array(
        select v.pos
        from {vectors} as v
        join {records} as r on r.seq = v.seq and r.pos = v.pos
        where v.pos <> asked.pos and exists (select from {shadow} as s where s.pos = v.pos)
        order by v.embedding {old} asked.old, v.pos
        limit %(n_results)s
    ) as nearest
) as by_old
cross join lateral (
    select array(
        select s.pos
        from {shadow} as s
        join {records} as r on r.seq = s.seq and r.pos = s.pos
        where s.pos <> asked.pos
        order by s.embedding {new} asked.new, s.pos
        limit %(n_results)s
    ) as nearest
) as by_new
cross join lateral (
    select count(*)::float8 / nullif(cardinality(by_old.nearest), 0) as part
    from unnest(by_old.nearest) as one (pos)
    where one.pos = any(by_new.nearest)
) as found
"""

_DELETE = render(
    """
    with dropped as (
        delete from pgchroma.reembeddings
        where collection_id = %(id)s and generation = %(generation)s
        returning generation
    )
    select count(*) from dropped
    """
)
