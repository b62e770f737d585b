"""What a database and a collection are called in PostgreSQL, and the tables they consist of.

A database is a schema. A collection is, in that schema,

    records_<id>    one row a record; `seq` is its place in insertion order and never changes
    vectors_<id>    one row an embedding; `pos` is its place in the log, and every new or
                    changed embedding gets a new one; made when the dimension is known
    spare_<id>      embeddings of the same records by another function, at the same positions:
                    those that are being made, or those that were in use before
    counts_<id>     by how much each write changed the number of records; the compactor adds
                    rows up, so that there are few
    log_<id>        the sequence all of them draw from
    "<name>"        a view of both, for people, with a typed column for each key of the metadata
                    that the collection's schema declares

Besides, a schema has the table "~catalog": a copy of what the catalog knows of its collections,
which triggers of the catalog write. No collection's view can have that name.

Each table of embeddings has a number, its generation, behind the id unless that is 1. A table that
is taken into use, or out of it, changes its name, so that nobody reads or writes the wrong one.

`records.pos` alone says which row of vectors is a record's. Two writers of one id may leave a
row of vectors that no record points to; no statement here takes it for a record.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, replace
from functools import cached_property
from typing import LiteralString
from uuid import UUID

from psycopg import sql

from pgchroma.model.filterable import FilterableKeys
from pgchroma.model.types import Space
from pgchroma.store.layout.view import typed_columns
from pgchroma.store.running.steps import Statement, render

__all__ = (
    "COPY",
    "LAYOUT_VERSION",
    "MAX_DIMENSION",
    "CollectionTables",
    "base_name",
    "create_copy",
    "create_counts",
    "create_schema",
    "create_shadow",
    "create_tables",
    "create_vectors",
    "create_view",
    "create_zero_vector_index",
    "drop_tables",
    "relation_names",
    "rename_view",
    "schema_name",
    "swap",
    "view_name",
)

LAYOUT_VERSION = 2
"""Raised with every change to the tables below; migrations bring older collections along."""

COPY = "~catalog"
"""The table with a copy of the catalog's rows about a schema."""

MAX_DIMENSION = 16_000
"""The longest vector pgvector stores."""

MAX_PLAIN_DIMENSION = 2_000
"""The longest vector that fits a page beside its row, and so needs no detour over TOAST."""

NAME_BYTES = 63
"""PostgreSQL cuts longer identifiers off without an error."""


def schema_name(tenant: str, database: str) -> str:
    """Name the schema of a database: ``tenant__database``.

    Names that cannot be spelled so, or that would be ambiguous or too long, keep what they can
    and get a hash of both behind a second ``__``; so no two databases share a schema.
    """
    plain = re.compile(r"(?!pg_)[a-z0-9]+(?:_[a-z0-9]+)*")
    name = f"{tenant}__{database}"
    if plain.fullmatch(tenant) and plain.fullmatch(database) and len(name) <= NAME_BYTES:
        return name
    digest = hashlib.sha256(f"{tenant}\x00{database}".encode()).hexdigest()[:10]
    readable = "__".join(_readable(part) for part in (tenant, database))
    reserved = "x" if readable.startswith("pg_") else ""
    return f"{reserved}{readable}__{digest}"


def view_name(collection: str) -> str:
    """Name the view of a collection: its own name, where PostgreSQL can hold that.

    A longer name, or one of the form our tables have, ends in ``~`` and a hash instead. No
    collection's name contains ``~``, so no two collections share a view.
    """
    is_ours = re.match(r"(records|vectors|counts|log)_|spare_[0-9a-f]{32}", collection)
    if len(collection) <= NAME_BYTES and not is_ours:
        return collection
    digest = hashlib.sha256(collection.encode()).hexdigest()[:10]
    return f"{collection[: NAME_BYTES - len(digest) - 1]}~{digest}"


@dataclass(frozen=True)
class CollectionTables:
    """The quoted names of a collection's tables, ready for use in statements.

    Attributes:
        generation: Which of the tables of embeddings it had or has.
        is_shadow: Whether that one is not in use.
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
        """The table of changes to the number of records."""
        return self._identifier("counts")

    @cached_property
    def log(self) -> sql.Identifier:
        """The sequence of log positions."""
        return self._identifier("log")

    @cached_property
    def log_literal(self) -> sql.Literal:
        """The sequence as `nextval` wants it: its quoted name as a text."""
        return sql.Literal(self.log.as_string(None))

    @cached_property
    def record_count(self) -> sql.Composable:
        """The query for the number of records: what writes have left word of, added up."""
        text: LiteralString = "select coalesce(sum(change), 0)::bigint from {counts}"
        return sql.SQL(text).format(counts=self.counts)

    @property
    def vectors_name(self) -> str:
        """The table of embeddings by its mere name."""
        return f"{'spare' if self.is_shadow else 'vectors'}_{self._numbered}"

    @property
    def vectors_prefix(self) -> str:
        """What the names of the constraints and indexes of the embeddings begin with.

        They stay as they are when the table is taken into use or out of it.
        """
        return f"vectors_{self._numbered}"

    @property
    def _numbered(self) -> str:
        return self.id.hex if self.generation == 1 else f"{self.id.hex}_{self.generation}"

    def view(self, collection: str) -> sql.Identifier:
        """The view under the collection's name."""
        return sql.Identifier(self.schema, view_name(collection))

    def constraint(self, table: str, suffix: str) -> sql.Identifier:
        """The explicit name of a constraint or an index of one of the tables."""
        return sql.Identifier(f"{table}_{self.id.hex}_{suffix}")

    def _identifier(self, table: str) -> sql.Identifier:
        return sql.Identifier(self.schema, f"{table}_{self.id.hex}")


def relation_names(id: UUID, collection: str) -> tuple[str, ...]:
    """Name everything a collection may have in its schema."""
    return (
        view_name(collection),
        *(f"{table}_{id.hex}" for table in ("records", "vectors", "spare", "counts", "log")),
    )


def base_name(relation: str) -> str:
    """Take the generation off the name of a table of embeddings."""
    return re.sub(r"^((?:vectors|spare)_[0-9a-f]{32})_[0-9]+$", r"\1", relation)


def create_schema(schema: str) -> Statement:
    """Make the schema of a database."""
    return Statement(render("create schema {schema}", schema=sql.Identifier(schema)))


def create_copy(schema: str) -> Statement:
    """Make the table of what the catalog knows of a schema's collections."""
    text = render(
        "create table {copy} (id uuid primary key, entry jsonb not null)",
        copy=sql.Identifier(schema, COPY),
    )
    return Statement(text)


def create_tables(
    tables: CollectionTables, collection: str, filterable: FilterableKeys
) -> tuple[Statement, ...]:
    """Make a collection's sequence, its table of records and its view."""
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
            updated_at timestamptz not null
        )
        """,
        records=tables.records,
        pkey=tables.constraint("records", "pkey"),
        id_key=tables.constraint("records", "id_key"),
    )
    owner = render(
        "alter sequence {log} owned by {records}.seq", log=tables.log, records=tables.records
    )
    view = create_view(tables, collection, filterable, has_vectors=False)
    statements = (Statement(log), Statement(records), Statement(owner), view)
    return (*statements, create_counts(tables))


def create_view(
    tables: CollectionTables, collection: str, filterable: FilterableKeys, *, has_vectors: bool
) -> Statement:
    """Make a collection's view, or with vectors put it in the place of the one there is.

    Columns can only be added to a view, and at its end; so the typed ones are the last.
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
    """Make a collection's table of changes to the number of its records."""
    text = render(
        """
        create table {counts} (
            place bigint not null constraint {pkey} primary key,
            change bigint not null
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
    """Make a collection's table of embeddings and show them in its view."""
    table, *zeros = create_shadow(tables, dimension, space)
    return table, create_view(tables, collection, filterable, has_vectors=True), *zeros


def create_shadow(tables: CollectionTables, dimension: int, space: Space) -> tuple[Statement, ...]:
    """Make a table of embeddings that no view shows."""
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
    zeros = (create_zero_vector_index(tables),) if space == "cosine" else ()
    return Statement(vectors), *zeros


def swap(
    live: CollectionTables, shadow: CollectionTables, collection: str, filterable: FilterableKeys
) -> tuple[Statement, ...]:
    """Let a spare table of embeddings and the one in use change places.

    The view goes first: whoever reads it locks it before its tables, too.
    """
    rename = "alter table {old} rename to {new}"
    used, unused = replace(shadow, is_shadow=False), replace(live, is_shadow=True)
    renames = (
        render(rename, old=old.vectors, new=sql.Identifier(new.vectors_name))
        for old, new in ((live, unused), (shadow, used))
    )
    view = create_view(shadow, collection, filterable, has_vectors=True)
    return view, *map(Statement, renames)


def create_zero_vector_index(tables: CollectionTables) -> Statement:
    """Make the index of embeddings without a direction, which HNSW leaves out under cosine."""
    text = render(
        "create index {name} on {vectors} (pos) where vector_norm(embedding) = 0",
        name=sql.Identifier(f"{tables.vectors_prefix}_zeros"),
        vectors=tables.vectors,
    )
    return Statement(text)


def drop_tables(
    tables: CollectionTables, collection: str, spare_generation: int | None = None
) -> tuple[Statement, ...]:
    """Drop all of a collection, with its spare table of embeddings if it has one."""
    shadow = replace(tables, generation=spare_generation or 1, is_shadow=True)
    return (
        Statement(render("drop view if exists {view}", view=tables.view(collection))),
        Statement(
            render(
                "drop table if exists {records}, {vectors}, {shadow}, {counts}",
                records=tables.records,
                vectors=tables.vectors,
                shadow=shadow.vectors,
                counts=tables.counts,
            )
        ),
    )


def rename_view(tables: CollectionTables, old: str, new: str) -> Statement:
    """Let the view follow a collection's new name."""
    text = render(
        "alter view if exists {old} rename to {new}",
        old=tables.view(old),
        new=sql.Identifier(view_name(new)),
    )
    return Statement(text)


def _readable(name: str) -> str:
    words = re.findall(r"[a-z0-9]+", name.lower())
    return "_".join(words)[:22] or "x"
