"""Columns of records: the select list of the requested columns, and the conversion of rows."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, LiteralString

import numpy as np
from psycopg import sql

from pgchroma.model.records import RecordColumns
from pgchroma.store.encoding.metadata import decode_metadata
from pgchroma.store.encoding.sparse import decode_sparse
from pgchroma.store.encoding.vectors import unpack_vectors
from pgchroma.store.layout.tables import CollectionTables
from pgchroma.store.resolved import ResolvedCollection
from pgchroma.store.running.steps import ComposedSQL, render

__all__ = ("MAX_CACHED_BYTES", "columns_from_rows", "columns_of", "compose", "selected")

MAX_CACHED_BYTES = 4_000
"""Maximum size of the clauses of a statement whose composed text is cached."""


def columns_of(include: frozenset[str], resolved: ResolvedCollection) -> tuple[str, ...]:
    """Return the columns to select: the ids, and the requested columns that the collection has.

    With the metadata come the sparse vectors of indexed keys, two columns for each.
    """
    has_vectors = resolved.dimension is not None
    requested = (
        column
        for column in _EXPRESSIONS
        if column in include and (has_vectors or column != "embeddings")
    )
    numbers = resolved.filterable.sparse_numbers().values() if "metadatas" in include else ()
    sparse = (f"{kind}{number}" for number in numbers for kind in _SPARSE)
    return ("ids", *requested, *sparse)


def selected(columns: tuple[str, ...], tables: CollectionTables) -> sql.Composable:
    """Compose a select list over records ``r`` and vectors ``v``."""
    return sql.SQL(", ").join(_expression(column, tables) for column in columns)


def _expression(column: str, tables: CollectionTables) -> sql.Composable:
    if column in _EXPRESSIONS:
        return sql.SQL(_EXPRESSIONS[column])
    kind, _, number = column.partition(":")
    sparse = tables.sparse(int(number))
    return sql.SQL(_SPARSE[f"{kind}:"]).format(table=sparse.vectors, column=sparse.column)


def compose(
    template: LiteralString, tables: CollectionTables, columns: tuple[str, ...], **clauses: bytes
) -> bytes:
    """Compose a statement that selects columns of a collection's records."""
    # Composing a small statement takes half as long as executing it, and most statements are
    # repeated. Those with very long filters hardly are, and would fill the memory.
    is_short = sum(map(len, clauses.values())) <= MAX_CACHED_BYTES
    return (_cached if is_short else _compose)(template, tables, columns, tuple(clauses.items()))


def columns_from_rows(
    rows: Sequence[Sequence[Any]],
    columns: tuple[str, ...],
    include: frozenset[str],
    resolved: ResolvedCollection,
) -> RecordColumns:
    """Convert rows of the selected columns to columns of records."""
    values: dict[str, Any] = {
        column: [row[index] for row in rows] for index, column in enumerate(columns)
    }
    sparse = {column: values.pop(column) for column in columns if ":" in column}
    if "metadatas" in values:
        values["metadatas"] = [decode_metadata(text) for text in values["metadatas"]]
        for key, number in resolved.filterable.sparse_numbers().items():
            vectors = decode_sparse(sparse[f"parts:{number}"], sparse[f"given:{number}"])
            values["metadatas"] = [
                metadata if vector is None else {**(metadata or {}), key: vector}
                for metadata, vector in zip(values["metadatas"], vectors, strict=True)
            ]
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
        columns=selected(columns, tables),
        **{name: ComposedSQL(clause) for name, clause in clauses},
    )


_cached = lru_cache(maxsize=4096)(_compose)

_SPARSE: dict[str, LiteralString] = {
    "parts:": """(
        select array[
            sparsevec_send(e.p0), sparsevec_send(e.p1), sparsevec_send(e.p2),
            sparsevec_send(e.p3), sparsevec_send(e.p4)
        ]
        from {table} as e where e.pos = r.{column}
    )""",
    "given:": "(select e.given::text from {table} as e where e.pos = r.{column})",
}
"""The sparse vector of a key: its parts in binary, and its dictionary form if it is stored."""

_EXPRESSIONS: dict[str, LiteralString] = {
    "ids": "r.id",
    "documents": "r.document",
    "uris": "r.uri",
    # If there is no metadata, a record with a uri returns an empty object, and one without a uri
    # returns null.
    "metadatas": "coalesce(r.metadata, case when r.uri is not null then '{}'::jsonb end)::text",
    "embeddings": "vector_send(v.embedding)",
}
