"""The statements that compact sparse vectors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, LiteralString

from psycopg import sql

from pgchroma.store.encoding.sparse import PART_DIMENSION, SPARSE_PARTS
from pgchroma.store.layout.sparse import CHUNK_SLOTS, SparseTables
from pgchroma.store.layout.words import TERM
from pgchroma.store.running.sessions import TYPE_OIDS
from pgchroma.store.running.steps import render

__all__ = (
    "ANALYZE",
    "BLOCKS",
    "CHANGES",
    "COUNT",
    "COUNT_REMOVED",
    "DELETE_PAIRS",
    "DELETE_REMOVED",
    "DISSOLVE",
    "FIND",
    "INSERT_BLOCK",
    "INSERT_VECTORS",
    "MASKS",
    "NOTE_ORPHANS",
    "READ_WORDS",
    "SET_ASIDE",
    "SET_MASKS",
    "SPARSEVEC_OID",
    "TAKE",
    "VACUUM",
    "VectorIndex",
    "render_for",
)


@dataclass(frozen=True, slots=True)
class VectorIndex:
    """The tables of the sparse vectors under a key, or of documents.

    Attributes:
        average_length: The number of words of an average document; `None` for a key.
    """

    tables: SparseTables
    average_length: int | None = None


def render_for(template: LiteralString, index: VectorIndex) -> bytes:
    """Put the names of an index's tables into a template."""
    tables, has_text = index.tables, index.average_length is not None
    parts = (
        sql.SQL("sparsevec_send(v.{part}) as {part}").format(part=sql.Identifier(part))
        for part in SPARSE_PARTS
    )
    sizes = (
        sql.SQL("coalesce(pg_column_size(v.{}), 0)").format(sql.Identifier(part))
        for part in SPARSE_PARTS
    )
    return render(
        template,
        records=sql.Identifier(tables.schema, f"records_{tables.id.hex}"),
        column=tables.column,
        vectors=tables.vectors,
        changes=tables.changes,
        blocks=tables.blocks,
        slots=tables.slots,
        chunk=sql.Literal(CHUNK_SLOTS),
        weights=tables.weights,
        removed=tables.removed,
        names=sql.SQL(", ").join(map(sql.Identifier, SPARSE_PARTS)),
        parts=sql.SQL(", ").join(parts),
        bytes=sql.SQL(" + ").join(sizes),
        term=sql.SQL(TERM).format(size=sql.Literal(PART_DIMENSION)),
        seq=sql.SQL("seq, " if has_text else ""),
        v_seq=sql.SQL("v.seq, " if has_text else ""),
    )


SPARSEVEC_OID = render("select t.sparsevec::bigint from {oids} as t", oids=TYPE_OIDS)

VACUUM: LiteralString = "vacuum {changes}"

ANALYZE: Final[tuple[LiteralString, ...]] = (
    "analyze {changes}",
    "analyze {blocks} (block)",
    "analyze {slots} (block, chunk)",
    "analyze {weights} (block, least)",
    "analyze {vectors} (pos, seq)",
)

COUNT: LiteralString = """
select count(*) from (select from {changes} where is_plain limit %(limit)s) as c
"""

CHANGES: LiteralString = """
select
    count(*) filter (where not is_removed and is_plain),
    count(*) filter (where is_removed)
from {changes}
"""

BLOCKS: LiteralString = "select block, vectors, removed, size from {blocks}"

# A vector that was added and removed again was never in a block.
DELETE_PAIRS: LiteralString = """
with pairs as materialized (
    select a.pos
    from {changes} as a
    join {changes} as r on r.pos = a.pos
    where not a.is_removed and r.is_removed
),
cleared as (
    delete from {changes} as c using pairs as p where c.pos = p.pos
)
delete from {vectors} as v using pairs as p where v.pos = p.pos
"""

# Reads each vector once, by its key, however many there are.
TAKE: LiteralString = """
with added as materialized (
    select pos from {changes} where not is_removed and is_plain order by pos limit %(slots)s
),
sized as materialized (
    select v.*, sum(v.size) over (order by v.pos) - v.size as bytes_before
    from added as c
    cross join lateral (
        select v.pos, {bytes} as size, {parts} from {vectors} as v where v.pos = c.pos offset 0
    ) as v
),
taken as materialized (
    select * from sized where bytes_before <= %(bytes)s
),
cleared as (
    delete from {changes} as c using taken as t where c.pos = t.pos and not c.is_removed
)
select pos, {names} from taken order by pos
"""

# A change without a vector or a record is of a document that was deleted in SQL.
READ_WORDS: LiteralString = """
with added as materialized (
    select c.pos, c.seq from {changes} as c
    where not c.is_removed and c.is_plain
        and not exists (select from {vectors} as v where v.pos = c.pos offset 0)
    order by c.pos
    limit %(slots)s
),
sized as materialized (
    select
        c.pos, c.seq, r.lexemes,
        sum(r.size) over (order by c.pos) - r.size as bytes_before
    from added as c
    left join lateral (
        select r.lexemes, pg_column_size(r.lexemes) as size from {records} as r
        where r.seq = c.seq and r.{column} = c.pos
        offset 0
    ) as r on true
),
gone as (
    delete from {changes} as c using sized as s
    where c.pos = s.pos and s.lexemes is null and not c.is_removed
)
select s.pos, s.seq, w.words
from sized as s
cross join lateral (
    select array_send(array_agg(({term} << 9) | cardinality(u.positions))) as words
    from unnest(s.lexemes) as u
) as w
where s.lexemes is not null and s.bytes_before <= %(bytes)s
"""

SET_ASIDE: LiteralString = """
update {changes} set is_plain = false where pos = any(%(positions)b::bigint[]) and not is_removed
"""

INSERT_VECTORS: LiteralString = """
insert into {vectors} (pos, seq, p0, is_plain)
select *, true
from unnest(%(positions)b::bigint[], %(seqs)b::bigint[], %(vectors)b::sparsevec[])
"""

INSERT_BLOCK: LiteralString = """
with made as (
    insert into {blocks} (block, vectors, size)
    select coalesce(max(block) + 1, 0), cardinality(%(positions)b::bigint[]), %(size)s
    from {blocks}
    returning block
),
placed as (
    insert into {slots} (block, chunk, positions)
    select m.block, (p.slot - 1) / {chunk}, array_agg(p.pos order by p.slot)
    from made as m
    cross join unnest(%(positions)b::bigint[]) with ordinality as p (pos, slot)
    group by 1, 2
)
insert into {weights} (block, least, terms, vectors, greatest, weights)
select
    m.block, min(t.term), array_agg(t.term), array_agg(t.vectors), array_agg(t.greatest),
    array_agg(t.weights)
from made as m
cross join unnest(
    %(rows)b::int[], %(terms)b::bigint[], %(counts)b::int[], %(greatest)b::real[],
    %(weights)b::sparsevec[]
) as t (n, term, vectors, greatest, weights)
group by m.block, t.n
"""

DELETE_REMOVED: LiteralString = """
with gone as materialized (
    select r.pos from {changes} as r
    where r.is_removed
    order by r.pos
    limit %(limit)s
),
cleared as (
    delete from {changes} as c using gone as g where c.pos = g.pos
)
delete from {vectors} as v using gone as g where v.pos = g.pos
returning v.pos, {parts}
"""

FIND: LiteralString = """
select t.pos, c.block, (c.chunk * {chunk} + t.slot)::int
from {slots} as c
cross join lateral unnest(c.positions) with ordinality as t (pos, slot)
join unnest(%(positions)b::bigint[]) as g (pos) on g.pos = t.pos
"""

COUNT_REMOVED: LiteralString = """
insert into {removed} (block, term, vectors)
select * from unnest(%(blocks)b::int[], %(terms)b::bigint[], %(vectors)b::int[])
"""

MASKS: LiteralString = """
select block, sparsevec_send(mask) from {blocks} where block = any(%(blocks)b::int[])
"""

SET_MASKS: LiteralString = """
update {blocks} as b set mask = t.mask, removed = t.removed
from unnest(%(blocks)b::int[], %(masks)b::sparsevec[], %(removed)b::int[])
    as t (block, mask, removed)
where b.block = t.block
"""

# Vectors that were removed from a block have no row.
DISSOLVE: LiteralString = """
with gone as (
    delete from {slots} where block = any(%(blocks)b::int[]) returning positions
),
blocks as (
    delete from {blocks} where block = any(%(blocks)b::int[])
),
weights as (
    delete from {weights} where block = any(%(blocks)b::int[])
),
removed as (
    delete from {removed} where block = any(%(blocks)b::int[])
),
added as (
    insert into {changes} (pos, {seq}is_removed, is_plain)
    select v.pos, {v_seq}false, true
    from gone as g
    cross join lateral unnest(g.positions) as p (pos)
    join {vectors} as v on v.pos = p.pos
    returning pos
)
select count(*) from added
"""

# Someone deleted or changed records in SQL. What a writer replaced is among the changes.
NOTE_ORPHANS: LiteralString = """
insert into {changes} (pos, is_removed, is_plain)
select v.pos, true, true
from {vectors} as v
where not exists (
        select from {records} as r where r.seq = v.seq and r.{column} = v.pos
    ) and not exists (
        select from {changes} as c where c.pos = v.pos and c.is_removed
    )
"""
