"""Columns of records: what is selected for those asked for, and how rows become them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, LiteralString

import numpy as np
from psycopg import sql

from pgchroma.model.records import RecordColumns
from pgchroma.store.encoding.metadata import decode_metadata
from pgchroma.store.encoding.vectors import unpack_vectors
from pgchroma.store.layout.tables import CollectionTables
from pgchroma.store.resolved import ResolvedCollection
from pgchroma.store.running.steps import ComposedSQL, render

__all__ = ("MAX_CACHED_BYTES", "columns_of", "compose", "selected", "shape")

MAX_CACHED_BYTES = 4_000
"""Bytes of clauses above which a statement's text is composed anew each time."""


def columns_of(include: frozenset[str], resolved: ResolvedCollection) -> tuple[str, ...]:
    """List the columns to select: the id, and what was asked for and is there."""
    has_vectors = resolved.dimension is not None
    wanted = (c for c in _COLUMNS if c in include and (has_vectors or c != "embeddings"))
    return ("ids", *wanted)


def selected(columns: tuple[str, ...]) -> sql.Composable:
    """Compose a select list over records ``r`` and vectors ``v``."""
    return sql.SQL(", ").join(sql.SQL(_COLUMNS[column]) for column in columns)


def compose(
    template: LiteralString, tables: CollectionTables, columns: tuple[str, ...], **clauses: bytes
) -> bytes:
    """Compose a statement that selects columns of a collection's records."""
    # Composing a statement takes half as long as a small one runs, and shapes come back; those
    # of very long filters hardly do, and would fill the memory.
    given = tuple(clauses.items())
    is_short = sum(map(len, clauses.values())) <= MAX_CACHED_BYTES
    return (_remembered if is_short else _compose)(template, tables, columns, given)


def shape(
    rows: Sequence[Sequence[Any]],
    columns: tuple[str, ...],
    include: frozenset[str],
    resolved: ResolvedCollection,
) -> RecordColumns:
    """Turn rows of the columns selected into columns of records."""
    values: dict[str, Any] = {
        column: [row[index] for row in rows] for index, column in enumerate(columns)
    }
    if "metadatas" in values:
        values["metadatas"] = [decode_metadata(text) for text in values["metadatas"]]
    if "embeddings" in values and resolved.dimension is not None:
        values["embeddings"] = unpack_vectors(values["embeddings"], resolved.dimension)
    elif "embeddings" in include:
        values["embeddings"] = np.empty((len(rows), 0), dtype=np.float32)
    return RecordColumns(**values)


def _compose(
    template: LiteralString,
    tables: CollectionTables,
    columns: tuple[str, ...],
    clauses: tuple[tuple[str, bytes], ...],
) -> bytes:
    return render(
        template,
        records=tables.records,
        vectors=tables.vectors,
        columns=selected(columns),
        **{name: ComposedSQL(clause) for name, clause in clauses},
    )


_remembered = lru_cache(maxsize=4096)(_compose)

_COLUMNS: dict[str, LiteralString] = {
    "ids": "r.id",
    "documents": "r.document",
    "uris": "r.uri",
    # A record with a uri and no metadata shows an empty object, one without both shows null.
    "metadatas": "coalesce(r.metadata, case when r.uri is not null then '{}'::jsonb end)::text",
    "embeddings": "vector_send(v.embedding)",
}
