"""Handlers of a collection's second embeddings: made beside those in use, and taken into use.

They are in a table of their own, at the positions in the log that those in use have. Every write
of an embedding takes a new position, so a position without a second embedding is one that is still
to be embedded, whoever wrote it and whenever; and taking them into use changes no record.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, LiteralString

import numpy as np
import orjson
from psycopg import sql

from pgchroma.errors import (
    InvalidArgumentError,
    MissingRightError,
    NotFoundError,
    UniqueConstraintError,
)
from pgchroma.model.configuration import CollectionConfiguration
from pgchroma.model.operations import (
    CollectionRef,
    CompareEmbeddings,
    DropReembedding,
    GetReembedding,
    GetUnembedded,
    StartReembedding,
    StoreReembedded,
    SwitchEmbeddings,
)
from pgchroma.model.reembedding import Comparison, Reembedding, Unembedded
from pgchroma.store.context import StoreContext
from pgchroma.store.encoding.vectors import pack_vectors
from pgchroma.store.handlers import handles
from pgchroma.store.layout.segments import distance, needs_index
from pgchroma.store.layout.tables import (
    MAX_DIMENSION,
    CollectionTables,
    create_shadow,
    swap,
)
from pgchroma.store.resolving import resolve
from pgchroma.store.running.steps import Statement, Steps, Transaction, render, text_of
from pgchroma.store.sequences import advance_once

__all__ = (
    "compare_embeddings",
    "drop_reembedding",
    "get_reembedding",
    "get_unembedded",
    "start_reembedding",
    "store_reembedded",
    "switch_embeddings",
)

LOCK_TIMEOUT: Final = "500ms"
"""How long the switch waits for those who read and write, who in turn wait behind it.

Less than PostgreSQL's `deadlock_timeout`: so it is the switch that gives way, and not a writer or
an index that is being built.
"""


@dataclass(frozen=True, slots=True)
class _Second:
    """A collection with both its tables of embeddings.

    Attributes:
        in_use: What the collection has now.
        configuration: What it has with the second embeddings.
        spare: Their table; None: there are none.
        is_previous: Whether they were in use before, and nobody is about to use them again.
    """

    name: str
    live: CollectionTables
    in_use: CollectionConfiguration
    dimension: int | None
    shadow: CollectionTables | None
    configuration: CollectionConfiguration
    spare_dimension: int
    is_previous: bool

    def is_used(self, generation: int) -> bool:
        """Whether the second embeddings of that generation have been taken into use.

        Raises:
            NotFoundError: They are gone.
        """
        if self.live.generation == generation:
            return True
        if self.shadow is None or self.shadow.generation != generation:
            raise NotFoundError(
                f"Collection [{self.name}] no longer has these second embeddings: they have been "
                "dropped"
            )
        return False


@handles(StartReembedding)
def start_reembedding(operation: StartReembedding, context: StoreContext) -> Steps[int | None]:
    """Make a table, unless there is one for the same function."""
    if not 1 <= operation.dimension <= MAX_DIMENSION:
        raise InvalidArgumentError(
            f"dimension: expected an int from 1 to {MAX_DIMENSION:,}, got {operation.dimension}"
        )
    yield from advance_once((yield from resolve(operation.collection, context)), context)
    generation: int | None = yield Transaction(_start(operation))
    context.forget_collection(operation.collection)
    if generation is not None:
        # The compactor looks after both tables.
        context.record_write((yield from resolve(operation.collection, context)))
    return generation


@handles(GetReembedding)
def get_reembedding(operation: GetReembedding, context: StoreContext) -> Steps[Reembedding | None]:
    """Count the embeddings of both tables, and those without an index."""
    second = yield from _find(operation.collection)
    if second.shadow is None:
        return None
    named = {"id": second.shadow.id, "generation": second.shadow.generation}
    parts = _tables(second)
    total, embedded, without_document, tail = (yield Statement(render(_COUNT, **parts), named))[0]
    threshold = second.configuration.hnsw.sync_threshold
    # In a transaction of the caller's nobody else sees the table, and so nobody indexes it.
    is_waiting = not context.caches_nothing and needs_index(
        tail, second.spare_dimension, threshold, context.segment_bytes
    )
    return Reembedding(
        second.configuration.embedding_function,
        second.configuration.hnsw.space,
        second.spare_dimension,
        second.is_previous,
        total,
        embedded,
        without_document,
        tail if is_waiting else 0,
    )


@handles(GetUnembedded)
def get_unembedded(operation: GetUnembedded, context: StoreContext) -> Steps[Unembedded]:
    """Read records whose position the second table does not have."""
    second = yield from _find(operation.collection)
    if second.is_used(operation.generation):
        return Unembedded([], [], [], [])
    named = {"after": operation.after, "limit": operation.limit}
    rows = yield Statement(render(_UNEMBEDDED, **_tables(second)), named)
    positions, ids, documents, uris = map(list, zip(*rows, strict=True)) if rows else ([],) * 4
    return Unembedded(positions, ids, documents, uris)


@handles(StoreReembedded)
def store_reembedded(operation: StoreReembedded, context: StoreContext) -> Steps[None]:
    """Insert embeddings at the positions that still are somebody's."""
    count, dimension = operation.embeddings.shape
    if len(operation.positions) != count:
        raise InvalidArgumentError(f"{len(operation.positions)} positions for {count} embeddings")
    second = yield from _find(operation.collection)
    if second.is_used(operation.generation):
        # Somebody else was faster, with the same function.
        return
    if dimension != second.spare_dimension:
        raise InvalidArgumentError(
            f"Second embeddings have a dimension of {second.spare_dimension}, got {dimension}"
        )
    if not np.isfinite(operation.embeddings).all():
        raise InvalidArgumentError("embeddings: a value is NaN or infinite")
    vectors = pack_vectors(operation.embeddings, None, context.vector_oid)
    yield Statement(
        render(_STORE, **_tables(second)),
        {"positions": operation.positions, "embeddings": vectors},
    )
    context.record_write((yield from resolve(operation.collection, context)))


@handles(CompareEmbeddings)
def compare_embeddings(operation: CompareEmbeddings, context: StoreContext) -> Steps[Comparison]:
    """Look for the neighbours of the same records in both tables, exactly."""
    second = yield from _find(operation.collection)
    is_used = second.is_used(operation.generation)
    if second.shadow is None:
        return Comparison(1.0, 0, operation.n_results)
    spaces = distance(second.in_use.hnsw.space), distance(second.configuration.hnsw.space)
    old, new = reversed(spaces) if is_used else spaces
    parts = _tables(second)
    if is_used:
        parts = {**parts, "vectors": parts["shadow"], "shadow": parts["vectors"]}
    text = render(_COMPARE, **parts, old=old, new=new)
    named = {"sample": operation.sample, "n_results": operation.n_results}
    overlap, sample = (yield Statement(text, named))[0]
    return Comparison(1.0 if overlap is None else overlap, sample, operation.n_results)


@handles(SwitchEmbeddings)
def switch_embeddings(operation: SwitchEmbeddings, context: StoreContext) -> Steps[int]:
    """Exchange the tables while nobody writes; readers wait for the blink of an eye."""
    missing: int = yield Transaction(_switch(operation))
    context.forget_collection(operation.collection)
    return missing


@handles(DropReembedding)
def drop_reembedding(operation: DropReembedding, context: StoreContext) -> Steps[None]:
    """Drop the second table."""
    yield Transaction(_drop(operation.collection))


def _start(operation: StartReembedding) -> Steps[int | None]:
    second = yield from _find(operation.collection, is_locked=True)
    configuration = replace(
        second.in_use.updated({"embedding_function": operation.embedding_function}),
        hnsw=replace(second.in_use.hnsw, space=operation.space or second.in_use.hnsw.space),
    )
    if second.shadow is not None:
        _check_same(second, configuration, operation.dimension)
        yield Statement(_RESUME, {"id": operation.collection.id})
        return second.shadow.generation
    if second.dimension is None:
        # There are no embeddings to be made anew, and none in whose way the new function is.
        named = {"id": operation.collection.id, "configuration": _stored(configuration)}
        yield Statement(_CONFIGURE, {**named, "generation": (yield from _draw(second))})
        return None
    yield from _check_owner(second)
    generation = yield from _draw(second)
    shadow = replace(second.live, generation=generation, is_shadow=True)
    yield Statement(
        _INSERT,
        {
            "id": operation.collection.id,
            "generation": generation,
            "configuration": _stored(configuration),
            "dimension": operation.dimension,
        },
    )
    yield create_shadow(shadow, operation.dimension, configuration.hnsw.space)
    # Writers clear second embeddings, too.
    yield from _copy_grants(second, shadow)
    return generation


def _draw(second: _Second) -> Steps[int]:
    """Draw a generation that nobody knows: not the first, nor one whose table was dropped."""
    draw = render("select nextval({log})", log=second.live.log_literal)
    generation = 1
    while generation == 1:
        generation = (yield Statement(draw))[0][0]
    return generation


def _check_owner(second: _Second) -> Steps[None]:
    """Tell before anything is embedded what only the owner of the tables may do in the end."""
    rows = yield Statement(render(_OWNER, vectors=sql.Literal(second.live.vectors.as_string(None))))
    owner, is_owner = rows[0]
    if not is_owner:
        raise MissingRightError(
            f"only the owner of the tables of collection [{second.name}] can take new embeddings "
            f"into use: connect as {owner}, or as a member of that role"
        )


def _check_same(second: _Second, wanted: CollectionConfiguration, dimension: int) -> None:
    there = second.configuration
    if (there.embedding_function or {}).get("type") != "known":
        raise UniqueConstraintError(
            f"Collection [{second.name}] has second embeddings already, of a function that is not "
            "stored: whether it was the same nobody can tell; drop them first with "
            "drop_reembedding()"
        )
    found = (there.embedding_function, there.hnsw.space, second.spare_dimension)
    if found != (wanted.embedding_function, wanted.hnsw.space, dimension):
        what = "kept from before" if second.is_previous else "being made"
        raise UniqueConstraintError(
            f"Collection [{second.name}] has second embeddings already, {what} with "
            f"{_function_name(there.embedding_function)} ({second.spare_dimension} dimensions, "
            f"{there.hnsw.space}); go on with these, or drop them first with drop_reembedding()"
        )


def _function_name(function: Mapping[str, Any] | None) -> str:
    return str((function or {}).get("name", "a function that is not stored"))


def _switch(operation: SwitchEmbeddings) -> Steps[int]:
    lock_timeout, isolation = (yield Statement(_SETTINGS))[0]
    if isolation != "read committed":
        # The switch could not see what a writer committed while the switch waited for that writer.
        raise InvalidArgumentError(
            "new embeddings can be taken into use in a transaction of the isolation level read "
            f"committed, not {isolation}"
        )
    second = yield from _find(operation.collection, is_locked=True)
    if second.is_used(operation.generation):
        return 0
    if second.is_previous:
        raise UniqueConstraintError(
            f"Collection [{second.name}] has taken other embeddings into use meanwhile"
        )
    yield _limit_locks(LOCK_TIMEOUT)
    yield Statement(
        render("lock table {records} in share row exclusive mode", records=second.live.records)
    )
    missing = yield from _await_missing(second, operation.patience)
    if missing == 0:
        # Nobody stores second embeddings any more, and so none that are no record's come after it.
        yield Statement(
            render("lock table {shadow} in share row exclusive mode", shadow=_spare(second).vectors)
        )
        yield Statement(render(_SWEEP, **_tables(second)))
        yield from _exchange(second, _spare(second))
    # The caller's transaction continues with its own setting.
    yield _limit_locks(lock_timeout)
    return missing


def _await_missing(second: _Second, patience: float) -> Steps[int]:
    """Return how many embeddings are still missing, once there is none or patience is over."""
    parts = _tables(second)
    # Nobody writes any more, so that others than these will not be missing.
    positions = (yield Statement(render(_MISSING, **parts)))[0][0]
    missing = len(positions)
    until = time.monotonic() + patience
    while missing and time.monotonic() < until:
        yield Statement(_PAUSE)
        missing = (yield Statement(render(_STILL_MISSING, **parts), {"positions": positions}))[0][0]
    return missing


def _limit_locks(timeout: str) -> Statement:
    return Statement(render("set local lock_timeout = {value}", value=sql.Literal(timeout)))


def _copy_grants(second: _Second, shadow: CollectionTables) -> Steps[None]:
    """Let whoever reads and writes the embeddings in use do so with those that take their place."""
    grants = yield Statement(_GRANTS, {"old": second.live.vectors_name, "schema": shadow.schema})
    for privileges, grantee, option in grants:
        parts = sql.SQL("grant "), sql.SQL(privileges), sql.SQL(" on "), shadow.vectors
        ending = sql.SQL(" to "), sql.SQL(grantee), sql.SQL(option)
        yield Statement(text_of(sql.Composed([*parts, *ending])))


def _exchange(second: _Second, shadow: CollectionTables) -> Steps[None]:
    yield from _copy_grants(second, shadow)
    yield swap(second.live, shadow, second.name, second.in_use.indexed)
    # What else was configured since the second embeddings were begun stays.
    hnsw = replace(second.in_use.hnsw, space=second.configuration.hnsw.space)
    function = second.configuration.embedding_function
    configuration = replace(second.in_use, hnsw=hnsw, embedding_function=function)
    yield Statement(
        _SWITCH,
        {
            "id": shadow.id,
            "generation": shadow.generation,
            "dimension": second.spare_dimension,
            "configuration": _stored(configuration),
        },
    )
    yield Statement(
        _KEEP,
        {
            "id": shadow.id,
            "generation": second.live.generation,
            "dimension": second.dimension,
            "configuration": _stored(second.in_use),
        },
    )


def _drop(collection: CollectionRef) -> Steps[None]:
    second = yield from _find(collection, is_locked=True)
    if second.shadow is None:
        return
    named = {"id": collection.id, "generation": second.shadow.generation}
    yield (
        Statement(render("drop table if exists {shadow}", shadow=second.shadow.vectors)),
        Statement(_DELETE, named),
    )


def _find(collection: CollectionRef, *, is_locked: bool = False) -> Steps[_Second]:
    named = {
        "id": collection.id,
        "tenant": collection.scope.tenant,
        "database": collection.scope.database,
    }
    if is_locked:
        # By a statement of its own: the next one sees what was done until then.
        yield Statement(_LOCK, named)
    rows = yield Statement(_FIND, named)
    if not rows:
        raise NotFoundError(f"Collection [{collection.id}] does not exist.")
    name, schema, generation, stored, dimension, *other = rows[0]
    in_use = CollectionConfiguration.from_json(orjson.loads(stored))
    live = CollectionTables(schema, collection.id, generation)
    spare_generation, spare_stored, spare_dimension, is_previous = other
    if spare_generation is None:
        return _Second(name, live, in_use, dimension, None, in_use, 0, False)
    shadow = replace(live, generation=spare_generation, is_shadow=True)
    configuration = CollectionConfiguration.from_json(orjson.loads(spare_stored))
    return _Second(
        name, live, in_use, dimension, shadow, configuration, spare_dimension, is_previous
    )


def _spare(second: _Second) -> CollectionTables:
    if second.shadow is None:
        raise NotFoundError(f"Collection [{second.name}] has no second embeddings")
    return second.shadow


def _tables(second: _Second) -> dict[str, sql.Composable]:
    return {
        "records": second.live.records,
        "vectors": second.live.vectors,
        "shadow": _spare(second).vectors,
    }


def _stored(configuration: CollectionConfiguration) -> str:
    return orjson.dumps(configuration.to_stored_json()).decode()


_LOCK = render(
    """
    select from pgchroma.collections as c
    join pgchroma.databases as d on d.id = c.database_id
    where c.id = %(id)s and d.tenant = %(tenant)s and d.name = %(database)s
    for no key update of c
    """
)

_FIND = render(
    """
    select
        c.name, d.schema_name, c.generation, c.configuration::text, c.dimension,
        r.generation, r.configuration::text, r.dimension, r.is_previous
    from pgchroma.collections as c
    join pgchroma.databases as d on d.id = c.database_id
    left join pgchroma.reembeddings as r on r.collection_id = c.id
    where c.id = %(id)s and d.tenant = %(tenant)s and d.name = %(database)s
    """
)

_SETTINGS = render(
    "select current_setting('lock_timeout'), current_setting('transaction_isolation')"
)

_OWNER: LiteralString = """
select pg_get_userbyid(c.relowner)::text, pg_has_role(c.relowner, 'usage')
from pg_catalog.pg_class as c where c.oid = {vectors}::regclass
"""

_GRANTS = render(
    """
    select
        string_agg(g.privilege_type, ', '),
        case g.grantee when 0 then 'public' else g.grantee::regrole::text end,
        case when g.is_grantable then ' with grant option' else '' end
    from pg_catalog.pg_class as c
    join pg_catalog.pg_namespace as n on n.oid = c.relnamespace
    cross join lateral aclexplode(c.relacl) as g
    where c.relname = %(old)s and n.nspname = %(schema)s and g.grantee <> c.relowner
    group by g.grantee, g.is_grantable
    """
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

# One page is read in the order of positions, and no record that is not on it: `offset` keeps
# PostgreSQL from joining all of them.
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

# Writers wait for this: it reads the keys of both tables, and records only for those it finds.
_MISSING: LiteralString = """
select coalesce(array_agg(v.pos), '{{}}')
from (
    select v.pos, v.seq from {vectors} as v
    where not exists (select from {shadow} as s where s.pos = v.pos)
    offset 0
) as v
join {records} as r on r.seq = v.seq and r.pos = v.pos
"""

_STILL_MISSING: LiteralString = """
select count(*) from unnest(%(positions)b::bigint[]) as given (pos)
where not exists (select from {shadow} as s where s.pos = given.pos)
"""

# What was deleted, or embedded again, since its second embedding was made. Writers wait for this,
# too; it reads keys alone.
_SWEEP: LiteralString = """
delete from {shadow} as s where not exists (select from {vectors} as v where v.pos = s.pos)
"""

_PAUSE = render("select pg_sleep(0.01)")

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

_SWITCH = render(
    """
    update pgchroma.collections
    set generation = %(generation)s, dimension = %(dimension)s,
        configuration = %(configuration)s::jsonb, index_error = null
    where id = %(id)s
    """
)

_KEEP = render(
    """
    update pgchroma.reembeddings
    set generation = %(generation)s, dimension = %(dimension)s,
        configuration = %(configuration)s::jsonb, is_previous = true
    where collection_id = %(id)s
    """
)

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
