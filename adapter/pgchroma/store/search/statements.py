"""The SQL of queries, and the positions of the values in the rows that it returns."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
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
from pgchroma.store.records.columns import MAX_CACHED_BYTES, compose
from pgchroma.store.resolved import ReadyIndexes
from pgchroma.store.running.steps import ComposedSQL, render, text_of

__all__ = (
    "DISTANCE",
    "ID",
    "IS_SEARCHED",
    "MAX_LISTED_IDS",
    "MISSING",
    "QUERY",
    "QueryShape",
    "select_missing_ids",
)

MAX_LISTED_IDS: Final = 10
"""How many missing ids an error message lists."""

QUERY, DISTANCE, IS_SEARCHED, MISSING, ID = range(5)
"""Positions in a row of a query's answer; the requested columns follow the id."""


@dataclass(frozen=True, slots=True)
class QueryShape:
    """Everything that a query's text depends on, except its condition.

    A single query is a parameter of the statement, so PostgreSQL can reuse one plan. Several
    queries are an array, and each element is searched for on its own.

    Attributes:
        indexes: The indexes to search; without segments, the statement is exact.
        limit: How many records each query asks for.
        is_adaptive: Whether the statement counts the matching records, and then chooses.
        has_condition: Whether only some records may be found.
        exact_limit: Up to how many matching records an adaptive statement reads exactly.
        reliable: How many rows an adaptive statement takes from an index.
    """

    tables: CollectionTables
    space: Space
    dimension: int
    indexes: ReadyIndexes
    limit: int
    columns: tuple[str, ...]
    is_single: bool
    is_adaptive: bool
    has_condition: bool
    has_ids: bool
    exact_limit: int = 0
    reliable: int = 0

    def text(self, condition: ComposedSQL) -> bytes:
        """Return the statement's text with a condition on records ``r``."""
        # The text of a small statement takes longer to compose than to execute.
        clause = text_of(condition)
        is_short = len(clause) <= MAX_CACHED_BYTES
        return (_cached_text if is_short else _compose_text)(self, clause)

    @property
    def template(self) -> LiteralString:
        """The template of the statement."""
        if self.indexes.segments:
            return _ADAPTIVE if self.is_adaptive else _SEARCHED
        return _MATCHING if self.has_condition else _ALL

    def clauses(self, condition: bytes) -> dict[str, bytes]:
        """Compose every clause of the templates."""
        distance: LiteralString = _DISTANCES[self.space]
        queries: LiteralString = _ONE_QUERY if self.is_single else _QUERIES
        clauses: dict[str, sql.Composable] = {
            "queries": sql.SQL(queries),
            "distance": sql.SQL(distance),
            "limit": sql.Literal(self.limit),
            "condition": ComposedSQL(condition),
            "missing": missing_ids(self.tables) if self.has_ids else sql.SQL("null"),
        }
        if self.indexes.segments:
            clauses["bound"] = sql.Literal(self.exact_limit)
            branches = self._branches(ComposedSQL(condition))
            clauses["branches"] = sql.SQL("\nunion all\n").join(branches)
        return {name: text_of(clause) for name, clause in clauses.items()}

    def _branches(self, condition: sql.Composable) -> list[sql.Composable]:
        segments = self.indexes.segments
        branches = [self._search_branch(condition, segment) for segment in segments]
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
        if self.is_adaptive:
            count = max(count, self.indexes.ef_search)
        range = position_range("v.pos", segment.first_pos, segment.end_pos)
        if self.space == "cosine" and segment.quantization == "bit":
            # The bit index also has zero vectors, but a separate index finds these.
            range = sql.SQL("{} and vector_norm(v.embedding) > 0").format(range)
        return self._branch(
            _ADAPTIVE_BRANCH if self.is_adaptive else _SEARCHED_BRANCH,
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
        distance: LiteralString = _DISTANCES[self.space]
        choice: LiteralString = "(select is_searched from choice) and " if self.is_adaptive else ""
        joined: sql.Composable = sql.SQL("")
        if self.is_adaptive:
            joined = sql.SQL(_PROBED).format(records=self.tables.records, condition=condition)
        return sql.SQL(template).format(
            vectors=self.tables.vectors,
            distance=sql.SQL(distance),
            choice=sql.SQL(choice),
            joined=joined,
            range=range,
            limit=sql.Literal(self.limit),
            **parts,
        )


def select_missing_ids(tables: CollectionTables) -> bytes:
    """Return a statement that lists those of the parameter ``ids`` that no record has."""
    return render("select {missing}", missing=missing_ids(tables))


def missing_ids(tables: CollectionTables) -> sql.Composable:
    """Compose an array of the first ids that no record has, in the order of the request."""
    return sql.SQL(_MISSING_IDS).format(
        records=tables.records, limit=sql.Literal(MAX_LISTED_IDS + 1)
    )


def _compose_text(shape: QueryShape, condition: bytes) -> bytes:
    return compose(shape.template, shape.tables, shape.columns, **shape.clauses(condition))


_cached_text = lru_cache(maxsize=4096)(_compose_text)

# Chroma's distances are float32, so distances are returned and compared as float32.
_DISTANCES: Final[dict[str, LiteralString]] = {
    "l2": "vector_l2_squared_distance(v.embedding, q.embedding)::real",
    "ip": "(1 + (v.embedding <#> q.embedding))::real",
    # The distance to a zero vector is NaN in pgvector and 1 in Chroma, like that of a right angle.
    "cosine": "coalesce(nullif(v.embedding <=> q.embedding, 'NaN'), 1)::real",
}

_QUERIES: LiteralString = (
    "unnest(%(queries)b::vector[]) with ordinality as q (embedding, n) cross join lateral"
)
_ONE_QUERY: LiteralString = (
    "(select %(queries)b::vector as embedding, 1::bigint as n) as q cross join lateral"
)

# Evaluated once, in the same snapshot as the records.
_MISSING_IDS: LiteralString = """array(
    select requested.id
    from unnest(%(ids)b::text[]) with ordinality as requested (id, n)
    where not exists (select from {records} as r where r.id = requested.id)
    order by requested.n
    limit {limit}
)"""

_ALL: LiteralString = """
select q.n, v.distance, false, {missing}, {columns}
from {queries} (
    select v.pos, v.seq, v.embedding, {distance} as distance
    from {vectors} as v
    order by distance, v.seq
    limit {limit}
) as v
left join {records} as r on r.seq = v.seq and r.pos = v.pos
order by q.n, v.distance, v.seq
"""

_MATCHING: LiteralString = """
with matching as materialized (
    select r.pos from {records} as r where r.pos is not null and {condition}
)
select q.n, v.distance, false, {missing}, {columns}
from {queries} (
    select v.pos, v.seq, v.embedding, {distance} as distance
    from {vectors} as v
    where v.pos = any(array(select pos from matching))
    order by distance, v.seq
    limit {limit}
) as v
join {records} as r on r.seq = v.seq
order by q.n, v.distance, v.seq
"""

_SEARCHED: LiteralString = """
select q.n, v.distance, true, {missing}, {columns}
from {queries} (
    select * from (
        {branches}
    ) as v
    order by v.distance, v.seq
    limit {limit}
) as v
left join {records} as r on r.seq = v.seq and r.pos = v.pos
order by q.n, v.distance, v.seq
"""

# The row of `choice` is returned even if nothing is found: it shows how the query was executed.
_ADAPTIVE: LiteralString = """
with matching as materialized (
    select r.pos from {records} as r where r.pos is not null and {condition} limit {bound} + 1
),
choice as materialized (
    select count(*) > {bound} as is_searched, array_agg(pos) as positions from matching
)
select v.n, v.distance, c.is_searched, {missing}, {columns}
from choice as c
left join (
    select q.n, v.*
    from {queries} (
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
    ) as v
) as v on true
left join {records} as r on r.seq = v.seq and r.pos = v.pos
order by v.n, v.distance, v.seq
"""

_SEARCHED_BRANCH: LiteralString = """(
    select v.pos, v.seq, v.embedding, {distance} as distance
    from {vectors} as v
    {joined}
    where {choice} {range}
    order by {order_by_distance}
    limit {count}
)"""

_ADAPTIVE_BRANCH: LiteralString = """(
    select v.pos, v.seq, v.embedding, {distance} as distance
    from (
        select v.pos, v.seq, v.embedding
        from {vectors} as v
        where {choice} {range}
        order by {order_by_distance}
        limit {reliable}
    ) as v
    {joined}
    limit {count}
)"""

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
