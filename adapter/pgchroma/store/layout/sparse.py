"""The tables of the sparse vectors under one metadata key.

`n` counts the keys of a collection that have an index of sparse vectors.

    sparse_<id>_<n>             the vectors, one row for each; `records.sparse_<n>` is a record's
                                position among them
    sparse_<id>_<n>_changes     the positions of vectors that were added or removed, and that the
                                compactor has not processed yet
    sparse_<id>_<n>_blocks      one row for each block: a set of up to 8,192 vectors, each of which
                                has a slot
    sparse_<id>_<n>_slots       the positions of the vectors in the slots of a block
    sparse_<id>_<n>_weights     the weights of the terms of a block, by slot; a row has one frequent
                                term, or several rare ones
    sparse_<id>_<n>_removed     how many of the removed vectors of a block have a term

Writers insert rows of vectors and of changes, and neither change nor delete any. The compactor
does everything else. Each of its steps is one transaction, so one statement sees each vector
either among the changes or in a block, and never in both. No writer waits for the compactor, and it
waits for no writer.

A vector whose weights are not plain is in no block. It stays among the changes.

A full-text index has the same tables, with a vector for each document and a term for each word. Its
writers insert changes only. The compactor makes the vectors of the words, which are in the column
`records.lexemes`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, LiteralString
from uuid import UUID

import orjson
from psycopg import sql

from pgchroma.model.filterable import SparseIndex, TextIndex
from pgchroma.store.encoding.sparse import BLOCK_SLOTS, PART_DIMENSION, SPARSE_PARTS
from pgchroma.store.running.steps import Statement, render

__all__ = (
    "CHUNK_SLOTS",
    "LEXEMES",
    "SparseTables",
    "create_sparse",
    "create_weights",
    "describe_sparse",
    "describe_text",
    "lexemes_column",
)

CHUNK_SLOTS: Final = 128
"""The number of slots in a row of the table of slots."""

LEXEMES: Final = "lexemes"
"""The column of records with the words of the document and their places, a `tsvector`."""

MAX_CHARACTERS: Final = 100_000
"""The number of characters of a document that are split into words. A `tsvector` has at most 1 MB.
Of rare Chinese characters in pairs with a hyphen, 200,000 do not fit."""


@dataclass(frozen=True)
class SparseTables:
    """The quoted names of the tables of one key, for use in statements.

    Attributes:
        schema: The schema of the collection.
        id: The collection's id.
        number: The number of the key.
    """

    schema: str
    id: UUID
    number: int

    @cached_property
    def column(self) -> sql.Identifier:
        """The column of records with the position of a record's vector."""
        return sql.Identifier(f"sparse_{self.number}")

    @cached_property
    def vectors(self) -> sql.Identifier:
        """The table of vectors."""
        return sql.Identifier(self.schema, self._name)

    @cached_property
    def changes(self) -> sql.Identifier:
        """The table of positions that were added or removed."""
        return self._table("changes")

    @cached_property
    def blocks(self) -> sql.Identifier:
        """The table of blocks."""
        return self._table("blocks")

    @cached_property
    def slots(self) -> sql.Identifier:
        """The table of the vectors in the slots of blocks."""
        return self._table("slots")

    @cached_property
    def weights(self) -> sql.Identifier:
        """The table of the weights of terms in blocks."""
        return self._table("weights")

    @cached_property
    def removed(self) -> sql.Identifier:
        """The table of the terms of removed vectors."""
        return self._table("removed")

    @property
    def all(self) -> tuple[sql.Identifier, ...]:
        """All tables."""
        return (
            self.vectors,
            self.changes,
            self.blocks,
            self.slots,
            self.weights,
            self.removed,
        )

    def constraint(self, suffix: str) -> sql.Identifier:
        """The name of a constraint or an index."""
        return sql.Identifier(f"{self._name}_{suffix}")

    @property
    def _name(self) -> str:
        return f"sparse_{self.id.hex}_{self.number}"

    def _table(self, suffix: str) -> sql.Identifier:
        return sql.Identifier(self.schema, f"{self._name}_{suffix}")


def create_sparse(tables: SparseTables, *, has_text: bool) -> Iterator[Statement]:
    """Create the tables of one key, or of the words of documents."""
    parts = (
        sql.SQL("{} sparsevec({})").format(sql.Identifier(part), sql.Literal(PART_DIMENSION))
        for part in SPARSE_PARTS
    )
    names: dict[str, sql.Composable] = {
        "vectors": tables.vectors,
        "changes": tables.changes,
        "blocks": tables.blocks,
        "slots": tables.slots,
        "weights": tables.weights,
        "removed": tables.removed,
        "vectors_key": tables.constraint("pkey"),
        "blocks_key": tables.constraint("blocks_pkey"),
        "slots_key": tables.constraint("slots_pkey"),
        "weights_key": tables.constraint("weights_pkey"),
        "by_term": tables.constraint("removed_by_term"),
        "by_block": tables.constraint("removed_by_block"),
        "parts": sql.SQL(", ").join(parts),
        "size": sql.Literal(BLOCK_SLOTS),
        # The compactor finds the record with the words of an added vector by it.
        "seq": sql.SQL("seq bigint," if has_text else ""),
    }
    for template in _CREATE:
        yield Statement(render(template, **names))


def create_weights(tables: SparseTables) -> Statement:
    """Create the table of the weights of terms in blocks, which `create_sparse` also does."""
    text = render(
        _CREATE_WEIGHTS,
        weights=tables.weights,
        weights_key=tables.constraint("weights_pkey"),
        size=sql.Literal(BLOCK_SLOTS),
    )
    return Statement(text)


def describe_sparse(tables: SparseTables, key: str, index: SparseIndex) -> Statement:
    """Write a key and its index into a comment, for a dump that lacks the copy of the catalog."""
    return _describe(tables, f"sparse_{tables.number}", {key: index})


def describe_text(tables: SparseTables, index: TextIndex) -> Statement:
    """Do the same for the full-text index."""
    return _describe(tables, LEXEMES, index)


def lexemes_column(index: TextIndex) -> sql.Composable:
    """Compose the definition of the column with the words of the document."""
    return sql.SQL(
        "{name} tsvector generated always as "
        "(to_tsvector({language}::regconfig, left(document, {characters}))) stored"
    ).format(
        name=sql.Identifier(LEXEMES),
        language=sql.Literal(index.language),
        characters=sql.Literal(MAX_CHARACTERS),
    )


def _describe(tables: SparseTables, column: str, description: Any) -> Statement:
    text = render(
        "comment on column {column} is {text}",
        column=sql.Identifier(tables.schema, f"records_{tables.id.hex}", column),
        text=sql.Literal(orjson.dumps(description).decode()),
    )
    # The text of a statement has doubled percent signs.
    return Statement(text.replace(b"%", b"%%"))


# A search reads a few terms of each block. `least` is the least term of the row. Most terms are
# rare, so a row for each would take longer to write, and half as much space again.
_CREATE_WEIGHTS: Final[LiteralString] = """
create table {weights} (
    block integer not null,
    least bigint not null,
    terms bigint[] not null,
    vectors integer[] not null,
    greatest real[] not null,
    weights sparsevec({size})[] storage external not null,
    constraint {weights_key} primary key (block, least)
)
"""

_CREATE: Final[tuple[LiteralString, ...]] = (
    """
    create table {vectors} (
        pos bigint not null constraint {vectors_key} primary key,
        seq bigint not null,
        {parts},
        given jsonb,
        is_plain boolean not null
    )
    """,
    # The table is read as a whole, so it has no index.
    """
    create table {changes} (
        pos bigint not null,
        {seq}
        is_removed boolean not null,
        is_plain boolean not null
    )
    """,
    # `size` is the number of bytes of all vectors. A removed vector keeps its
    # slot, for which the mask has a large negative number.
    """
    create table {blocks} (
        block integer not null constraint {blocks_key} primary key,
        vectors integer not null,
        removed integer not null default 0,
        size bigint not null,
        mask sparsevec({size})
    )
    """,
    # A row has the positions of 128 slots: fewer bytes than a row for each, and little enough to be
    # read for one of them. In chunk 0 are the slots from 1 to 128.
    """
    create table {slots} (
        block integer not null,
        chunk integer not null,
        positions bigint[] not null,
        constraint {slots_key} primary key (block, chunk)
    )
    """,
    _CREATE_WEIGHTS,
    """
    create table {removed} (
        block integer not null,
        term bigint not null,
        vectors integer not null
    )
    """,
    "create index {by_term} on {removed} (term) include (vectors)",
    "create index {by_block} on {removed} (block)",
)
