"""The SQL that finds the best sparse vectors among those whose records match a condition.

See `pgchroma.store.search.sparse_blocks`, whose relations it continues.
"""

from __future__ import annotations

from typing import LiteralString

__all__ = ("DESCENT", "INDEXED", "NOT_INDEXED")

INDEXED: LiteralString = """{indexed} as materialized (
    select count(*) as n, array_agg(r.pos) as found
    from (
        select r.{column} as pos from {records} as r
        where r.{column} is not null and {condition}
        limit {max_indexed} + 1
    ) as r
)"""

NOT_INDEXED: LiteralString = """{indexed} as materialized (
    select {max_indexed} + 1 as n, null::bigint[] as found
)"""

# Each step looks at the vectors with sums between two thresholds. They are complete if enough of
# their records match, or if there are no others. A step that would look at too many is not taken.
#
# `every` is a relation of its own, because PostgreSQL would start the workers of a parallel scan
# even if its filter has the result that nothing is read.
DESCENT: LiteralString = """{descent} (step, low, tried, passed, found) as (
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
                select s.block, p.slot, -(subvector(s.v, p.slot, 1) <#> '[1]') as score
                from {sums} as s
                cross join lateral (
                    select binary_quantize(s.v - f.low) & ~binary_quantize(s.v - f.high) as bits
                    offset 0
                ) as b
                cross join lateral ({slots_of_bits}) as p
                where bit_count(b.bits) > 0 and p.slot <= {block_size}
            ) as h
            cross join lateral ({position_of_slot}) as p
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
{every} as materialized (
    select r.{column} as pos from {records} as r where r.{column} is not null and {condition}
),
{matches} as materialized (
    select unnest(g.found) as pos from {indexed} as g where g.n <= {max_indexed}
    union all
    select e.pos from {every} as e
    where (select n from {indexed}) > {max_indexed} and not (select is_complete from {outcome})
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
