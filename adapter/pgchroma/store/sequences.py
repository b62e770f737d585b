"""Sequences that are behind what was drawn from them, brought forward.

Logical replication copies rows and not the state of sequences, and so does a blue-green upgrade.
A collection whose sequence is behind would draw positions again that an embedding has already.

A sequence is advanced by drawing from it, never set: so it cannot go back while others draw, and
whoever may write may do it.
"""

from __future__ import annotations

import logging
from typing import Final, LiteralString
from uuid import UUID

from psycopg import sql

from pgchroma.store.context import StoreContext
from pgchroma.store.layout.tables import CollectionTables
from pgchroma.store.resolved import ResolvedCollection
from pgchroma.store.running.steps import Statement, Steps, render

__all__ = ("advance", "advance_all", "advance_once", "advance_segments")

_log = logging.getLogger("pgchroma.catalog")

AT_ONCE: Final = 1_000_000
"""Numbers drawn by one statement."""

PAGE: Final = 500


def advance_once(resolved: ResolvedCollection, context: StoreContext) -> Steps[None]:
    """Look at the sequence of a collection, unless that was done since the last connection."""
    id = resolved.tables.id
    if context.is_advanced(id):
        return
    live = resolved.tables if resolved.dimension is not None else None
    yield from advance(resolved.tables, live, resolved.shadow)
    context.record_advanced(id)


def advance(
    tables: CollectionTables, live: CollectionTables | None, shadow: CollectionTables | None
) -> Steps[bool]:
    """Advance a collection's sequence if it is behind; say whether it was.

    Args:
        tables: The collection's.
        live: Those with its embeddings; None: it has none.
        shadow: Those with its second embeddings; None: it has none.
    """
    last_position: LiteralString = ", (select max(pos) from {vectors})"
    vectors = [
        sql.SQL(last_position).format(vectors=each.vectors) for each in (live, shadow) if each
    ]
    text = render(
        _STATE,
        log=tables.log_literal,
        records=tables.records,
        counts=tables.counts,
        vectors=sql.Composed(vectors),
    )
    # All but the first were drawn from the sequence, too.
    drawn_generations = [
        each.generation for each in (tables, shadow) if each and each.generation > 1
    ]
    generation = max(drawn_generations, default=0)
    last, drawn = (yield Statement(text, {"id": tables.id, "generation": generation}))[0]
    behind = drawn - last
    if behind <= 0:
        return False
    _log.warning(
        "the sequence of collection %s was %d behind its records, as after logical replication; "
        "it is advanced",
        tables.id,
        behind,
    )
    draw = render(_DRAW, log=tables.log_literal)
    while behind > 0:
        rows = yield Statement(draw, {"count": min(behind, AT_ONCE)})
        behind = drawn - rows[0][0]
    return True


def advance_all() -> Steps[int]:
    """Advance the sequences of all collections that are behind; return how many were."""
    advanced, after = 0, UUID(int=0)
    while True:
        rows = yield Statement(_COLLECTIONS, {"after": after, "limit": PAGE})
        for id, schema, generation, has_vectors, spare_generation in rows:
            tables = CollectionTables(schema, id, generation)
            shadow = (
                None
                if spare_generation is None
                else CollectionTables(schema, id, spare_generation, is_shadow=True)
            )
            advanced += yield from advance(tables, tables if has_vectors else None, shadow)
            after = id
        if len(rows) < PAGE:
            return advanced


def advance_segments() -> Steps[None]:
    """Advance the sequence that numbers segments."""
    yield Statement(_SEGMENTS)


_STATE: LiteralString = """
select
    coalesce(pg_sequence_last_value({log}::regclass), 0)::bigint,
    greatest(
        (select max(seq) from {records}),
        (select max(place) from {counts}),
        %(generation)s::bigint,
        (select max(end_pos) - 1 from pgchroma.segments where collection_id = %(id)s){vectors}
    )
"""

_DRAW: LiteralString = (
    "select max(nextval({log})) from generate_series(1, %(count)s::bigint) as drawn"
)

_COLLECTIONS = render(
    """
    select c.id, d.schema_name, c.generation, c.dimension is not null, r.generation
    from pgchroma.collections as c
    join pgchroma.databases as d on d.id = c.database_id
    left join pgchroma.reembeddings as r on r.collection_id = c.id
    where c.id > %(after)s
    order by c.id
    limit %(limit)s
    """
)

_SEGMENTS = render(
    """
    select count(nextval(of_segments.name))
    from (
        select pg_get_serial_sequence('pgchroma.segments', 'id')::regclass as name
    ) as of_segments
    cross join lateral generate_series(
        1,
        (select max(id) from pgchroma.segments)
            - coalesce(pg_sequence_last_value(of_segments.name), 0)
    )
    """
)
