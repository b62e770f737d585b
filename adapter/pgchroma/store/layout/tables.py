"""The names of databases and collections in PostgreSQL, and their tables.

A database is a schema. In that schema, a collection consists of

    records_<id>    one row for each record; `seq` is its position in insertion order, which never
                    changes
    vectors_<id>    one row for each embedding; `pos` is its position in the log, and every new or
                    changed embedding gets a new one; created when the dimension is known
    spare_<id>      the shadow table: embeddings of the same records from another function, at the
                    same positions, which are pending or previous
    sparse_<id>_<n> the sparse vectors under one metadata key, for each key that the collection's
                    schema enables an index for, or of the words of documents, and five more
                    tables; see `pgchroma.store.layout.sparse`
    counts_<id>     by how much each write changed the number of records, and how many operations
                    it had; the compactor merges rows, so there are few
    log_<id>        the sequence from which all of them draw
    "<name>"        a view of records and embeddings, for people, with a typed column for each
                    metadata key that the collection's schema declares

A schema also has the table "~catalog", a copy of the catalog's entries for its collections, which
triggers of the catalog write. No collection's view can have that name.

Each table of embeddings has a number, its generation, after the id unless it is 1. A table that
becomes the current one, or no longer is, changes its name, so that no statement reads or writes the
wrong table.

Only `records.pos` defines which embedding belongs to a record. Two writers of one id may leave an
embedding that belongs to no record; statements ignore it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import LiteralString
from uuid import UUID

from psycopg import sql

from pgchroma.model.filterable import FilterableKeys
from pgchroma.model.types import Space
from pgchroma.store.layout.names import view_name
from pgchroma.store.layout.sparse import (
    SparseTables,
    create_sparse,
    describe_sparse,
    describe_text,
    lexemes_column,
)
from pgchroma.store.layout.view import typed_columns
from pgchroma.store.running.steps import Statement, render

__all__ = (
    "COPY",
    "LAYOUT_VERSION",
    "CollectionTables",
    "create_copy",
    "create_counts",
    "create_schema",
    "create_shadow",
    "create_tables",
    "create_vectors",
    "create_view",
    "create_zero_vector_index",
    "drop_tables",
    "rename_view",
    "swap",
)

LAYOUT_VERSION = 3
"""Incremented with every change of these tables; an upgrade of the catalog upgrades them."""

COPY = "~catalog"
"""The table with a copy of the catalog's entries for a schema."""

MAX_PLAIN_DIMENSION = 2_000
"""The longest vector that fits into a page with its row, and therefore needs no TOAST table."""


FILLFACTOR = 85
"""How full, in per cent, inserts make the pages of records.

A new embedding or new metadata is a new version of the row. If it fits into the same page, and no
indexed column changes, it needs no entries in the indexes of the table, of which those of documents
are expensive. This much room is enough for updates that are scattered over a collection.
"""

UPDATED_FILLFACTOR = 50
"""The same for a collection whose records are updated one after the other: a page then has a new
version of each of its rows."""


@dataclass(frozen=True)
class CollectionTables:
    """The quoted names of a collection's tables, for use in statements.

    Attributes:
        generation: The generation of the table of embeddings.
        is_shadow: Whether that table is the shadow table, and not the current one.
    """

    schema: str
    id: UUID
    generation: int = 1
    is_shadow: bool = False

    @cached_property
    def records(self) -> sql.Identifier:
        """The table of records."""
        return self._identifier("records")

    @cached_property
    def vectors(self) -> sql.Identifier:
        """The table of embeddings."""
        return sql.Identifier(self.schema, self.vectors_name)

    @cached_property
    def counts(self) -> sql.Identifier:
        """The table of changes to the number of records, and of operations."""
        return self._identifier("counts")

    @cached_property
    def log(self) -> sql.Identifier:
        """The sequence of log positions."""
        return self._identifier("log")

    @cached_property
    def log_literal(self) -> sql.Literal:
        """The sequence as an argument of `nextval`: its quoted name as a text."""
        return sql.Literal(self.log.as_string(None))

    @cached_property
    def record_count(self) -> sql.Composable:
        """The query for the number of records: the sum of the changes by all writes."""
        return self._sum("change")

    @cached_property
    def operation_count(self) -> sql.Composable:
        """The query for the number of operations: records that were added, changed or deleted."""
        return self._sum("operations")

    @property
    def vectors_name(self) -> str:
        """The unqualified name of the table of embeddings."""
        return f"{'spare' if self.is_shadow else 'vectors'}_{self._numbered}"

    @property
    def vectors_prefix(self) -> str:
        """The prefix of the names of constraints and indexes of the embeddings.

        A swap renames the table but not these.
        """
        return f"vectors_{self._numbered}"

    @property
    def _numbered(self) -> str:
        return self.id.hex if self.generation == 1 else f"{self.id.hex}_{self.generation}"

    def view(self, collection: str) -> sql.Identifier:
        """The name of the collection's view."""
        return sql.Identifier(self.schema, view_name(collection))

    def sparse(self, number: int) -> SparseTables:
        """The tables of the sparse vectors of one key."""
        return SparseTables(self.schema, self.id, number)

    def constraint(self, table: str, suffix: str) -> sql.Identifier:
        """The name of a constraint or an index of one of the tables."""
        return sql.Identifier(f"{table}_{self.id.hex}_{suffix}")

    def _sum(self, column: LiteralString) -> sql.Composable:
        text: LiteralString = "select coalesce(sum({column}), 0)::bigint from {counts}"
        return sql.SQL(text).format(column=sql.SQL(column), counts=self.counts)

    def _identifier(self, table: str) -> sql.Identifier:
        return sql.Identifier(self.schema, f"{table}_{self.id.hex}")


def create_schema(schema: str) -> Statement:
    """Create the schema of a database."""
    return Statement(render("create schema {schema}", schema=sql.Identifier(schema)))


def create_copy(schema: str) -> Statement:
    """Create the table with the copy of the catalog's entries for a schema."""
    text = render(
        "create table {copy} (id uuid primary key, entry jsonb not null)",
        copy=sql.Identifier(schema, COPY),
    )
    return Statement(text)


def create_tables(
    tables: CollectionTables, collection: str, filterable: FilterableKeys
) -> tuple[Statement, ...]:
    """Create a collection's sequence, its tables except that of vectors, and its view."""
    keys = {key: tables.sparse(number) for key, number in filterable.sparse_numbers().items()}
    text = filterable.text
    columns: list[sql.Composable] = [
        sql.SQL("{} bigint").format(tables.sparse(number).column)
        for number in filterable.table_numbers()
    ]
    if text is not None:
        columns.append(lexemes_column(text))
    log = render("create sequence {log}", log=tables.log)
    records = render(
        """
        create table {records} (
            seq bigint not null constraint {pkey} primary key,
            pos bigint,
            id text collate "C" not null constraint {id_key} unique,
            document text,
            uri text,
            metadata jsonb,
            created_at timestamptz not null,
            updated_at timestamptz not null{columns}
        ) with (fillfactor = {fillfactor})
        """,
        fillfactor=sql.Literal(FILLFACTOR),
        columns=sql.SQL("").join(sql.SQL(", {}").format(column) for column in columns),
        records=tables.records,
        pkey=tables.constraint("records", "pkey"),
        id_key=tables.constraint("records", "id_key"),
    )
    owner = render(
        "alter sequence {log} owned by {records}.seq", log=tables.log, records=tables.records
    )
    view = create_view(tables, collection, filterable, has_vectors=False)
    statements: tuple[Statement, ...] = (Statement(log), Statement(records), Statement(owner), view)
    for key, sparse in keys.items():
        statements += (
            *create_sparse(sparse, has_text=False),
            describe_sparse(sparse, key, filterable.sparse[key]),
        )
    if text is not None:
        words = tables.sparse(text.number)
        statements += (*create_sparse(words, has_text=True), describe_text(words, text))
    return (*statements, create_counts(tables))


def create_view(
    tables: CollectionTables, collection: str, filterable: FilterableKeys, *, has_vectors: bool
) -> Statement:
    """Create a collection's view; with vectors, replace the existing one.

    PostgreSQL can only add columns at the end of a view, so the typed ones are last.
    """
    text: LiteralString = (
        """
        create or replace view {view} as
        select
            r.id, r.document, r.uri, r.metadata, v.embedding::vector as embedding,
            r.created_at, r.updated_at{typed}
        from {records} as r
        left join {vectors} as v on v.pos = r.pos
        """
        if has_vectors
        else """
        create view {view} as
        select
            r.id, r.document, r.uri, r.metadata, null::vector as embedding,
            r.created_at, r.updated_at{typed}
        from {records} as r
        """
    )
    parts = {
        "view": tables.view(collection),
        "records": tables.records,
        "vectors": tables.vectors,
        "typed": typed_columns(filterable, "r"),
    }
    return Statement(render(text, **parts))


def create_counts(tables: CollectionTables) -> Statement:
    """Create a collection's table of changes of the number of records, and of operations."""
    text = render(
        """
        create table {counts} (
            place bigint not null constraint {pkey} primary key,
            change bigint not null,
            operations bigint not null default 0
        )
        """,
        counts=tables.counts,
        pkey=tables.constraint("counts", "pkey"),
    )
    return Statement(text)


def create_vectors(
    tables: CollectionTables,
    collection: str,
    dimension: int,
    space: Space,
    filterable: FilterableKeys,
) -> tuple[Statement, ...]:
    """Create a collection's table of embeddings, and show them in its view."""
    table, *indexes = create_shadow(tables, dimension, space)
    return table, create_view(tables, collection, filterable, has_vectors=True), *indexes


def create_shadow(tables: CollectionTables, dimension: int, space: Space) -> tuple[Statement, ...]:
    """Create a table of embeddings that no view shows."""
    storage = "plain" if dimension <= MAX_PLAIN_DIMENSION else "external"
    vectors = render(
        """
        create table {vectors} (
            pos bigint not null constraint {pkey} primary key,
            seq bigint not null,
            embedding vector({dimension}) storage {storage} not null
        )
        """,
        vectors=tables.vectors,
        pkey=sql.Identifier(f"{tables.vectors_prefix}_pkey"),
        dimension=sql.Literal(dimension),
        storage=sql.SQL(storage),
    )
    indexes = (create_zero_vector_index(tables),) if space == "cosine" else ()
    return Statement(vectors), *indexes


def swap(
    live: CollectionTables, shadow: CollectionTables, collection: str, filterable: FilterableKeys
) -> tuple[Statement, ...]:
    """Swap the shadow table of embeddings and the current one.

    The view is replaced first, because sessions that read it also lock it before its tables.
    """
    rename = "alter table {old} rename to {new}"
    new_live, new_shadow = replace(shadow, is_shadow=False), replace(live, is_shadow=True)
    renames = (
        render(rename, old=old.vectors, new=sql.Identifier(new.vectors_name))
        for old, new in ((live, new_shadow), (shadow, new_live))
    )
    view = create_view(shadow, collection, filterable, has_vectors=True)
    return view, *map(Statement, renames)


def create_zero_vector_index(tables: CollectionTables) -> Statement:
    """Create the index of zero vectors, which HNSW omits with cosine distance."""
    text = render(
        "create index {name} on {vectors} (pos) where vector_norm(embedding) = 0",
        name=sql.Identifier(f"{tables.vectors_prefix}_zeros"),
        vectors=tables.vectors,
    )
    return Statement(text)


def drop_tables(
    tables: CollectionTables,
    collection: str,
    filterable: FilterableKeys,
    shadow_generation: int | None,
) -> tuple[Statement, ...]:
    """Drop everything of a collection, including its shadow table of embeddings."""
    shadow = replace(tables, generation=shadow_generation or 1, is_shadow=True)
    return (
        Statement(render("drop view if exists {view}", view=tables.view(collection))),
        Statement(
            render(
                "drop table if exists {records}, {vectors}, {shadow}, {counts}{sparse}",
                sparse=sql.SQL("").join(
                    sql.SQL(", {}").format(table)
                    for number in filterable.table_numbers()
                    for table in tables.sparse(number).all
                ),
                records=tables.records,
                vectors=tables.vectors,
                shadow=shadow.vectors,
                counts=tables.counts,
            )
        ),
    )


def rename_view(tables: CollectionTables, old: str, new: str) -> Statement:
    """Rename the view after a collection was renamed."""
    text = render(
        "alter view if exists {old} rename to {new}",
        old=tables.view(old),
        new=sql.Identifier(view_name(new)),
    )
    return Statement(text)
