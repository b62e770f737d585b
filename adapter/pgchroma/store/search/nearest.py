"""The SQL of the rows of vectors that are nearest to a query.

The relation has the columns ``(pos, seq, embedding, distance)``, and refers to the query as
``q.embedding``. It may have rows that belong to no record any more, and rows that stand for those
that a search has not reached; see `_FILTERED_BRANCH`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, LiteralString

from psycopg import sql

from pgchroma.model.types import Space
from pgchroma.store.layout.segments import (
    Segment,
    candidates,
    order_by_distance,
    position_range,
    ranges_without,
)
from pgchroma.store.layout.tables import CollectionTables
from pgchroma.store.resolved import ReadyIndexes

__all__ = ("CHOICE", "MATCHING", "NearestShape", "matches_to_take")

MATCHES_PER_RESULT: Final = 4
"""How many matching rows a search takes from an index for each of the nearest. With fewer, it would
seldom have to go on after the first rows, and miss more of the nearest."""


def matches_to_take(n_results: int, ef_search: int) -> int:
    """Return how many matching rows a search with a condition takes from each index."""
    return min(MATCHES_PER_RESULT * n_results, ef_search)


@dataclass(frozen=True, slots=True)
class NearestShape:
    """Everything that the text of the relation depends on, except the condition.

    With a condition, it reads the positions of matching records from a relation ``matching``; see
    `MATCHING`. If it is adaptive, it also reads a relation ``choice``; see `CHOICE`.

    Attributes:
        indexes: The indexes to search; without segments, the relation is exact.
        limit: How many rows it returns.
        is_adaptive: Whether the statement counts the matching records, and then chooses.
        has_condition: Whether only some records may be found.
        exact_limit: Up to how many matching records an adaptive statement reads exactly.
        reliable: How many rows a statement with a condition takes from an index.
        proposed: The segments whose nearest embeddings are in a relation ``proposed``, of which
            those that match the condition.
    """

    tables: CollectionTables
    space: Space
    dimension: int
    indexes: ReadyIndexes
    limit: int
    is_adaptive: bool = False
    has_condition: bool = False
    exact_limit: int = 0
    reliable: int = 0
    proposed: frozenset[Segment] = frozenset()

    @property
    def is_filtered(self) -> bool:
        """Whether it searches indexes for the records that match a condition."""
        return self.has_condition and bool(self.indexes.segments)

    def compose(self, condition: sql.Composable) -> sql.Composable:
        """Compose the relation, with a condition on records ``r``."""
        parts = {
            "vectors": self.tables.vectors,
            "distance": self.distance,
            "limit": sql.Literal(self.limit),
        }
        if self.indexes.segments:
            parts["branches"] = sql.SQL("\nunion all\n").join(self._branches(condition))
        return sql.SQL(self._template).format(**parts)

    @property
    def distance(self) -> sql.Composable:
        """The distance of an embedding of vectors ``v`` to the query."""
        distance: LiteralString = _DISTANCES[self.space]
        return sql.SQL(distance)

    def probe(self, condition: sql.Composable) -> sql.Composable:
        """Compose a join that keeps those of vectors ``v`` whose record matches the condition."""
        if not self.is_filtered:
            return sql.SQL("")
        return sql.SQL(_PROBED).format(records=self.tables.records, condition=condition)

    @property
    def _template(self) -> LiteralString:
        if self.indexes.segments:
            return _ADAPTIVE if self.is_adaptive else _SEARCHED
        return _MATCHING if self.has_condition else _ALL

    def _branches(self, condition: sql.Composable) -> list[sql.Composable]:
        segments = self.indexes.segments
        searched = [segment for segment in segments if segment not in self.proposed]
        branches = [self._search_branch(condition, segment) for segment in searched]
        if self.proposed:
            branches.append(sql.SQL(_PROPOSED))
        branches += [
            self._branch(_TAIL, condition, position_range("v.pos", *bounds))
            for bounds in ranges_without(segments)
        ]
        if self.space == "cosine":
            bounds = [
                position_range("v.pos", segment.first_pos, segment.end_pos) for segment in segments
            ]
            covered = sql.SQL("({})").format(sql.SQL(" or ").join(bounds))
            branches.append(self._branch(_ZEROS, condition, covered))
        return branches

    def _search_branch(self, condition: sql.Composable, segment: Segment) -> sql.Composable:
        count = candidates(segment.quantization, self.limit, self.indexes.ef_search)
        if self.is_filtered:
            count = max(count, matches_to_take(self.limit, self.indexes.ef_search))
        range = position_range("v.pos", segment.first_pos, segment.end_pos)
        if self.space == "cosine" and segment.quantization == "bit":
            # The bit index also has zero vectors, but a separate index finds these.
            range = sql.SQL("{} and vector_norm(v.embedding) > 0").format(range)
        return self._branch(
            _FILTERED_BRANCH if self.is_filtered else _SEARCHED_BRANCH,
            condition,
            range,
            order_by_distance=order_by_distance(self.space, segment.quantization, self.dimension),
            count=sql.Literal(count),
            reliable=sql.Literal(self.reliable),
        )

    def _branch(
        self,
        template: LiteralString,
        condition: sql.Composable,
        range: sql.Composable,
        **parts: sql.Composable,
    ) -> sql.Composable:
        choice: LiteralString = "(select is_searched from choice) and " if self.is_adaptive else ""
        return sql.SQL(template).format(
            vectors=self.tables.vectors,
            distance=self.distance,
            choice=sql.SQL(choice),
            joined=self.probe(condition),
            range=range,
            limit=sql.Literal(self.limit),
            **parts,
        )


# Chroma's distances are float32, so distances are returned and compared as float32.
_DISTANCES: Final[dict[str, LiteralString]] = {
    "l2": "vector_l2_squared_distance(v.embedding, q.embedding)::real",
    "ip": "(1 + (v.embedding <#> q.embedding))::real",
    # The distance to a zero vector is NaN in pgvector and 1 in Chroma, like that of a right angle.
    "cosine": "coalesce(nullif(v.embedding <=> q.embedding, 'NaN'), 1)::real",
}

MATCHING: Final[LiteralString] = """matching as materialized (
    select r.pos from {records} as r where r.pos is not null and {condition}{bound}
)"""
"""The positions of the records that match a condition; with a bound, no more than it allows."""

CHOICE: Final[LiteralString] = """choice as materialized (
    select count(*) > {bound} as is_searched, array_agg(pos) as positions from matching
)"""
"""Whether an adaptive statement searches the indexes, and if not, the positions that it reads."""

_ALL: LiteralString = """
    select v.pos, v.seq, v.embedding, {distance} as distance
    from {vectors} as v
    order by distance, v.seq
    limit {limit}
"""

_MATCHING: LiteralString = """
    select v.pos, v.seq, v.embedding, {distance} as distance
    from {vectors} as v
    where v.pos = any(array(select pos from matching))
    order by distance, v.seq
    limit {limit}
"""

_SEARCHED: LiteralString = """
    select * from (
        {branches}
    ) as v
    order by v.distance, v.seq
    limit {limit}
"""

_ADAPTIVE: LiteralString = """
    select * from (
        (
            select v.pos, v.seq, v.embedding, {distance} as distance
            from {vectors} as v
            where not (select is_searched from choice)
                and v.pos = any((select positions from choice)::bigint[])
            order by distance, v.seq
            limit {limit}
        )
        union all
        {branches}
    ) as v
    order by v.distance, v.seq
    limit {limit}
"""

_SEARCHED_BRANCH: LiteralString = """(
    select v.pos, v.seq, v.embedding, {distance} as distance
    from {vectors} as v
    {joined}
    where {choice} {range}
    order by {order_by_distance}
    limit {count}
)"""

# If too few of the rows that the index returned match, those after them may be nearer than rows of
# other branches. A row of no record stands for them, at the distance of the last one. If it is
# among the nearest, the answer is not complete.
_FILTERED_BRANCH: LiteralString = """(
    with near as (
        select v.pos, v.seq, v.embedding, {distance} as distance
        from {vectors} as v
        where {choice} {range}
        order by {order_by_distance}
        limit {reliable}
    ),
    matches as (
        select v.pos, v.seq, v.embedding, v.distance
        from near as v
        {joined}
        limit {count}
    )
    select * from matches
    union all
    select null, null, null, max(v.distance)
    from near as v
    where (select count(*) from matches) < {limit}
    having count(*) > 0
)"""

_PROPOSED: LiteralString = "select * from proposed"

_TAIL: LiteralString = """(
    select v.pos, v.seq, v.embedding, {distance} as distance
    from {vectors} as v
    {joined}
    where {choice} {range}
    order by distance, v.seq
    limit {limit}
)"""

# HNSW cannot index zero vectors by cosine distance. A separate index has all of them.
_ZEROS: LiteralString = """(
    select v.pos, v.seq, v.embedding, {distance} as distance
    from {vectors} as v
    {joined}
    where {choice} vector_norm(v.embedding) = 0 and {range}
    order by v.seq
    limit {limit}
)"""

# Looks up the record of one row of the log at a time, in the order of the index; `offset 0` keeps
# PostgreSQL from turning this into a join, which would test all records for the few in the tail.
_PROBED: LiteralString = """cross join lateral (
        select from {records} as r
        where r.seq = v.seq and r.pos = v.pos and {condition}
        offset 0
    ) as r"""
