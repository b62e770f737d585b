"""The SQL that finds the best vectors with the blocks of a key, exactly.

A statement goes through these relations:

1. `tail`: the vectors in no block that share a term with the query. Each is compared.
2. `outdated`: with BM25, the removed vectors that blocks still count.
3. `listed`: for each block, the rows with the weights of the query's terms. An index finds each of
   them once. `frequencies` counts the vectors with a term.
4. `sums`: for each block, the sum of the weights of the query's terms. One vector of a block has
   the sums of all of its slots, and pgvector computes it.
5. `threshold`: a sum that somewhat more slots exceed than are needed. A few probes find it: each
   counts the slots of all blocks above a sum, and the logarithm of that number falls about evenly.
6. `hits`: the slots above the threshold, and their sums.
7. `candidates`: the vectors in these slots. With a condition, `descent` tries lower and lower
   thresholds until enough of the records match. If too few of them do, or if an index finds few
   matching records in the first place, all vectors whose records match are candidates.

A sum differs from a vector's exact score in its last bits. So sums only nominate vectors, with a
slack, and the scores are computed from the vectors themselves.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, LiteralString

from psycopg import sql

from pgchroma.store.encoding.sparse import BLOCK_SLOTS
from pgchroma.store.layout.sparse import CHUNK_SLOTS
from pgchroma.store.search.sparse_descent import DESCENT, INDEXED, NOT_INDEXED

__all__ = (
    "HAVING_TERM",
    "LEAF",
    "LISTED",
    "NAMES",
    "OUTDATED",
    "TAIL",
    "found",
    "lookups",
    "numbers",
)

NAMES: Final = (
    "removed",
    "tail",
    "outdated",
    "listed",
    "frequencies",
    "sums",
    "wanted",
    "threshold",
    "bound",
    "hits",
    "indexed",
    "descent",
    "budget",
    "outcome",
    "every",
    "matches",
    "candidates",
)
"""The names of the relations."""

MAX_INDEXED: Final = 2_000
"""Up to this many records that an index finds are compared without looking at blocks."""

MAX_TRIED: Final = 2_000
"""Of this many vectors a descent looks at the records, and of ten more for each result."""

TRIED_SHARE: Final = 16
"""A descent looks at the records of at most one in this many vectors. Looking a record up takes
about as long as reading that many of them in their order."""


def found(*, has_condition: bool, has_index: bool) -> list[LiteralString]:
    """Return the templates of the vectors that may be among the best."""
    if not has_condition:
        return [_SUMS, _THRESHOLD, _HITS]
    return [_SUMS, _THRESHOLD, INDEXED if has_index else NOT_INDEXED, DESCENT]


def numbers(limit: int, *, has_condition: bool) -> dict[str, sql.Composable]:
    """Return the numbers in the templates.

    Args:
        limit: How many vectors are wanted.
        has_condition: Whether only some records may be found.
    """
    # A descent looks the record of each up. If a tenth of all records match, these are enough.
    wanted = min(16 * limit, 1_000) if has_condition else limit
    most = wanted // 2 if has_condition else max(16 * limit, 256)
    return {
        "block_size": sql.Literal(BLOCK_SLOTS),
        "chunk": sql.Literal(CHUNK_SLOTS),
        "least": sql.Literal(wanted),
        "most": sql.Literal(most),
        "max_indexed": sql.Literal(MAX_INDEXED),
        "tried_share": sql.Literal(TRIED_SHARE),
        "max_tried": sql.Literal(MAX_TRIED + 10 * limit),
        "fill_threshold": sql.SQL(_FILL).format(value=sql.SQL("x.low")),
        "fill_probe": sql.SQL(_FILL).format(value=sql.SQL("m.x::real")),
        "fill_low": sql.SQL(_FILL).format(value=sql.SQL("x.low")),
        "fill_high": sql.SQL(_FILL).format(value=sql.SQL("l.low")),
        "fill_weight": sql.SQL(_FILL).format(value=sql.SQL("q.weight")),
    }


def lookups(parts: Mapping[str, sql.Composable]) -> dict[str, sql.Composable]:
    """Return the parts of templates that look something up in a block."""
    return {
        "slots_of_bits": sql.SQL(_SLOTS_OF_BITS).format(**parts),
        "position_of_slot": sql.SQL(_POSITION_OF_SLOT).format(**parts),
    }


HAVING_TERM: LiteralString = """
        select coalesce((select n.vectors from {frequencies} as n where n.place = q.place), 0)
            - coalesce((
                select sum(n.vectors) from {counts_of_removed} as n where n.term = q.term
            ), 0)
            + (select count(*) from {tail} as e where {part} <#> q.only <> 0)
            - (select count(*) from {outdated} as e where {part} <#> q.only <> 0)
    """
"""How many vectors have a term of the query."""

# A row of weights is read twice: the weights, up to 64 kB for a term, would be copied for each
# relation that they go through.
LISTED: LiteralString = """{listed} as materialized (
    select b.block, b.mask, n.*
    from {blocks} as b
    cross join lateral (
        select
            array_agg(q.place) as places, array_agg(n.row) as rows, array_agg(n.item) as items,
            array_agg(n.vectors) as vectors, array_agg(n.greatest) as greatest
        from {query} as q
        cross join lateral (
            select
                g.row, g.item, g.vectors[g.item] as vectors, g.greatest[g.item] as greatest
            from (
                select n.*, n.ctid as row, array_position(n.terms, q.term) as item
                from {block_weights} as n
                where n.block = b.block and n.least <= q.term
                order by n.least desc
                limit 1
            ) as g
            where g.item is not null
            offset 0
        ) as n
    ) as n
    where n.places is not null
),
{frequencies} as materialized (
    select n.place, sum(n.vectors) as vectors
    from {listed} as l
    cross join lateral unnest(l.places, l.vectors) as n (place, vectors)
    group by n.place
)"""
"""Where the weights of the terms are, and how many vectors of the blocks have each term."""

# A vector of 8,192 times the same value. Doubling it takes a fifteenth of the time of
# `array_fill(value, array[8192])`, and `offset 0` keeps PostgreSQL from merging the steps.
_FILL: LiteralString = """(
        select h.v || h.v as v
        from (select array_fill({value}, array[64])::vector as v offset 0) as a
        cross join lateral (select a.v || a.v as v offset 0) as b
        cross join lateral (select b.v || b.v as v offset 0) as c
        cross join lateral (select c.v || c.v as v offset 0) as d
        cross join lateral (select d.v || d.v as v offset 0) as e
        cross join lateral (select e.v || e.v as v offset 0) as f
        cross join lateral (select f.v || f.v as v offset 0) as h
    )"""

TAIL: LiteralString = """{removed} as materialized (
    select c.pos from {changes} as c where c.is_removed
),
{tail} as materialized (
    select e.pos, e.seq, {columns}
    from {ones} as w
    cross join (
        select c.pos from {changes} as c
        where not c.is_removed and not exists (select from {removed} as d where d.pos = c.pos)
        offset 0
    ) as c
    cross join lateral (select * from {vectors} as e where e.pos = c.pos offset 0) as e
    where {shares}
)"""

OUTDATED: LiteralString = """{outdated} as materialized (
    select {columns}
    from {ones} as w
    cross join (
        select d.pos from {removed} as d
        where not exists (
            select from {changes} as c where c.pos = d.pos and not c.is_removed
        )
        offset 0
    ) as d
    cross join lateral (select * from {vectors} as e where e.pos = d.pos offset 0) as e
    where {product} <> 0
)"""

# The pieces of the bits' text between the ones, and not one call for each of 8,192 bits.
_SLOTS_OF_BITS: LiteralString = """
        select (sum(octet_length(t.piece) + 1) over (order by t.n))::int as slot
        from string_to_table(b.bits::text, '1') with ordinality as t (piece, n)
    """
"""The slots of the bits ``b`` that are one, and another one behind the last slot."""

_POSITION_OF_SLOT: LiteralString = """
        select c.positions[mod(h.slot - 1, {chunk}) + 1] as pos from {slots} as c
        where c.block = h.block and c.chunk = (h.slot - 1) / {chunk}
        offset 0
    """
"""The position of the vector in a slot ``h``."""

# One aggregate for each block: PostgreSQL might sort the vectors of a grouped one. The addition of
# a mask takes as long as that of a term, so blocks without one do without. The constants are in an
# array, because PostgreSQL copies the row of a relation each time it reads it, and `offset 0` keeps
# it from computing the sum for both cases.
#
# Each operation rounds a sum by less than 2^-24 of the greatest one, and so do those of the exact
# score. The constant is for scores that 1 minus the score makes equal.
_SUMS: LiteralString = """{sums} as materialized (
    select l.block, s.v, s.vectors, s.greatest
    from {listed} as l
    cross join lateral (
        select
            case
                when l.mask is null then sum(n.v) else sum(n.v) + l.mask::vector
            end as v,
            sum(n.vectors) as vectors,
            sum(n.greatest) as greatest
        from (
            select
                w.weights::vector * (array(
                    select {fill_weight} from {weighed} as q order by q.place
                ))[l.places[g.n]] as v,
                l.vectors[g.n] as vectors,
                l.greatest[g.n] * (array(
                    select q.weight from {weighed} as q order by q.place
                ))[l.places[g.n]] as greatest
            from generate_subscripts(l.places, 1) as g (n)
            cross join lateral (
                select n.weights[l.items[g.n]] as weights
                from {block_weights} as n
                where n.ctid = l.rows[g.n]
                offset 0
            ) as w
            offset 0
        ) as n
    ) as s
    where s.greatest is not null
),
{wanted} as materialized (
    select
        {least} + (select count(*) from {removed}) as n,
        coalesce(sum(s.vectors), 0)::float8 as vectors,
        coalesce(max(s.greatest), 0)::float8 as greatest,
        coalesce(max(s.greatest), 0) * 1.2e-7 * ((select count(*) from {query}) + 2) + 1.2e-7
            as slack
    from {sums} as s
)"""

_THRESHOLD: LiteralString = """{threshold} (step, low, high, n_low, n_high) as (
    select
        -- A vector with several of the terms counts more than once. So the first number may be too
        -- large, which costs a probe.
        0, 0::float8, w.greatest, w.vectors, 0.5::float8
    from {wanted} as w
    union all
    select
        t.step + 1,
        case when c.n >= w.n then m.x else t.low end,
        case when c.n >= w.n then t.high else m.x end,
        case when c.n >= w.n then c.n else t.n_low end,
        case when c.n >= w.n then t.n_high else greatest(c.n, 0.5) end
    from {threshold} as t
    cross join {wanted} as w
    cross join lateral (
        -- Every third probe halves, whatever the counts are. The first is lower, because no vector
        -- has the greatest weights of all terms.
        select t.low + (t.high - t.low) * case
            when mod(t.step, 3) = 2 then 0.5
            else least(0.9, greatest(0.1,
                ln(t.n_low / sqrt(w.n::float8 * (w.n + {most}))) / ln(t.n_low / t.n_high)
            )) * case
                when t.step = 0 then (select least(1, 1.2 / sqrt(count(*))) from {query})
                else 1
            end
        end as x
        offset 0
    ) as m
    cross join lateral (
        select sum(bit_count(binary_quantize(s.v - p.v)))::float8 as n
        from (select {fill_probe} as v offset 0) as p
        cross join {sums} as s
    ) as c
    where t.n_low > w.n + {most} and t.high - t.low > w.slack and t.step < 40
),
{bound} as materialized (
    select x.low, {fill_threshold} as v
    from {wanted} as w
    cross join lateral (
        select greatest(t.low - w.slack, 0)::real as low
        from {threshold} as t
        order by t.step desc
        limit 1
    ) as x
)"""

_HITS: LiteralString = """{hits} as materialized (
    select s.block, p.slot, -(subvector(s.v, p.slot, 1) <#> '[1]') as score
    from {bound} as c
    cross join {sums} as s
    cross join lateral (select binary_quantize(s.v - c.v) as bits offset 0) as b
    cross join lateral ({slots_of_bits}) as p
    where bit_count(b.bits) > 0 and p.slot <= {block_size}
),
{candidates} as materialized (
    select e.pos, e.seq, {columns}
    from {hits} as h
    cross join lateral ({position_of_slot}) as p
    cross join lateral (select * from {vectors} as e where e.pos = p.pos offset 0) as e
    where h.score >= coalesce((
            select score from {hits} order by score desc offset (select n - 1 from {wanted}) limit 1
        ), 0) - (select slack from {wanted})
        and not exists (select from {removed} as d where d.pos = e.pos)
)"""

LEAF: LiteralString = """{leaf} as materialized (
    select
        f.seq, f.value,
        exists (select from {records} as r where r.seq = f.seq and r.{column} = f.pos offset 0)
            as is_live,
        (row_number() over (order by f.value, f.seq) - 1)::real as place
    from (
        select e.pos, e.seq, case
                when x.value >= {infinite_from} then 'Infinity'
                when x.value <= -{infinite_from} then '-Infinity'
                else x.value
            end::real as value
        from (
            select * from {candidates}
            union all
            select e.* from {tail} as e {matching}
        ) as e
        cross join {weights} as w
        cross join lateral (select 1 + ({product}) as value offset 0) as x
        order by value, e.seq
        limit {limit}
    ) as f
)"""
"""The relation with the results. A vector that belongs to no record makes it incomplete."""
