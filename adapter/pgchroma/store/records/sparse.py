"""The parts of statements that write and read the sparse vectors of indexed keys.

The vectors of a key are in a table of their own, and not in the metadata. A record's column names
the position of its vector there. Of each key that has a table, a batch has these columns:

    touched   whether the record's metadata has the key at all
    has       whether its value is a sparse vector
    p0 … p4   the vector; see `pgchroma.store.encoding.sparse`
    given     its dictionary form, if the columns do not have all of it
    plain     whether all of its weights are plain

A vector that is written is also noted as added, and one that is replaced or deleted as removed. A
document that is written is noted as well, if the collection has a full-text index, and the
compactor makes its vector. See `pgchroma.store.layout.sparse`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, LiteralString

from psycopg import sql

from pgchroma.model.metadata import CleanMetadata
from pgchroma.model.types import Modality
from pgchroma.store.encoding.number_arrays import pack_numbers
from pgchroma.store.encoding.sparse import SPARSE_PARTS, encode_sparse
from pgchroma.store.layout.tables import CollectionTables

__all__ = ("SparseClauses", "sparse_parameters", "without_sparse")

_COLUMNS = ("touched", "has", *SPARSE_PARTS, "given", "plain")


def without_sparse(
    metadatas: Sequence[CleanMetadata | None] | None, keys: Iterable[str], *, removals: bool
) -> Sequence[CleanMetadata | None] | None:
    """Return metadata without the sparse vectors of the keys.

    Args:
        metadatas: The metadata of each record.
        keys: The keys whose vectors have tables.
        removals: Whether a value of another type that a vector replaces has to be removed.
    """
    keys = tuple(keys)
    if metadatas is None or not keys:
        return metadatas
    return [_plain(metadata, keys, removals=removals) for metadata in metadatas]


def _plain(
    metadata: CleanMetadata | None, keys: Sequence[str], *, removals: bool
) -> CleanMetadata | None:
    # Of clean metadata, only sparse vectors are dictionaries.
    vectors = [key for key in keys if metadata and type(metadata.get(key)) is dict]
    if not metadata or not vectors:
        return metadata
    plain = dict(metadata)
    for key in vectors:
        if removals:
            plain[key] = None
        else:
            del plain[key]
    return plain


def sparse_parameters(
    metadatas: Sequence[CleanMetadata | None] | None,
    numbers: Mapping[str, int],
    sparsevec_oid: int,
) -> dict[str, Any]:
    """Return the columns of a batch, by the names of their placeholders.

    Args:
        metadatas: The metadata of each record.
        numbers: The keys whose vectors have tables, and the numbers of these.
        sparsevec_oid: The object id of the type `sparsevec` in this database.

    Raises:
        InvalidArgumentError: A vector has more values than PostgreSQL can store.
    """
    parameters: dict[str, Any] = {}
    for key, number in numbers.items():
        columns = _columns(metadatas or (), key, sparsevec_oid)
        parameters |= {f"s{number}_{name}": columns.get(name) for name in _COLUMNS}
    return parameters


def _columns(
    metadatas: Sequence[CleanMetadata | None], key: str, sparsevec_oid: int
) -> dict[str, Any]:
    """Return the columns of one key; none if no record has it."""
    touched = [metadata is not None and key in metadata for metadata in metadatas]
    if not any(touched):
        return {}
    values = [None if metadata is None else metadata.get(key) for metadata in metadatas]
    vectors = [value if type(value) is dict else None for value in values]
    encoded = encode_sparse(vectors, key, sparsevec_oid)
    return {
        "touched": pack_numbers(touched, "boolean"),
        "has": pack_numbers([vector is not None for vector in vectors], "boolean"),
        **dict(zip(SPARSE_PARTS, encoded.parts, strict=True)),
        "given": encoded.given if any(encoded.given) else None,
        "plain": pack_numbers(encoded.are_plain, "boolean"),
    }


class SparseClauses:
    """The clauses of the sparse vectors of a collection: of all of its keys, and of its documents.

    Each is empty if the collection has none.

    Args:
        tables: The collection's tables.
        numbers: The numbers of the tables of the keys.
        text_number: The number of the tables of the documents.
        modality: What the embeddings of the batch were made of.
    """

    def __init__(
        self,
        tables: CollectionTables,
        numbers: Iterable[int],
        text_number: int | None,
        modality: Modality | None = None,
    ) -> None:
        self._tables = tables
        self._numbers = tuple(numbers)
        self._text_number = text_number
        self._modality: Modality | None = modality

    def parts(self) -> dict[str, sql.Composable]:
        """Return the clauses by the names that the templates of writes give them."""
        return {f"sparse_{name}": self._compose(name) for name in _CLAUSES}

    def _compose(self, name: str) -> sql.Composable:
        clauses = [self._clause(_CLAUSES[name], number) for number in self._numbers]
        if self._text_number is not None:
            clauses.append(self._clause(_TEXT_CLAUSES.get(name, ""), self._text_number))
        return sql.SQL("").join(clauses)

    def _clause(self, template: LiteralString, number: int) -> sql.Composable:
        prefix, sparse = f"s{number}", self._tables.sparse(number)
        # An image that is embedded replaces the document.
        is_replaced: LiteralString = (
            "(p.document is not null or p.pos is not null)"
            if self._modality == "image"
            else "p.document is not null"
        )
        return sql.SQL(template).format(
            has_document=sql.SQL(is_replaced),
            column=sparse.column,
            vectors=sparse.vectors,
            changes=sparse.changes,
            log=self._tables.log_literal,
            **{name: sql.Identifier(f"{prefix}_{name}") for name in (*_COLUMNS, "pos", "replaced")},
            **{f"all_{name}": sql.Placeholder(f"{prefix}_{name}", "b") for name in _COLUMNS},
            stored=sql.Identifier(f"{prefix}_stored"),
            changed=sql.Identifier(f"{prefix}_changed"),
        )


_CLAUSES: dict[str, LiteralString] = {
    # The columns of the batch, and their names.
    "arrays": """, {all_touched}::bool[], {all_has}::bool[], {all_p0}::sparsevec[],
        {all_p1}::sparsevec[], {all_p2}::sparsevec[], {all_p3}::sparsevec[], {all_p4}::sparsevec[],
        {all_given}::text[], {all_plain}::bool[]""",
    "names": ", {touched}, {has}, {p0}, {p1}, {p2}, {p3}, {p4}, {given}, {plain}",
    "claim_arrays": ", {all_has}::bool[]",
    "claim_names": ", {has}",
    # The columns of records.
    "columns": ", {column}",
    "drawn": ", case when {has} then drawn end",
    "held": ", r.{column}",
    "same": " and r.{column} is not distinct from s.{column}",
    "replaced": ", h.{column} as {replaced}",
    "positions": """, case
            when {has} is not true then null
            when is_new then {replaced}
            else nextval({log})
        end as {pos}""",
    "set": "{column} = case when p.{touched} then p.{pos} else r.{column} end, ",
    # The clauses that write the tables.
    "added": """,
{stored} as (
    insert into {vectors} (pos, seq, p0, p1, p2, p3, p4, given, is_plain)
    select drawn, drawn, {p0}, {p1}, {p2}, {p3}, {p4}, {given}::jsonb, {plain}
    from input
    where {has} and drawn in (select seq from inserted)
    order by drawn
    returning pos, is_plain
),
{changed} as (
    insert into {changes} (pos, is_removed, is_plain)
    select pos, false, is_plain from {stored}
)
""",
    "changed": """,
{stored} as (
    insert into {vectors} (pos, seq, p0, p1, p2, p3, p4, given, is_plain)
    select {pos}, seq, {p0}, {p1}, {p2}, {p3}, {p4}, {given}::jsonb, {plain}
    from positions
    where {pos} is not null
    order by {pos}
    returning pos, is_plain
),
{changed} as (
    insert into {changes} (pos, is_removed, is_plain)
    select pos, false, is_plain from {stored}
    union all
    select p.{replaced}, true, true
    from positions as p
    where p.{replaced} is not null and p.{touched} and not p.is_new
)
""",
    "cleared": """,
{changed} as (
    insert into {changes} (pos, is_removed, is_plain)
    select {column}, true, true from removed where {column} is not null
)
""",
}

_TEXT_CLAUSES: dict[str, LiteralString] = {
    **{name: _CLAUSES[name] for name in ("columns", "held", "same", "replaced", "cleared")},
    "drawn": ", case when document is not null then drawn end",
    "positions": """, case
            when document is null then null
            when is_new then {replaced}
            else nextval({log})
        end as {pos}""",
    "set": "{column} = case when {has_document} then p.{pos} else r.{column} end, ",
    "added": """,
{changed} as (
    insert into {changes} (pos, seq, is_removed, is_plain)
    select drawn, drawn, false, true
    from input
    where document is not null and drawn in (select seq from inserted)
    order by drawn
)
""",
    "changed": """,
{changed} as (
    insert into {changes} (pos, seq, is_removed, is_plain)
    select {pos}, seq, false, true from positions where {pos} is not null
    union all
    select p.{replaced}, null, true, true
    from positions as p
    where p.{replaced} is not null and {has_document} and not p.is_new
)
""",
}
"""The clauses of documents. Their words need no columns of the batch."""
