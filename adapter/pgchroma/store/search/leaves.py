"""The SQL of a search by a dense vector, as a part of a rank expression."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, LiteralString

import numpy as np
from numpy.typing import NDArray
from psycopg import sql

from pgchroma.store.conditions.condition import Condition
from pgchroma.store.encoding.vectors import pack_vector
from pgchroma.store.layout.tables import CollectionTables
from pgchroma.store.running.steps import composed
from pgchroma.store.search.nearest import CHOICE, MATCHING
from pgchroma.store.search.planner import NearestPlan

__all__ = ("DenseLeaf", "EmptyLeaf", "matching_relations")


@dataclass(frozen=True, slots=True, eq=False)
class DenseLeaf:
    """One search by a vector, and how it is executed.

    Attributes:
        query: The vector, of shape ``(dimension,)``.
        plan: How the rows nearest to it are found.
    """

    query: NDArray[np.float32]
    plan: NearestPlan

    def parameters(self, name: int) -> dict[str, Any]:
        """Return the query."""
        return {f"query{name}": pack_vector(self.query)}

    def compose(self, name: int, tables: CollectionTables, condition: Condition) -> sql.Composable:
        """Compose the relation ``leaf<name>``: ``(seq, value, is_live, place)``."""
        return sql.SQL(_LEAF).format(
            leaf=composed(f"leaf{name}"),
            query=composed(f"%(query{name})b"),
            nearest=self.plan.shape.compose(condition.sql),
            records=tables.records,
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


class EmptyLeaf:
    """One search that finds nothing: its query has no term, or there are no embeddings."""

    def parameters(self, name: int) -> dict[str, Any]:
        """Return nothing."""
        return {}

    def compose(self, name: int, tables: CollectionTables, condition: Condition) -> sql.Composable:
        """Compose the relation ``leaf<name>``."""
        return sql.SQL(_NONE).format(leaf=composed(f"leaf{name}"))

    def is_complete(self, name: int) -> sql.Composable:
        """Compose whether it found what it had to, which it always does."""
        return sql.SQL("true")


def matching_relations(
    leaves: Sequence[object], tables: CollectionTables, condition: Condition
) -> list[sql.Composable]:
    """Compose the relations of matching records that dense searches with a condition need."""
    shapes = [leaf.plan.shape for leaf in leaves if isinstance(leaf, DenseLeaf)]
    if not any(shape.has_condition for shape in shapes):
        return []
    adaptive = [shape for shape in shapes if shape.is_adaptive]
    bound = sql.Literal(max((shape.exact_limit for shape in adaptive), default=0))
    # A search that reads all matching records exactly needs all of their positions.
    is_bounded = len(adaptive) == len(shapes)
    matching = sql.SQL(MATCHING).format(
        records=tables.records,
        condition=condition.sql,
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
        left join {records} as r on r.seq = v.seq and r.pos = v.pos
    ) as f
)"""
