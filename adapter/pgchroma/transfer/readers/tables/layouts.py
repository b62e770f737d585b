"""Which columns of other programs' tables have which part of a record."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from pgchroma.errors import InvalidArgumentError
from pgchroma.transfer.readers.columns import Columns, Role, find_columns

__all__ = ("DENSE_TYPES", "SPARSE_TYPE", "TableFacts", "TableLayout", "known_layout", "layout_of")

DENSE_TYPES: Final = ("vector", "halfvec")
SPARSE_TYPE: Final = "sparsevec"

_UNREADABLE: Final = frozenset({*DENSE_TYPES, SPARSE_TYPE, "bit", "tsvector", "bytea"})
"""Types whose values are not metadata."""

LANGCHAIN_COLLECTIONS: Final = "langchain_pg_collection"
LANGCHAIN_EMBEDDINGS: Final = "langchain_pg_embedding"


@dataclass(frozen=True, slots=True)
class TableFacts:
    """A table as PostgreSQL's catalog describes it.

    Attributes:
        types: The names of the columns' types, by column.
        key: The columns of the primary key.
    """

    schema: str
    name: str
    types: Mapping[str, str]
    key: tuple[str, ...] = ()

    @property
    def qualified(self) -> str:
        """The name with the schema, for messages."""
        return f"{self.schema}.{self.name}"


@dataclass(frozen=True, slots=True)
class TableLayout:
    """A table and the roles of its columns.

    Attributes:
        table: The table.
        columns: The roles. The id may differ from the key.
        order: The columns that give the records a stable order.
        collection: The name of the collection, unless the table has several.
        sparse: The columns with sparse vectors, which become metadata.
    """

    table: TableFacts
    columns: Columns
    order: tuple[str, ...]
    collection: str | None
    sparse: tuple[str, ...] = ()

    @property
    def has_collections(self) -> bool:
        """Whether another table has the collections, as in langchain-postgres' `PGVector`."""
        return self.collection is None


def known_layout(table: TableFacts) -> TableLayout | None:
    """Return the layout of a table if a program that is known has made it."""
    names = set(table.types)
    if table.name == LANGCHAIN_EMBEDDINGS and {"collection_id", "embedding", "document"} <= names:
        return _of_langchain(table)
    if {"node_id", "text", "metadata_", "embedding"} <= names:
        columns = Columns("node_id", "embedding", "text", None, "metadata_", ())
        return _layout(table, columns, table.name.removeprefix("data_"))
    if names == {"id", "vec", "metadata"}:
        return _layout(table, Columns("id", "vec", None, None, "metadata", ()), table.name)
    if {"langchain_id", "content", "embedding"} <= names:
        metadata = "langchain_metadata" if "langchain_metadata" in names else None
        columns = Columns("langchain_id", "embedding", "content", None, metadata, ())
        return _layout(table, _with_others(table, columns), table.name)
    return None


def layout_of(table: TableFacts, chosen: Mapping[Role, str]) -> TableLayout:
    """Return the layout of a table that the user has named.

    Raises:
        InvalidArgumentError: It has no column of ids or vectors.
    """
    known = known_layout(table)
    if known is not None and not chosen:
        return known
    columns = find_columns(tuple(table.types), chosen, table.qualified)
    dense = [name for name, kind in table.types.items() if kind in DENSE_TYPES]
    if columns.embedding not in dense:
        if len(dense) != 1:
            raise InvalidArgumentError(
                f"{table.qualified}: name the column of vectors with --column embedding=NAME"
            )
        columns = replace(columns, embedding=dense[0])
    if columns.metadata is not None and table.types[columns.metadata] not in ("json", "jsonb"):
        columns = replace(columns, metadata=None)
    return _layout(table, _with_others(table, columns), table.name)


def _of_langchain(table: TableFacts) -> TableLayout:
    # Before langchain-postgres, a record had a uuid of its own and the id of the caller, if any.
    id = "id" if "id" in table.types else "custom_id"
    columns = Columns(id, "embedding", "document", None, "cmetadata", ())
    return replace(_layout(table, columns, table.name), collection=None)


def _with_others(table: TableFacts, columns: Columns) -> Columns:
    taken = (columns.id, columns.embedding, columns.document, columns.uri, columns.metadata)
    others = (
        name for name, kind in table.types.items() if name not in taken and kind not in _UNREADABLE
    )
    return replace(columns, others=tuple(others))


def _layout(table: TableFacts, columns: Columns, collection: str) -> TableLayout:
    sparse = tuple(name for name, kind in table.types.items() if kind == SPARSE_TYPE)
    return TableLayout(table, columns, table.key or (columns.id,), collection, sparse)
