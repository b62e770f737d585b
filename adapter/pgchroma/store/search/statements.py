"""The SQL of queries, and the positions of the values in the rows that it returns."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Final, LiteralString

from psycopg import sql

from pgchroma.store.layout.tables import CollectionTables
from pgchroma.store.records.columns import MAX_CACHED_BYTES, compose
from pgchroma.store.running.steps import ComposedSQL, Rows, render, text_of
from pgchroma.store.search.nearest import CHOICE, MATCHING, NearestShape
from pgchroma.store.search.record_joins import BY_POSITION, are_few, join_records

__all__ = (
    "DISTANCE",
    "ID",
    "IS_SEARCHED",
    "MAX_LISTED_IDS",
    "MISSING",
    "ONE_QUERY",
    "QUERIES",
    "QUERY",
    "QueryShape",
    "ids_of",
    "least_found",
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
        nearest: How the nearest rows are found.
        columns: The columns of records to return.
        is_single: Whether there is only one query.
        has_ids: Whether the ids that no record has are listed.
    """

    nearest: NearestShape
    columns: tuple[str, ...]
    is_single: bool
    has_ids: bool

    def text(self, condition: ComposedSQL) -> bytes:
        """Return the statement's text with a condition on records ``r``."""
        # The text of a small statement takes longer to compose than to execute.
        clause = text_of(condition)
        is_short = len(clause) <= MAX_CACHED_BYTES
        return (_cached_text if is_short else _compose_text)(self, clause)

    @property
    def template(self) -> LiteralString:
        """The template of the statement."""
        if self.nearest.is_adaptive:
            return _ADAPTIVE
        if self.nearest.indexes.segments:
            return _SEARCHED
        return _MATCHING if self.nearest.has_condition else _ALL

    def clauses(self, condition: bytes) -> dict[str, bytes]:
        """Compose every clause of the templates."""
        queries: LiteralString = ONE_QUERY if self.is_single else QUERIES
        tables, clause = self.nearest.tables, ComposedSQL(condition)
        bound = sql.Literal(self.nearest.exact_limit)
        limited = (
            sql.SQL(" limit {} + 1").format(bound) if self.nearest.is_adaptive else sql.SQL("")
        )
        clauses: dict[str, sql.Composable] = {
            "queries": sql.SQL(queries),
            "nearest": self.nearest.compose(clause),
            "matching": sql.SQL(MATCHING).format(
                records=tables.records, condition=clause, bound=limited
            ),
            "choice": sql.SQL(CHOICE).format(bound=bound),
            "joined": join_records(
                tables,
                BY_POSITION,
                are_few=are_few(self.nearest.limit, is_single=self.is_single),
            ),
            "missing": missing_ids(tables) if self.has_ids else sql.SQL("null"),
        }
        return {name: text_of(clause) for name, clause in clauses.items()}


def least_found(rows: Rows, queries: int) -> int | None:
    """Return the least number of records that one of the queries has found.

    `None` means that a row of vectors belongs to no record.
    """
    counts = [0] * (queries + 1)
    for row in rows:
        if row[DISTANCE] is None:
            continue
        if row[ID] is None:
            return None
        counts[row[QUERY]] += 1
    return min(counts[1:])


def ids_of(rows: Rows) -> list[str]:
    """Return the ids in the answers of all queries."""
    return [row[ID] for row in rows if row[DISTANCE] is not None]


def select_missing_ids(tables: CollectionTables) -> bytes:
    """Return a statement that lists those of the parameter ``ids`` that no record has."""
    return render("select {missing}", missing=missing_ids(tables))


def missing_ids(tables: CollectionTables) -> sql.Composable:
    """Compose an array of the first ids that no record has, in the order of the request."""
    return sql.SQL(_MISSING_IDS).format(
        records=tables.records, limit=sql.Literal(MAX_LISTED_IDS + 1)
    )


def _compose_text(shape: QueryShape, condition: bytes) -> bytes:
    return compose(shape.template, shape.nearest.tables, shape.columns, **shape.clauses(condition))


_cached_text = lru_cache(maxsize=4096)(_compose_text)

QUERIES: LiteralString = (
    "unnest(%(queries)b::vector[]) with ordinality as q (embedding, n) cross join lateral"
)
ONE_QUERY: LiteralString = (
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
from {queries} ({nearest}) as v
{joined}
order by q.n, v.distance, v.seq
"""

_MATCHING: LiteralString = """
with {matching}
select q.n, v.distance, false, {missing}, {columns}
from {queries} ({nearest}) as v
{joined}
order by q.n, v.distance, v.seq
"""

_SEARCHED: LiteralString = """
select q.n, v.distance, true, {missing}, {columns}
from {queries} ({nearest}) as v
{joined}
order by q.n, v.distance, v.seq
"""

# The row of `choice` is returned even if nothing is found: it shows how the query was executed.
_ADAPTIVE: LiteralString = """
with {matching},
{choice}
select v.n, v.distance, c.is_searched, {missing}, {columns}
from choice as c
left join (
    select q.n, v.*
    from {queries} ({nearest}) as v
) as v on true
{joined}
order by v.n, v.distance, v.seq
"""
