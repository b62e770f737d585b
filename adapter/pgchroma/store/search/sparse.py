"""The SQL of a search by a sparse vector: every vector that shares a term with it is compared.

The value of a record is 1 minus the inner product of its vector and the query. A record that shares
no term with the query has no value, whatever the product of the others is.

With BM25, the weight of a term of the query is multiplied by its inverse document frequency:
``ln(1 + (N - n + 0.5) / (n + 0.5))``, where `N` is the number of all records of the collection, and
`n` of those whose vector has the term, whatever the filter is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import LiteralString

from psycopg import sql

from pgchroma.model.float32 import GREATEST, INFINITE_FROM, ZERO_UP_TO
from pgchroma.model.sparse import SparseVector
from pgchroma.store.encoding.sparse import PART_DIMENSION, SPARSE_PARTS
from pgchroma.store.layout.tables import CollectionTables, sparse_column
from pgchroma.store.running.steps import composed
from pgchroma.store.search.leaves import Leaf

__all__ = ("SparseShape", "sparse_leaf")


def sparse_leaf(
    query: SparseVector, limit: int, number: int, *, has_bm25: bool, has_condition: bool
) -> Leaf:
    """Return a search by a sparse vector with at least one term; see `SparseShape`."""
    parts = tuple(sorted({index // PART_DIMENSION for index in query.indices}))
    shape = SparseShape(parts, limit, number, has_bm25, has_condition)
    weights = [float(weight) for weight in query.values]
    return Leaf(shape, {"terms": query.indices, "weights": weights})


@dataclass(frozen=True, slots=True)
class SparseShape:
    """The SQL of a search by a sparse vector.

    Attributes:
        parts: The parts of vectors that the query has terms in.
        limit: How many records have a value.
        number: The number of the key's table.
        has_bm25: Whether the terms of the query are weighted.
        has_condition: Whether only some records may be found.
    """

    parts: tuple[int, ...]
    limit: int
    number: int
    has_bm25: bool
    has_condition: bool

    def compose(
        self, name: int, tables: CollectionTables, condition: sql.Composable
    ) -> sql.Composable:
        """Compose the relation ``leaf<name>``, and those that it needs before it."""
        return sql.SQL(_LEAF).format(
            **{each: composed(f"{each}{name}") for each in _RELATIONS},
            terms=composed(f"%(terms{name})b"),
            values=composed(f"%(weights{name})b"),
            size=sql.Literal(PART_DIMENSION),
            ones_of=self._vectors("1"),
            weighted=self._vectors("q.weight"),
            columns=sql.SQL(", ").join(sql.SQL("e.") + sql.Identifier(p) for p in self._names),
            product=self._product(),
            part=self._case(),
            weight=sql.SQL(_BM25 if self.has_bm25 else "q.weight").format(
                shared=composed(f"shared{name}"), part=self._case(), count=tables.record_count
            ),
            table=tables.sparse(self.number),
            records=tables.records,
            column=sparse_column(self.number),
            matching=sql.SQL(_MATCHING if self.has_condition else "").format(
                records=tables.records, condition=condition
            ),
            limit=sql.Literal(self.limit),
            zero_up_to=sql.Literal(ZERO_UP_TO),
            infinite_from=sql.Literal(INFINITE_FROM),
            greatest=sql.Literal(GREATEST),
        )

    def is_complete(self, name: int) -> sql.Composable:
        """Compose whether it found what it had to, which it always does."""
        return sql.SQL("true")

    @property
    def _names(self) -> list[str]:
        return [SPARSE_PARTS[part] for part in self.parts]

    def _product(self) -> sql.Composable:
        """Compose the negative inner product of an entry ``e`` and a vector ``w``."""
        parts = (sql.SQL(_PRODUCT).format(part=sql.Identifier(name)) for name in self._names)
        return sql.SQL(" + ").join(parts)

    def _vectors(self, value: LiteralString) -> sql.Composable:
        """Compose a vector of the query for each part that it has terms in."""
        return sql.SQL(", ").join(
            sql.SQL(_VECTOR).format(
                value=sql.SQL(value),
                number=sql.Literal(part),
                size=sql.Literal(PART_DIMENSION),
                offset=sql.Literal(part * PART_DIMENSION - 1),
                name=sql.Identifier(name),
            )
            for part, name in zip(self.parts, self._names, strict=True)
        )

    def _case(self) -> sql.Composable:
        """Compose the part of an entry that a term of the query belongs to."""
        whens = (
            sql.SQL("when {} then e.{}").format(sql.Literal(part), sql.Identifier(name))
            for part, name in zip(self.parts, self._names, strict=True)
        )
        return sql.SQL("case q.part {} end").format(sql.SQL(" ").join(whens))


_RELATIONS = ("query", "ones", "shared", "weighed", "weights", "leaf")

_PRODUCT: LiteralString = "coalesce(e.{part} <#> w.{part}, 0)"

# In the text of a sparsevec the first dimension is 1.
_VECTOR: LiteralString = """(
        '{{' || coalesce(
            string_agg((q.term - {offset}) || ':' || {value}, ',' order by q.term)
            filter (where q.part = {number}), ''
        ) || '}}/{size}'
    )::sparsevec as {name}"""

_BM25: LiteralString = """q.weight * ln(1 + (
        select (t.records - c.having_term + 0.5) / (c.having_term + 0.5)
        from (select ({count})::float8 as records offset 0) as t
        cross join lateral (
            select least(count(*), t.records)::float8 as having_term
            from {shared} as e
            where {part} <#> q.only <> 0
        ) as c
    ))"""

_MATCHING: LiteralString = """cross join lateral (
            select from {records} as r where r.seq = e.seq and {condition} offset 0
        ) as r"""

# `offset 0` keeps PostgreSQL from joining all records before it compares the vectors. If no value
# of an entry is negative, its product with ones is zero only without a shared term.
_LEAF: LiteralString = """{query} as materialized (
    select
        g.term, g.weight::float8 as weight, (g.term / {size})::int as part,
        ('{{' || mod(g.term, {size}) + 1 || ':1}}/{size}')::sparsevec as only
    from unnest({terms}::bigint[], {values}::real[]) as g (term, weight)
),
{ones} as materialized (
    select {ones_of} from {query} as q
),
{shared} as materialized (
    select e.seq, {columns}
    from (
        select e.pos, e.seq, {columns}
        from {ones} as w
        cross join {table} as e
        where {product} <> 0
            or e.is_signed and exists (select from {query} as q where {part} <#> q.only <> 0)
        offset 0
    ) as e
    cross join lateral (
        select from {records} as r where r.seq = e.seq and r.{column} = e.pos offset 0
    ) as r
),
{weighed} as materialized (
    select
        q.term, q.part, case
            when abs(x.weight) <= {zero_up_to} then 0
            else least(greatest(x.weight, -{greatest}), {greatest})::real
        end as weight
    from {query} as q
    cross join lateral (select {weight} as weight offset 0) as x
),
{weights} as materialized (
    select {weighted} from {weighed} as q
),
{leaf} as materialized (
    select
        f.seq, f.value, true as is_live,
        (row_number() over (order by f.value, f.seq) - 1)::real as place
    from (
        select e.seq, case
                when x.value >= {infinite_from} then 'Infinity'
                when x.value <= -{infinite_from} then '-Infinity'
                else x.value
            end::real as value
        from {shared} as e
        cross join {weights} as w
        cross join lateral (select 1 + {product} as value offset 0) as x
        {matching}
        order by value, e.seq
        limit {limit}
    ) as f
)"""
