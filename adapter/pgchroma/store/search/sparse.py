"""A search by a sparse vector, and its SQL.

The value of a record is 1 minus the inner product of its vector and the query. A record that shares
no term with the query has no value, whatever the product of the others is.

With BM25, the weight of a term of the query is multiplied by its inverse document frequency:
``ln(1 + (N - n + 0.5) / (n + 0.5))``, where `N` is the number of all records of the collection, and
`n` of those whose vector has the term, whatever the filter is.

A search reads blocks; see `pgchroma.store.search.sparse_blocks`. If a weight of the query is not
plain, or if a first search found a vector that belongs to no record, it reads all vectors instead.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, LiteralString

import numpy as np
from psycopg import sql

from pgchroma.model.float32 import GREATEST, INFINITE_FROM, ZERO_UP_TO
from pgchroma.model.sparse import SparseVector
from pgchroma.store.encoding.number_arrays import pack_numbers
from pgchroma.store.encoding.sparse import PART_DIMENSION, SPARSE_PARTS, are_plain
from pgchroma.store.layout.tables import CollectionTables
from pgchroma.store.running.steps import Statement, composed
from pgchroma.store.search import sparse_blocks
from pgchroma.store.search.leaves import Leaf, LeafShape

__all__ = ("SparseShape", "sparse_leaf", "sparse_settings")

_SETTINGS: Final = (
    # The estimates of these statements are far too high.
    Statement(b"set local jit = off"),
    # The sums of all blocks, 32 kB for each, stay in memory for a million vectors.
    Statement(b"set local work_mem = '64MB'"),
)
_ONE_PLAN: Final = Statement(b"set local plan_cache_mode = force_generic_plan")
# A plan for all values would not use the index of a range: it expects that a third of all records
# match.
_USE_INDEX: Final = Statement(b"set local enable_seqscan = off")


def sparse_settings(
    shapes: Iterable[LeafShape], *, reuses_plan: bool, has_index: bool
) -> tuple[Statement, ...]:
    """Return the settings of a statement that searches by sparse vectors, if it does.

    Args:
        shapes: All searches by vectors.
        reuses_plan: Whether PostgreSQL reuses one plan of the statement for all values.
        has_index: Whether an index finds the records that match the condition.
    """
    are_sparse = [isinstance(shape, SparseShape) for shape in shapes]
    if not any(are_sparse):
        return ()
    if not (reuses_plan and all(are_sparse)):
        return _SETTINGS
    return (*_SETTINGS, _ONE_PLAN, _USE_INDEX) if has_index else (*_SETTINGS, _ONE_PLAN)


def sparse_leaf(
    query: SparseVector,
    limit: int,
    number: int,
    *,
    has_bm25: bool,
    has_condition: bool,
    has_index: bool,
    force_exact: bool,
) -> Leaf:
    """Return a search by a sparse vector with at least one term; see `SparseShape`."""
    reads_blocks = not force_exact and bool(are_plain(np.array(query.values, np.float32)).all())
    parts = tuple(sorted({index // PART_DIMENSION for index in query.indices}))
    if reads_blocks and parts != (0,):
        # PostgreSQL plans one statement for all queries with hashes, and one for those with numbers
        # in a vocabulary.
        parts = tuple(range(len(SPARSE_PARTS)))
    shape = SparseShape(
        parts,
        limit,
        number,
        has_bm25,
        has_condition,
        has_index and has_condition,
        reads_blocks,
    )
    # psycopg would send small numbers in another type than large ones, and prepare a statement for
    # each combination of types.
    terms = pack_numbers(query.indices, "bigint")
    return Leaf(shape, {"terms": terms, "weights": pack_numbers(query.values, "real")})


@dataclass(frozen=True, slots=True)
class SparseShape:
    """The SQL of a search by a sparse vector.

    Attributes:
        parts: The parts of vectors that the query may have terms in.
        limit: How many records have a value.
        number: The number of the key's tables.
        has_bm25: Whether the terms of the query are weighted.
        has_condition: Whether only some records may be found.
        has_index: Whether an index finds the records that match the condition.
        reads_blocks: Whether blocks are read, and not all vectors.
    """

    parts: tuple[int, ...]
    limit: int
    number: int
    has_bm25: bool
    has_condition: bool
    has_index: bool
    reads_blocks: bool

    def compose(
        self, name: int, tables: CollectionTables, condition: sql.Composable
    ) -> sql.Composable:
        """Compose the relation ``leaf<name>``, and those that it needs before it."""
        sparse = tables.sparse(self.number)
        parts: dict[str, sql.Composable] = {
            **{each: composed(f"{each}{name}") for each in _RELATIONS},
            "size": sql.Literal(PART_DIMENSION),
            "ones_of": self._vectors("1"),
            "weighted": self._vectors("q.weight"),
            "columns": sql.SQL(", ").join(
                sql.SQL("e.") + sql.Identifier(part) for part in self._names
            ),
            "product": self._product(),
            "part": self._case(),
            "vectors": sparse.vectors,
            "changes": sparse.changes,
            "blocks": sparse.blocks,
            "slots": sparse.slots,
            "block_weights": sparse.weights,
            "counts_of_removed": sparse.removed,
            "column": sparse.column,
            "records": tables.records,
            "count": tables.record_count,
            "condition": condition,
            "limit": sql.Literal(self.limit),
            "zero_up_to": sql.Literal(ZERO_UP_TO),
            "infinite_from": sql.Literal(INFINITE_FROM),
            "greatest": sql.Literal(GREATEST),
            **self._source_parts(name),
        }
        parts["shares"] = sql.SQL(_SHARES).format(**parts)
        # The vectors are read again to count terms, and are too many to be stored for nothing.
        materialized: LiteralString = "materialized" if self.has_bm25 else "not materialized"
        parts["materialized"] = sql.SQL(materialized)
        matching: LiteralString = _MATCHING if self.has_condition else ""
        parts["matching"] = sql.SQL(matching).format(**parts)
        if self.reads_blocks:
            parts |= sparse_blocks.numbers(self.limit, has_condition=self.has_condition)
            parts |= sparse_blocks.lookups(parts)
        having: LiteralString = sparse_blocks.HAVING_TERM if self.reads_blocks else _HAVING_TERM
        weight: LiteralString = _BM25 if self.has_bm25 else "q.weight"
        parts["having_term"] = sql.SQL(having).format(**parts)
        parts["weight"] = sql.SQL(weight).format(**parts)
        return sql.SQL(",\n").join(
            sql.SQL(relation).format(**parts) for relation in self._relations()
        )

    def is_complete(self, name: int) -> sql.Composable:
        """Compose whether it found what it had to.

        It did not if a vector belongs to no record.
        """
        if not self.reads_blocks:
            return sql.SQL("true")
        text: LiteralString = "(select coalesce(bool_and(is_live), true) from {leaf})"
        return sql.SQL(text).format(leaf=composed(f"leaf{name}"))

    def is_broad(self, name: int) -> sql.Composable:
        """Compose whether the condition's index found too many records to compare them all."""
        if not (self.reads_blocks and self.has_index):
            return sql.SQL("false")
        return sql.SQL("(select n > {most} from {indexed})").format(
            most=sql.Literal(sparse_blocks.MAX_INDEXED), indexed=composed(f"indexed{name}")
        )

    def _relations(self) -> list[LiteralString]:
        """Return the templates of the relations, in their order."""
        query, tail, shared = self._sources()
        if not self.reads_blocks:
            return [query, _ONES, shared, _WEIGHTS, _LEAF]
        return [
            query,
            _ONES,
            tail,
            *([sparse_blocks.OUTDATED] if self.has_bm25 else []),
            sparse_blocks.LISTED,
            _WEIGHTS,
            *sparse_blocks.found(has_condition=self.has_condition, has_index=self.has_index),
            sparse_blocks.LEAF,
        ]

    def _sources(self) -> tuple[LiteralString, LiteralString, LiteralString]:
        """Return the templates of the query, of the vectors in no block, and of all vectors."""
        return _QUERY, sparse_blocks.TAIL, _SHARED

    def _source_parts(self, name: int) -> dict[str, sql.Composable]:
        """Return the parts that only these templates have."""
        return {
            "terms": composed(f"%(terms{name})b"),
            "values": composed(f"%(weights{name})b"),
        }

    @property
    def _names(self) -> list[str]:
        return [SPARSE_PARTS[part] for part in self.parts]

    def _product(self) -> sql.Composable:
        """Compose the negative inner product of a row of vectors ``e`` and a vector ``w``."""
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
        """Compose the part of a row of vectors that a term of the query belongs to."""
        whens = (
            sql.SQL("when {} then e.{}").format(sql.Literal(part), sql.Identifier(name))
            for part, name in zip(self.parts, self._names, strict=True)
        )
        return sql.SQL("case q.part {} end").format(sql.SQL(" ").join(whens))


_RELATIONS: Final = ("query", "ones", "shared", "weighed", "weights", "leaf", *sparse_blocks.NAMES)

# Templates that add to a product put it in parentheses. A weight of zero is stored as the least
# number; its sum with others has to be rounded before 1 is added.
_PRODUCT: LiteralString = "coalesce(e.{part} <#> w.{part}, 0)"

# In the text of a sparsevec the first dimension is 1. Without a term in the part it is null, and is
# not compared.
_VECTOR: LiteralString = """(
        '{{' || (
            string_agg((q.term - {offset}) || ':' || {value}, ',' order by q.term)
            filter (where q.part = {number})
        ) || '}}/{size}'
    )::sparsevec as {name}"""

_BM25: LiteralString = """q.weight * ln(1 + (
        select (t.records - c.having_term + 0.5) / (c.having_term + 0.5)
        from (select ({count})::float8 as records offset 0) as t
        cross join lateral (
            select least(({having_term}), t.records)::float8 as having_term offset 0
        ) as c
    ))"""

_HAVING_TERM: LiteralString = "select count(*) from {shared} as e where {part} <#> q.only <> 0"

_MATCHING: LiteralString = """cross join lateral (
            select from {records} as r where r.seq = e.seq and {condition} offset 0
        ) as r"""

_QUERY: LiteralString = """{query} as materialized (
    select
        g.place::int as place, g.term, g.weight::float8 as weight,
        (g.term / {size})::int as part,
        ('{{' || mod(g.term, {size}) + 1 || ':1}}/{size}')::sparsevec as only
    from unnest({terms}::bigint[], {values}::real[]) with ordinality as g (term, weight, place)
)"""

_ONES: LiteralString = """{ones} as materialized (
    select {ones_of} from {query} as q
)"""

# If the weights of a vector are plain, its product with ones is zero only without a shared term.
_SHARES: LiteralString = """({product} <> 0
            or not e.is_plain and exists (select from {query} as q where {part} <#> q.only <> 0))"""

# `offset 0` keeps PostgreSQL from joining all records before it compares the vectors.
_SHARED: LiteralString = """{shared} as {materialized} (
    select e.seq, {columns}
    from (
        select e.pos, e.seq, {columns}
        from {ones} as w
        cross join {vectors} as e
        where {shares}
        offset 0
    ) as e
    cross join lateral (
        select from {records} as r where r.seq = e.seq and r.{column} = e.pos offset 0
    ) as r
)"""

_WEIGHTS: LiteralString = """{weighed} as materialized (
    select
        q.place, q.term, q.part, case
            when abs(x.weight) <= {zero_up_to} then 0
            else least(greatest(x.weight, -{greatest}), {greatest})::real
        end as weight
    from {query} as q
    cross join lateral (select {weight} as weight offset 0) as x
),
{weights} as materialized (
    select {weighted} from {weighed} as q
)"""

_LEAF: LiteralString = """{leaf} as materialized (
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
        cross join lateral (select 1 + ({product}) as value offset 0) as x
        {matching}
        order by value, e.seq
        limit {limit}
    ) as f
)"""
