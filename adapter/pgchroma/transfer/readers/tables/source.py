"""A PostgreSQL database with tables of other programs, as a source of records."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Self

import orjson
import psycopg
from psycopg import sql

from pgchroma.backends.urls import address_of
from pgchroma.errors import InvalidArgumentError
from pgchroma.model.types import Space
from pgchroma.store.running.errors import mapped_errors
from pgchroma.transfer.readers.columns import Role
from pgchroma.transfer.readers.tables.catalog import (
    dimension_of,
    has_collections_of_pgchroma,
    space_of,
    tables_with_vectors,
)
from pgchroma.transfer.readers.tables.layouts import (
    LANGCHAIN_COLLECTIONS,
    TableFacts,
    TableLayout,
    known_layout,
    layout_of,
)
from pgchroma.transfer.readers.tables.vectors import dense_vector, sparse_vector
from pgchroma.transfer.source import SourceBatch, SourceCollection

__all__ = ("TablesSource", "find_tables")

_CURSOR: Final = "pgchroma_transfer"

DEFAULT_SPACE: Final[Space] = "cosine"
"""The distance of a table without an index: what langchain-postgres, LlamaIndex and vecs use."""


@dataclass(frozen=True, slots=True)
class _Part:
    """The rows of a table that are one collection.

    Attributes:
        collection_id: The collection's id in the table of collections, if there is one.
    """

    layout: TableLayout
    collection_id: str | None = None


def find_tables(conninfo: str) -> tuple[list[TableLayout], bool]:
    """Return the tables that known programs have made, and whether pgchroma has collections."""
    with mapped_errors(address_of(conninfo)), psycopg.connect(conninfo) as connection:
        layouts = map(known_layout, tables_with_vectors(connection))
        return [each for each in layouts if each is not None], has_collections_of_pgchroma(
            connection
        )


@dataclass(slots=True)
class TablesSource:
    """The tables of a database, each of which is a collection or has several.

    A collection is read in one transaction by a cursor of the server.

    Attributes:
        conninfo: How to connect.
        tables: The tables to read, with or without a schema; empty means all that are known.
        chosen: The columns that the user has chosen for parts of a record.
        space: The distance of the collections; `None` means that of the table's index.
    """

    conninfo: str = field(repr=False)
    tables: Sequence[str] = ()
    chosen: Mapping[Role, str] = field(default_factory=dict)
    space: Space | None = None
    _parts: dict[str, _Part] = field(default_factory=dict)
    _collections: list[SourceCollection] = field(default_factory=list)

    def __enter__(self) -> Self:
        """Find the tables."""
        with mapped_errors(self.describe()), psycopg.connect(self.conninfo) as connection:
            for layout in self._layouts(connection):
                if layout.has_collections:
                    self._add_langchain(connection, layout)
                else:
                    self._add(connection, _Part(layout), str(layout.collection), None)
        return self

    def __exit__(self, *exception: object) -> None:
        """Forget the tables: a connection is open only while a table is read."""
        self._parts.clear()
        self._collections.clear()

    def describe(self) -> str:
        """Return the address of the database."""
        return address_of(self.conninfo)

    def warnings(self) -> Sequence[str]:
        """Return nothing: tables have no warnings."""
        return ()

    def collections(self) -> Sequence[SourceCollection]:
        """Return the collections by schema and table."""
        return self._collections

    def batches(
        self, collection: SourceCollection, size: int, skip: int = 0
    ) -> Iterator[SourceBatch]:
        """Yield the rows of a collection, ordered by the primary key."""
        part = self._parts[collection.key]
        with (
            mapped_errors(self.describe()),
            psycopg.connect(self.conninfo) as connection,
            connection.cursor(_CURSOR, binary=True) as cursor,
        ):
            connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
            connection.read_only = True
            cursor.execute(_select(part.layout), {"id": part.collection_id, "skip": skip})
            while rows := cursor.fetchmany(size):
                yield _batch(rows, part.layout)

    def _layouts(self, connection: psycopg.Connection[Any]) -> list[TableLayout]:
        found = tables_with_vectors(connection)
        if not self.tables:
            return [layout for table in found if (layout := known_layout(table)) is not None]
        return [layout_of(_named(found, name), self.chosen) for name in self.tables]

    def _add_langchain(self, connection: psycopg.Connection[Any], layout: TableLayout) -> None:
        statement = sql.SQL("select uuid::text, name, cmetadata::text from {} order by name")
        collections = sql.Identifier(layout.table.schema, LANGCHAIN_COLLECTIONS)
        for id, name, metadata in connection.execute(statement.format(collections)).fetchall():
            parsed = None if metadata is None else orjson.loads(metadata)
            self._add(
                connection, _Part(layout, id), name, parsed if isinstance(parsed, dict) else None
            )

    def _add(
        self,
        connection: psycopg.Connection[Any],
        part: _Part,
        name: str,
        metadata: Mapping[str, Any] | None,
    ) -> None:
        table, column = part.layout.table, str(part.layout.columns.embedding)
        statement = sql.SQL("select count(*) from {} as r {}")
        rows = connection.execute(
            statement.format(_table(table), _condition(part.layout)), {"id": part.collection_id}
        ).fetchone()
        key = f"{table.qualified}/{part.collection_id or ''}"
        space = self.space or space_of(connection, table, column) or DEFAULT_SPACE
        self._parts[key] = part
        self._collections.append(
            SourceCollection(
                key,
                name,
                metadata=metadata or None,
                configuration={"hnsw": {"space": space}},
                dimension=dimension_of(connection, table, column),
                count=rows[0] if rows else None,
            )
        )


def _named(tables: Sequence[TableFacts], name: str) -> TableFacts:
    found = [table for table in tables if name in (table.name, table.qualified)]
    if len(found) == 1:
        return found[0]
    if found:
        qualified = ", ".join(table.qualified for table in found)
        raise InvalidArgumentError(f"table {name!r} is ambiguous: {qualified}")
    names = ", ".join(table.qualified for table in tables) or "none"
    raise InvalidArgumentError(
        f"there is no table {name!r} with a column of vectors; tables that have one: {names}"
    )


def _select(layout: TableLayout) -> sql.Composed:
    columns = layout.columns
    # A record that was stored without an id of its own has that of its row.
    return sql.SQL(
        "select coalesce({id}::text, {key}::text), {embedding}, {document}::text, {uri}::text, "
        "{metadata}::text, ({others})::text{sparse} from {table} as r {condition} "
        "order by {order} offset %(skip)s::bigint"
    ).format(
        id=_column(columns.id),
        key=_column(layout.order[0]),
        embedding=_column(columns.embedding),
        document=_column(columns.document),
        uri=_column(columns.uri),
        metadata=_column(columns.metadata),
        others=_others(columns.others),
        sparse=sql.SQL("").join(sql.SQL(", {}").format(_column(each)) for each in layout.sparse),
        table=_table(layout.table),
        condition=_condition(layout),
        order=sql.SQL(", ").join(map(_column, layout.order)),
    )


def _others(names: Sequence[str]) -> sql.Composable:
    """Compose an object of the columns that are metadata, as JSON represents them."""
    if not names:
        return sql.SQL("null")
    selected = sql.SQL(", ").join(map(_column, names))
    return sql.SQL("select to_jsonb(o) from (select {}) as o").format(selected)


def _condition(layout: TableLayout) -> sql.Composable:
    return sql.SQL("where r.collection_id = %(id)s::uuid" if layout.has_collections else "")


def _column(name: str | None) -> sql.Composable:
    return sql.SQL("null") if name is None else sql.SQL("r.{}").format(sql.Identifier(name))


def _table(table: TableFacts) -> sql.Identifier:
    return sql.Identifier(table.schema, table.name)


def _batch(rows: Sequence[Sequence[Any]], layout: TableLayout) -> SourceBatch:
    kind = layout.table.types[str(layout.columns.embedding)]
    return SourceBatch(
        [row[0] for row in rows],
        [None if row[1] is None else dense_vector(row[1], kind) for row in rows],
        [row[2] for row in rows],
        [row[3] for row in rows],
        [_metadata(row, layout) for row in rows],
    )


def _metadata(row: Sequence[Any], layout: TableLayout) -> Any:
    own = None if row[4] is None else orjson.loads(row[4])
    others = None if row[5] is None else orjson.loads(row[5])
    sparse = {
        name: sparse_vector(value)
        for name, value in zip(layout.sparse, row[6:], strict=True)
        if value is not None
    }
    if not (others or sparse):
        return own
    return {**(own if isinstance(own, dict) else {}), **(others or {}), **sparse}
