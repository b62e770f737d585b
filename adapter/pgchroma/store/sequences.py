"""Advancing sequences that are behind the numbers that were drawn from them.

Logical replication copies rows but not the state of sequences, and so does a blue-green upgrade. A
collection whose sequence is behind would draw positions again that an embedding already has.

A sequence is advanced by drawing from it, and never set. It therefore cannot go back while others
draw from it, and every user who may write may advance it.
"""

from __future__ import annotations

import logging
from typing import Final, LiteralString
from uuid import UUID

from psycopg import sql

from pgchroma.store.context import StoreContext
from pgchroma.store.layout.tables import LAYOUT_VERSION, CollectionTables
from pgchroma.store.resolved import ResolvedCollection
from pgchroma.store.running.steps import Statement, Steps, render

__all__ = ("advance", "advance_all", "advance_once", "advance_segments")

_log = logging.getLogger("pgchroma.catalog")

BATCH: Final = 1_000_000
"""Numbers drawn by one statement."""

PAGE: Final = 500


def advance_once(resolved: ResolvedCollection, context: StoreContext) -> Steps[None]:
    """Advance a collection's sequence if it is behind, once for each connection to the database."""
    id = resolved.tables.id
    if context.is_advanced(id):
        return
    live = resolved.tables if resolved.dimension is not None else None
    yield from advance(resolved.tables, live, resolved.shadow)
    context.record_advanced(id)


def advance(
    tables: CollectionTables, live: CollectionTables | None, shadow: CollectionTables | None
) -> Steps[bool]:
    """Advance a collection's sequence if it is behind; return whether it was.

    Args:
        tables: The collection's tables.
        live: The tables with its embeddings; `None` if it has none.
        shadow: The tables with its pending or previous embeddings; `None` if it has none.
    """
    last_position: LiteralString = ", (select max(pos) from {vectors})"
    vectors = [
        sql.SQL(last_position).format(vectors=version.vectors)
        for version in (live, shadow)
        if version
    ]
    text = render(
        _STATE,
        log=tables.log_literal,
        records=tables.records,
        counts=tables.counts,
        vectors=sql.Composed(vectors),
    )
    # Generations except the first are also drawn from the sequence.
    drawn_generations = [
        version.generation for version in (tables, shadow) if version and version.generation > 1
    ]
    generation = max(drawn_generations, default=0)
    last, drawn = (yield Statement(text, {"id": tables.id, "generation": generation}))[0]
    behind = drawn - last
    if behind <= 0:
        return False
    _log.warning(
        "the sequence of collection %s was %d behind its records, as after logical replication; "
        "advancing it",
        tables.id,
        behind,
    )
    draw = render(_DRAW, log=tables.log_literal)
    while behind > 0:
        rows = yield Statement(draw, {"count": min(behind, BATCH)})
        behind = drawn - rows[0][0]
    return True


def advance_all() -> Steps[int]:
    """Advance the sequences of all collections that are behind; return how many there were.

    Those of collections with an older layout are left alone: their tables are upgraded first.
    """
    advanced, after = 0, UUID(int=0)
    while True:
        rows = yield Statement(
            _COLLECTIONS, {"after": after, "layout": LAYOUT_VERSION, "limit": PAGE}
        )
        for id, schema, generation, has_vectors, shadow_generation in rows:
            tables = CollectionTables(schema, id, generation)
            shadow = (
                None
                if shadow_generation is None
                else CollectionTables(schema, id, shadow_generation, is_shadow=True)
            )
            advanced += yield from advance(tables, tables if has_vectors else None, shadow)
            after = id
        if len(rows) < PAGE:
            return advanced


def advance_segments() -> Steps[None]:
    """Advance the sequence of the ids of segments, if it is behind."""
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
    where c.id > %(after)s and c.layout_version >= %(layout)s
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
