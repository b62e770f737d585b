"""The SQL that finds the best vectors with the blocks of a key, exactly.

A statement goes through these relations:

1. `tail`: the vectors in no block that share a term with the query. Each is compared.
2. `outdated`: with BM25, the removed vectors that blocks still count.
3. `sums`: for each block, the sum of the weights of the query's terms. One vector of a block has
   the sums of all of its slots, and pgvector computes it.
4. `threshold`: a sum that somewhat more slots exceed than are needed. A few probes find it: each
   counts the slots of all blocks above a sum, and the logarithm of that number falls about evenly.
5. `hits`: the slots above the threshold, and their sums.
6. `candidates`: the vectors in these slots. With a condition, `descent` tries lower and lower
   thresholds until enough of the records match. If too few of them do, or if an index finds few
   matching records in the first place, all vectors whose records match are candidates.

A sum differs from a vector's exact score in its last bits. So sums only nominate vectors, with a
slack, and the scores are computed from the vectors themselves.
"""

from __future__ import annotations

from typing import Final, LiteralString

from psycopg import sql

from pgchroma.store.encoding.sparse import BLOCK_SLOTS
from pgchroma.store.layout.sparse import CHUNK_SLOTS

__all__ = (
    "HAVING_TERM",
    "LEAF",
    "NAMES",
    "OUTDATED",
    "TAIL",
    "WEIGHTS_OF_TERM",
    "found",
    "numbers",
)

NAMES: Final = (
    "removed",
    "tail",
    "outdated",
    "filled",
    "sums",
    "wanted",
    "threshold",
    "bound",
    "hits",
    "indexed",
    "descent",
    "budget",
    "outcome",
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
    return [_SUMS, _THRESHOLD, _INDEXED if has_index else _NOT_INDEXED, _DESCENT]


def numbers(limit: int, *, has_condition: bool) -> dict[str, sql.Composable]:
    """Return the numbers in the templates.

    Args:
        limit: How many vectors are wanted.
        has_condition: Whether only some records may be found.
    """
    wanted = min(16 * limit, 1_000) if has_condition else limit
    most = wanted if has_condition else max(16 * limit, 256)
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


HAVING_TERM: LiteralString = """
        select coalesce((
                select sum(n.vectors)
                from {blocks} as b
                cross join lateral ({weights_of_term}) as n
            ), 0)
            - coalesce((
                select sum(n.vectors) from {counts_of_removed} as n where n.term = q.term
            ), 0)
            + (select count(*) from {tail} as e where {part} <#> q.only <> 0)
            - (select count(*) from {outdated} as e where {part} <#> q.only <> 0)
    """
"""How many vectors have a term of the query."""

WEIGHTS_OF_TERM: LiteralString = """
            select
                g.vectors[g.place] as vectors, g.greatest[g.place] as greatest,
                g.weights[g.place] as weights
            from (
                select n.*, array_position(n.terms, q.term) as place
                from {block_weights} as n
                where n.block = b.block and n.least <= q.term
                order by n.least desc
                limit 1
            ) as g
            where g.place is not null
            offset 0
        """
"""What block ``b`` has of a term ``q`` of the query."""

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

# One aggregate for each block: PostgreSQL might sort the vectors of a grouped one. The addition of
# a mask takes as long as that of a term, so blocks without one do without.
#
# Each operation rounds a sum by less than 2^-24 of the greatest one, and so do those of the exact
# score. The constant is for scores that 1 minus the score makes equal.
_SUMS: LiteralString = """{filled} as materialized (
    select q.term, q.weight, f.v
    from {weighed} as q
    cross join lateral (select {fill_weight} as v offset 0) as f
),
{sums} as materialized (
    select b.block, s.v, s.greatest
    from {blocks} as b
    cross join lateral (
        select
            case
                when b.mask is null then sum(n.weights::vector * q.v)
                else sum(n.weights::vector * q.v) + b.mask::vector
            end as v,
            sum(n.greatest * q.weight) as greatest
        from {filled} as q
        cross join lateral ({weights_of_term}) as n
    ) as s
    where s.greatest is not null
),
{wanted} as materialized (
    select
        {least} + (select count(*) from {removed}) as n,
        coalesce(max(s.greatest), 0)::float8 as greatest,
        coalesce(max(s.greatest), 0) * 1.2e-7 * ((select count(*) from {query}) + 2) + 1.2e-7
            as slack
    from {sums} as s
)"""

_THRESHOLD: LiteralString = """{threshold} (step, low, high, n_low, n_high) as (
    select
        0, 0::float8, w.greatest, (
            select coalesce(sum(bit_count(binary_quantize(s.v))), 0) from {sums} as s
        )::float8, 0.5::float8
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
        -- Every third probe halves, whatever the counts are.
        select t.low + (t.high - t.low) * case
            when mod(t.step, 3) = 2 then 0.5
            else least(0.9, greatest(0.1,
                ln(t.n_low / sqrt(w.n::float8 * (w.n + {most}))) / ln(t.n_low / t.n_high)
            ))
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

# The pieces of the bits' text between the ones, and not one call for each of 8,192 bits.
_HITS: LiteralString = """{hits} as materialized (
    select s.block, p.slot, -(subvector(s.v, p.slot, 1) <#> '[1]') as score
    from {bound} as c
    cross join {sums} as s
    cross join lateral (select binary_quantize(s.v - c.v)::text as bits offset 0) as b
    cross join lateral (
        select (sum(length(t.piece) + 1) over (order by t.n))::int as slot
        from string_to_table(b.bits, '1') with ordinality as t (piece, n)
    ) as p
    where p.slot <= {block_size}
),
{candidates} as materialized (
    select e.pos, e.seq, {columns}
    from {hits} as h
    cross join lateral (
        select c.positions[mod(h.slot - 1, {chunk}) + 1] as pos from {slots} as c
        where c.block = h.block and c.chunk = (h.slot - 1) / {chunk}
        offset 0
    ) as p
    cross join lateral (select * from {vectors} as e where e.pos = p.pos offset 0) as e
    where h.score >= coalesce((
            select score from {hits} order by score desc offset (select n - 1 from {wanted}) limit 1
        ), 0) - (select slack from {wanted})
        and not exists (select from {removed} as d where d.pos = e.pos)
)"""

_INDEXED: LiteralString = """{indexed} as materialized (
    select count(*) as n, array_agg(r.pos) as found
    from (
        select r.{column} as pos from {records} as r
        where r.{column} is not null and {condition}
        limit {max_indexed} + 1
    ) as r
)"""

_NOT_INDEXED: LiteralString = """{indexed} as materialized (
    select {max_indexed} + 1 as n, null::bigint[] as found
)"""

# Each step looks at the vectors with sums between two thresholds. They are complete if enough of
# their records match, or if there are no others. A step that would look at too many is not taken.
_DESCENT: LiteralString = """{descent} (step, low, tried, passed, found) as (
    select 0, 1e37::real, 0::bigint, 0::bigint, null::bigint[]
    from {indexed}
    where n > {max_indexed}
    union all
    select l.step + 1, x.low, t.n, l.passed + h.passed, h.found
    from {descent} as l
    cross join lateral (
        select case
            when l.step = 0 then (select low from {bound})
            when l.low < 0.1 * (select greatest from {wanted}) then 0
            else l.low * 0.75
        end::real as low
        offset 0
    ) as x
    cross join lateral (select {fill_low} as low, {fill_high} as high offset 0) as f
    cross join lateral (
        select coalesce(sum(bit_count(binary_quantize(s.v - f.low))), 0)::bigint as n
        from {sums} as s
    ) as t
    cross join lateral (
        select
            count(*) filter (
                where h.is_match and h.score > x.low + (select slack from {wanted})
            ) as passed,
            array_agg(h.pos) filter (where h.is_match) as found
        from (
            select p.pos, h.score, coalesce(m.is_match, false) as is_match
            from (
                select s.block, b.slot, -(subvector(s.v, b.slot, 1) <#> '[1]') as score
                from {sums} as s
                cross join lateral (
                    select (sum(length(t.piece) + 1) over (order by t.n))::int as slot
                    from string_to_table(
                        (binary_quantize(s.v - f.low) & ~binary_quantize(s.v - f.high))::text, '1'
                    ) with ordinality as t (piece, n)
                ) as b
                where b.slot <= {block_size}
            ) as h
            cross join lateral (
                select c.positions[mod(h.slot - 1, {chunk}) + 1] as pos from {slots} as c
                where c.block = h.block and c.chunk = (h.slot - 1) / {chunk}
                offset 0
            ) as p
            left join lateral (
                select true as is_match
                from (
                    select e.seq, e.pos from {vectors} as e where e.pos = p.pos offset 0
                ) as e
                cross join lateral (
                    select from {records} as r
                    where r.seq = e.seq and r.{column} = e.pos and {condition}
                    offset 0
                ) as r
                offset 0
            ) as m on true
            where t.n <= (select n from {budget})
        ) as h
    ) as h
    where l.passed < {limit} and l.low > 0 and l.tried <= (select n from {budget})
),
{budget} as materialized (
    select least({max_tried}, coalesce(sum(b.vectors), 0) / {tried_share}) as n from {blocks} as b
),
{outcome} as materialized (
    select coalesce(bool_or(
        l.passed >= {limit} or l.low = 0 and l.tried <= (select n from {budget})
    ), false) as is_complete
    from {descent} as l
),
{matches} as materialized (
    select unnest(g.found) as pos from {indexed} as g where g.n <= {max_indexed}
    union all
    select r.{column} from {records} as r
    where (select n from {indexed}) > {max_indexed} and not (select is_complete from {outcome})
        and r.{column} is not null and {condition}
),
{candidates} as materialized (
    select e.pos, e.seq, {columns}
    from (
        select unnest(l.found) as pos from {descent} as l where (select is_complete from {outcome})
        union all
        select m.pos from {matches} as m
        where not exists (select from {tail} as e where e.pos = m.pos)
    ) as f
    cross join {ones} as w
    cross join lateral (select * from {vectors} as e where e.pos = f.pos offset 0) as e
    where {shares}
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
