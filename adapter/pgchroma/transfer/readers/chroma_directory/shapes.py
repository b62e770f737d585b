"""Tell from a row's shape to which of Chroma's tables it belongs.

Where the first page of a file is lost, nothing says which page belongs to which table.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from pgchroma.transfer.readers.chroma_directory.pages import Row, Value

__all__ = ("COLUMNS", "UUID", "guess_tables")

UUID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")

COLUMNS: Final[Mapping[str, Sequence[str]]] = {
    "migrations": ("dir", "version"),
    "tenants": ("id",),
    "databases": ("id", "name", "tenant_id"),
    "collections": (
        "id", "name", "dimension", "database_id", "config_json_str", "schema_str",
    ),
    "collection_metadata": (
        "collection_id", "key", "str_value", "int_value", "float_value", "bool_value",
    ),
    "segments": ("id", "type", "scope", "collection"),
    "segment_metadata": (
        "segment_id", "key", "str_value", "int_value", "float_value", "bool_value",
    ),
    "max_seq_id": ("segment_id", "seq_id"),
    "embeddings": ("id", "segment_id", "embedding_id", "seq_id"),
    "embedding_metadata": (
        "id", "key", "string_value", "int_value", "float_value", "bool_value",
    ),
    "embedding_metadata_array": (
        "id", "key", "string_value", "int_value", "float_value", "bool_value",
    ),
    "embeddings_queue": (
        "seq_id", "operation", "topic", "id", "vector", "encoding", "metadata",
    ),
    "embedding_fulltext_search_content": ("id", "c0"),
}  # fmt: skip
"""The columns of Chroma's tables that are read."""

_MIGRATED: Final = (b"embeddings_queue", b"metadb", b"sysdb")
_TOPIC: Final = b"persistent://"
_SEGMENT_TYPE: Final = b"urn:chroma:segment"
_UUID_BYTES: Final = 36


@dataclass(frozen=True, slots=True)
class _Shape:
    columns: Sequence[str]
    fits: Callable[[Row], bool]


def guess_tables(rows: Sequence[Row]) -> tuple[Sequence[str], Sequence[str]] | None:
    """Return the tables that the rows of a leaf page may belong to, and the columns of the rows.

    A page has the rows of one table. Metadata of collections and of segments look alike, and rows
    in the wrong one of the two tables do no harm.
    """
    for tables, shape in _SHAPES:
        width = len(shape.columns)
        fitting = [len(row) == width and shape.fits(row) for row in rows]
        if rows and all(fitting):
            if tables == ("embedding_metadata",) and _repeats(rows):
                return ("embedding_metadata_array",), shape.columns
            return tables, shape.columns
    return None


def _repeats(rows: Sequence[Row]) -> bool:
    """Whether a record has a key more than once, which only the elements of arrays do."""
    return len({(row[0], row[1]) for row in rows}) < len(rows)


def _is_uuid(value: Value) -> bool:
    is_text = isinstance(value, bytes) and len(value) == _UUID_BYTES
    return is_text and UUID.fullmatch(value.decode("latin-1")) is not None  # type: ignore[union-attr]


def _starts(value: Value, prefix: bytes) -> bool:
    return isinstance(value, bytes) and value.startswith(prefix)


def _is_queue(row: Row) -> bool:
    return row[0] is None and isinstance(row[2], int) and _starts(row[3], _TOPIC)


def _is_embedding(row: Row) -> bool:
    return row[0] is None and _is_uuid(row[1]) and isinstance(row[2], bytes)


def _is_record_metadata(row: Row) -> bool:
    return isinstance(row[0], int) and isinstance(row[1], bytes)


def _is_head_metadata(row: Row) -> bool:
    return _is_uuid(row[0]) and isinstance(row[1], bytes)


_METADATA: Final = COLUMNS["embedding_metadata"]
_HEAD_METADATA: Final = ("collection_metadata", "segment_metadata")
_ANY_METADATA: Final = ("owner_id", "key", "str_value", "int_value", "float_value", "bool_value")

_SHAPES: Final[Sequence[tuple[Sequence[str], _Shape]]] = (
    (
        ("embeddings_queue",),
        _Shape(
            ("seq_id", "created_at", "operation", "topic", "id", "vector", "encoding", "metadata"),
            _is_queue,
        ),
    ),
    (
        ("embeddings",),
        _Shape(("id", "segment_id", "embedding_id", "seq_id", "created_at"), _is_embedding),
    ),
    (
        ("migrations",),
        _Shape(("dir", "version", "filename", "sql", "hash"), lambda row: row[0] in _MIGRATED),
    ),
    (("embedding_metadata",), _Shape(_METADATA, _is_record_metadata)),
    (("embedding_metadata",), _Shape(_METADATA[:-1], _is_record_metadata)),
    (
        ("segments",),
        _Shape(COLUMNS["segments"], lambda row: _starts(row[1], _SEGMENT_TYPE)),
    ),
    (
        ("segments",),
        _Shape(
            ("id", "type", "scope", "topic", "collection"),
            lambda row: _starts(row[1], _SEGMENT_TYPE),
        ),
    ),
    (
        ("collections",),
        _Shape(COLUMNS["collections"], lambda row: _is_uuid(row[0]) and _is_uuid(row[3])),
    ),
    (
        ("collections",),
        _Shape(COLUMNS["collections"][:5], lambda row: _is_uuid(row[0]) and _is_uuid(row[3])),
    ),
    (
        ("collections",),
        _Shape(
            ("id", "name", "topic", "dimension", "database_id"),
            lambda row: _is_uuid(row[0]) and _starts(row[2], _TOPIC),
        ),
    ),
    (
        ("collections",),
        _Shape(
            ("id", "name", "topic", "dimension"),
            lambda row: _is_uuid(row[0]) and _starts(row[2], _TOPIC),
        ),
    ),
    (_HEAD_METADATA, _Shape(_ANY_METADATA, _is_head_metadata)),
    (_HEAD_METADATA, _Shape(_ANY_METADATA[:-1], _is_head_metadata)),
    (
        ("databases",),
        _Shape(
            COLUMNS["databases"],
            lambda row: _is_uuid(row[0]) and all(isinstance(value, bytes) for value in row),
        ),
    ),
    (("max_seq_id",), _Shape(COLUMNS["max_seq_id"], lambda row: _is_uuid(row[0]))),
    (
        ("embedding_fulltext_search_content",),
        _Shape(("id", "c0"), lambda row: row[0] is None and isinstance(row[1], bytes)),
    ),
)
"""The most telling shapes first."""
