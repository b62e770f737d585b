"""Searches by vectors as parts of a rank expression, and the SQL of those by dense vectors."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, LiteralString, Protocol

import numpy as np
from numpy.typing import NDArray
from psycopg import sql

from pgchroma.store.encoding.vectors import pack_vector
from pgchroma.store.layout.tables import CollectionTables
from pgchroma.store.running.steps import composed
from pgchroma.store.search.nearest import CHOICE, MATCHING
from pgchroma.store.search.planner import NearestPlan
from pgchroma.store.search.record_joins import BY_POSITION, are_few, join_records

__all__ = ("EMPTY_LEAF", "DenseShape", "Leaf", "LeafShape", "dense_leaf", "matching_relations")


class LeafShape(Protocol):
    """Everything that the SQL of a search by a vector depends on, except the condition."""

    def compose(
        self, name: int, tables: CollectionTables, condition: sql.Composable
    ) -> sql.Composable:
        """Compose the relation ``leaf<name>``, and those that it needs before it.

        Its columns are ``(seq, value, is_live, place)``. The condition is one on records ``r``.
        """

    def is_complete(self, name: int) -> sql.Composable:
        """Compose whether the search found what it had to."""

    def is_broad(self, name: int) -> sql.Composable:
        """Compose whether the condition's index found too many records to be of use."""


@dataclass(frozen=True, slots=True, eq=False)
class Leaf:
    """One search by a vector.

    Attributes:
        shape: Its SQL.
        values: The values of its placeholders, by their names without the name of the search.
    """

    shape: LeafShape
    values: Mapping[str, Any]

    def parameters(self, name: int) -> dict[str, Any]:
        """Return the values by the full names of their placeholders."""
        return {f"{placeholder}{name}": value for placeholder, value in self.values.items()}


def dense_leaf(query: NDArray[np.float32], plan: NearestPlan) -> Leaf:
    """Return a search by a vector of shape ``(dimension,)``, with the plan of its execution."""
    return Leaf(DenseShape(plan), {"query": pack_vector(query)})


@dataclass(frozen=True, slots=True)
class DenseShape:
    """The SQL of a search by a dense vector.

    Attributes:
        plan: How the rows nearest to it are found.
    """

    plan: NearestPlan

    def compose(
        self, name: int, tables: CollectionTables, condition: sql.Composable
    ) -> sql.Composable:
        """Compose the relation ``leaf<name>``."""
        shape = self.plan.shape
        return sql.SQL(_LEAF).format(
            leaf=composed(f"leaf{name}"),
            query=composed(f"%(query{name})b"),
            nearest=shape.compose(condition),
            joined=join_records(tables, BY_POSITION, are_few=are_few(shape.limit)),
        )

    def is_complete(self, name: int) -> sql.Composable:
        """Compose whether it found what it had to.

        It did not if a row of vectors belongs to no record, or if an index returned too few.
        """
        is_enough: LiteralString = "count(*) >= {limit}"
        if self.plan.shape.is_adaptive:
            is_enough = "(not (select is_searched from choice) or count(*) >= {limit})"
        elif self.plan.strategy == "exact":
            is_enough = "true"
        return sql.SQL(
            "(select coalesce(bool_and(is_live), true) and {enough} from {leaf})"
        ).format(
            enough=sql.SQL(is_enough).format(limit=sql.Literal(self.plan.shape.limit)),
            leaf=composed(f"leaf{name}"),
        )

    def is_broad(self, name: int) -> sql.Composable:
        """Compose whether the condition's index found too many records, which is not asked."""
        return sql.SQL("false")


class _EmptyShape:
    """The SQL of a search that finds nothing."""

    def compose(
        self, name: int, tables: CollectionTables, condition: sql.Composable
    ) -> sql.Composable:
        """Compose the relation ``leaf<name>``."""
        return sql.SQL(_NONE).format(leaf=composed(f"leaf{name}"))

    def is_complete(self, name: int) -> sql.Composable:
        """Compose whether it found what it had to, which it always does."""
        return sql.SQL("true")

    def is_broad(self, name: int) -> sql.Composable:
        """Compose whether the condition's index found too many records; it is not used."""
        return sql.SQL("false")


EMPTY_LEAF: Final = Leaf(_EmptyShape(), {})
"""A search that finds nothing: its query has no term, or there are no embeddings."""


def matching_relations(
    leaves: Iterable[LeafShape], tables: CollectionTables, condition: sql.Composable
) -> list[sql.Composable]:
    """Compose the relations of matching records that dense searches with a condition need."""
    shapes = [leaf.plan.shape for leaf in leaves if isinstance(leaf, DenseShape)]
    if not any(shape.has_condition for shape in shapes):
        return []
    adaptive = [shape for shape in shapes if shape.is_adaptive]
    bound = sql.Literal(max((shape.exact_limit for shape in adaptive), default=0))
    # A search that reads all matching records exactly needs all of their positions.
    is_bounded = len(adaptive) == len(shapes)
    matching = sql.SQL(MATCHING).format(
        records=tables.records,
        condition=condition,
        bound=sql.SQL(" limit {} + 1").format(bound) if is_bounded else sql.SQL(""),
    )
    return [matching, sql.SQL(CHOICE).format(bound=bound)] if adaptive else [matching]


_NONE: LiteralString = """{leaf} as materialized (
    select null::bigint as seq, null::real as value, null::real as place, true as is_live
    where false
)"""

_LEAF: LiteralString = """{leaf} as materialized (
    select f.seq, f.value, f.is_live,
        (row_number() over (order by f.value, f.seq) - 1)::real as place
    from (
        select v.seq, v.distance as value, r.seq is not null as is_live
        from (select {query}::vector as embedding) as q
        cross join lateral ({nearest}) as v
        {joined}
    ) as f
)"""
