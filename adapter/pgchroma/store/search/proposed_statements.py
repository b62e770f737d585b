"""The SQL of queries whose candidates come from indexes in memory.

Its rows are those of other queries, see `pgchroma.store.search.statements`, but for the column
``is_searched``: in its place is the least number of candidates that an index has left, or null if
one of the indexes is not this database's.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import LiteralString

from psycopg import sql

from pgchroma.store.layout.segments import position_range
from pgchroma.store.records.columns import MAX_CACHED_BYTES, compose
from pgchroma.store.running.steps import ComposedSQL, text_of
from pgchroma.store.search.nearest import NearestShape
from pgchroma.store.search.record_joins import BY_POSITION, are_few, join_records
from pgchroma.store.search.statements import ONE_QUERY, QUERIES

__all__ = ("LEFT", "ProposedShape")

LEFT = 2
"""The position in a row of the least number of candidates that an index has left."""


@dataclass(frozen=True, slots=True)
class ProposedShape:
    """Everything that the text depends on, except the condition.

    Attributes:
        nearest: How the nearest rows are found.
        columns: The columns of records to return.
        is_single: Whether there is only one query.
        limited: The ranges of the segments whose index does not propose all of its entries.
    """

    nearest: NearestShape
    columns: tuple[str, ...]
    is_single: bool
    limited: tuple[tuple[int, int], ...]

    def text(self, condition: ComposedSQL) -> bytes:
        """Return the statement's text with a condition on records ``r``."""
        clause = text_of(condition)
        is_short = len(clause) <= MAX_CACHED_BYTES
        return (_cached_text if is_short else _compose_text)(self, clause)

    def clauses(self, condition: bytes) -> dict[str, bytes]:
        """Compose the clauses of the template."""
        queries: LiteralString = ONE_QUERY if self.is_single else QUERIES
        positions: LiteralString = _POSITIONS if self.is_single else _POSITIONS_OF_QUERY
        has_embeddings = "embeddings" in self.columns
        clause = ComposedSQL(condition)
        clauses: dict[str, sql.Composable] = {
            "table": sql.Literal(self.nearest.tables.vectors.as_string(None)),
            "queries": sql.SQL(queries),
            "positions": sql.SQL(positions),
            "embedding": sql.SQL("v.embedding" if has_embeddings else "null::vector"),
            "distance": self.nearest.distance,
            "joined": self.nearest.probe(clause),
            "nearest": self.nearest.compose(clause),
            "record": join_records(
                self.nearest.tables,
                BY_POSITION,
                are_few=are_few(self.nearest.limit, is_single=self.is_single),
            ),
            "left": self._left,
        }
        return {name: text_of(clause) for name, clause in clauses.items()}

    @property
    def _left(self) -> sql.Composable:
        """Compose the least number of candidates that an index has left."""
        counts: list[sql.Composable] = [
            sql.SQL(_COUNT).format(position_range("p.pos", *bounds)) for bounds in self.limited
        ]
        # Without such an index, every answer is complete.
        return sql.SQL("least({})").format(
            sql.SQL(", ").join(counts or [sql.Literal(2 * self.nearest.limit)])
        )


def _compose_text(shape: ProposedShape, condition: bytes) -> bytes:
    return compose(_STATEMENT, shape.nearest.tables, shape.columns, **shape.clauses(condition))


_cached_text = lru_cache(maxsize=4096)(_compose_text)

_POSITIONS: LiteralString = "%(positions)b::bigint[]"

_POSITIONS_OF_QUERY: LiteralString = (
    "(%(positions)b::bigint[])[(q.n - 1) * %(count)s + 1 : q.n * %(count)s]"
)

_COUNT: LiteralString = "(select count(*) from proposed as p where {})"

# The tokens are looked up in the snapshot that the embeddings are read in: an index may have been
# made after it, of embeddings that were deleted in between. A table that was restored or truncated
# has another file, and may have other embeddings at the same positions. The row with
# `candidates_left` is returned even if nothing is found: it shows whether the answer is complete.
_STATEMENT: LiteralString = """
with valid as materialized (
    select count(*) = cardinality(%(tokens)s::uuid[]) as is_valid
    from pgchroma.memory_indexes
    where token = any(%(tokens)s::uuid[]) and filenode = pg_relation_filenode({table}::regclass)
)
select q.n, v.distance, v.candidates_left, null, {columns}
from {queries} (
    with proposed as materialized (
        select v.pos, v.seq, {embedding} as embedding, {distance} as distance
        from {vectors} as v
        {joined}
        where (select is_valid from valid) and v.pos = any({positions})
    )
    select n.*, case when (select is_valid from valid) then {left} end as candidates_left
    from (select) as one
    left join ({nearest}) as n on true
) as v
{record}
order by q.n, v.distance, v.seq
"""
