"""Joins of the rows that a search has found with their records."""

from __future__ import annotations

from typing import Final, LiteralString

from psycopg import sql

from pgchroma.store.layout.tables import CollectionTables

__all__ = ("BY_POSITION", "are_few", "join_records")

MAX_LOOKED_UP: Final = 1_000
"""How many records are looked up one by one; how more are joined is PostgreSQL's choice.

A look-up takes 2 to 3 µs. To PostgreSQL it costs as much as reading four pages, so it would rather
read all records than look up a hundred: 20,000 short ones take longer than the search itself."""

BY_POSITION: Final[LiteralString] = "r.seq = v.seq and r.pos = v.pos"
"""Joins rows of vectors ``v`` with their records, if they are not outdated."""


def are_few(limit: int | None, *, is_single: bool = True) -> bool:
    """Whether rows are joined with their records one by one.

    Args:
        limit: How many rows a search finds; `None` means all.
        is_single: Whether there is one search. If not, it is not known how many there are.
    """
    return limit is not None and limit <= MAX_LOOKED_UP // (1 if is_single else 10)


def join_records(
    tables: CollectionTables, condition: LiteralString, *, are_few: bool
) -> sql.Composed:
    """Compose a join with the records ``r`` of some rows; a row may have none.

    Args:
        tables: The collection's tables.
        condition: Tells whether a row is of the record ``r``.
        are_few: Whether the records are looked up one by one.
    """
    template = _LOOKED_UP if are_few else _JOINED
    return sql.SQL(template).format(records=tables.records, condition=sql.SQL(condition))


_JOINED: Final[LiteralString] = "left join {records} as r on {condition}"

# `offset 0` keeps PostgreSQL from turning this into another join.
_LOOKED_UP: Final[LiteralString] = """left join lateral (
    select * from {records} as r where {condition} offset 0
) as r on true"""
