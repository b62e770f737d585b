"""The metadata, documents and URIs of records, as the tables have them."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final

from pgchroma.transfer.readers.chroma_directory.database import BrokenText, Database, decode_text
from pgchroma.transfer.source import Loss, Part

__all__ = (
    "DOCUMENT",
    "URI",
    "Content",
    "MetadataReader",
    "merge_metadata",
    "rowid_condition",
    "split_metadata",
)

DOCUMENT: Final = "chroma:document"
URI: Final = "chroma:uri"
_RESERVED: Final = "chroma:"
_DENSE: Final = 8
"""How many rowids there may be for each record that is read in one range."""

_COLUMNS: Final = ("id", "key", "string_value", "int_value", "float_value", "bool_value")
_UNREADABLE: Final = "is empty or of a type that this version does not know"
_NOT_UTF8: Final = "the text of {} has bytes that are not UTF-8, which were replaced"


@dataclass(slots=True)
class Content:
    """The keys of a record in the tables, the document and the URI among them.

    Attributes:
        lost: What was lost of each key that could not be read.
        suspect: What is suspect.
    """

    values: dict[str, Any] = field(default_factory=dict)
    lost: dict[str, str] = field(default_factory=dict)
    suspect: dict[str, str] = field(default_factory=dict)


class MetadataReader:
    """Read the metadata of records by their rowids."""

    def __init__(self, database: Database) -> None:
        self._database = database
        arrays = database.select("embedding_metadata_array", ("id",), "limit 1").fetchone()
        self._has_arrays = arrays is not None
        self._has_lost_values = "id" in database.columns("lost_values")

    def read(self, rowids: Sequence[int]) -> dict[int, Content]:
        """Return what the tables have of records, which are given by ascending rowids."""
        contents = {rowid: Content() for rowid in rowids}
        where, values = rowid_condition("id", rowids)
        try:
            with self._database.only_utf8():
                self._add_values(contents, where, values)
        except sqlite3.OperationalError:
            # Read again, all values are the same, but for those with bytes that are not UTF-8.
            self._add_values(contents, where, values)
        if self._has_arrays:
            self._add_arrays(contents, where, values)
        if self._has_lost_values:
            self._add_lost(contents, where, values)
        return contents

    def _add_values(
        self, contents: Mapping[int, Content], where: str, values: Sequence[object]
    ) -> None:
        rows = self._database.select("embedding_metadata", _COLUMNS, f"{where} order by id", values)
        unwanted = Content()
        current, content, stored = None, unwanted, unwanted.values
        for rowid, key, string, integer, real, boolean in rows:
            if rowid != current:
                current, content = rowid, contents.get(rowid, unwanted)
                stored = content.values
            # The usual types first, without a call for each: there are millions of values.
            if type(string) is str:
                stored[key] = string
            elif string is None and boolean is None and integer is not None:
                stored[key] = integer
            elif string is None and boolean is None and real is not None:
                stored[key] = real
            else:
                _store(content, key, string, integer, real, boolean)

    def _add_arrays(
        self, contents: Mapping[int, Content], where: str, values: Sequence[object]
    ) -> None:
        rows = self._database.select(
            "embedding_metadata_array", _COLUMNS, f"{where} order by id, rowid", values
        )
        for rowid, key, string, integer, real, boolean in rows:
            content = contents.get(rowid)
            if content is None:
                continue
            element = Content()
            _store(element, key, string, integer, real, boolean)
            content.lost.update(element.lost)
            content.suspect.update(element.suspect)
            if not isinstance(content.values.get(key), list):
                content.values[key] = []
            content.values[key].extend(element.values.values())

    def _add_lost(
        self, contents: Mapping[int, Content], where: str, values: Sequence[object]
    ) -> None:
        # Only a rebuilt database has this table.
        statement = f"select id, key from lost_values {where}"  # noqa: S608  (of this module)
        for rowid, key in self._database.connection.execute(statement, values):
            if rowid in contents:
                contents[rowid].lost[key] = "could not be read"


def rowid_condition(column: str, rowids: Sequence[int]) -> tuple[str, Sequence[object]]:
    """Return a condition for ascending rowids, which may select more, and what it binds."""
    if rowids and rowids[-1] - rowids[0] < _DENSE * len(rowids):
        return f"where {column} between ? and ?", (rowids[0], rowids[-1])
    listed = json.dumps(rowids)
    return f"where {column} in (select value from json_each(?))", (listed,)  # noqa: S608


def _store(
    content: Content, key: str, string: object, integer: object, real: object, boolean: object
) -> None:
    if string is not None:
        content.values[key] = decode_text(string) if isinstance(string, bytes) else string
        if isinstance(content.values[key], BrokenText):
            content.suspect[key] = _NOT_UTF8
    elif boolean is not None:
        content.values[key] = bool(boolean)
    elif integer is not None:
        content.values[key] = integer
    elif real is not None:
        content.values[key] = real
    else:
        content.lost[key] = _UNREADABLE


def merge_metadata(content: Content, changes: Iterable[Mapping[str, Any]]) -> None:
    """Apply the metadata of writes; a value of `None` removes a key."""
    for change in changes:
        for key, value in change.items():
            content.lost.pop(key, None)
            content.suspect.pop(key, None)
            if value is None:
                content.values.pop(key, None)
            else:
                content.values[key] = value


def split_metadata(
    id: str, content: Content
) -> tuple[str | None, str | None, dict[str, Any] | None, list[Loss]]:
    """Return the document, the URI and the metadata of a record, and what is lost of them."""
    values = content.values
    losses: list[Loss] = []
    document, uri = _text(id, values, DOCUMENT, losses), _text(id, values, URI, losses)
    for key in list(filter(_is_reserved, values)):
        del values[key]
        losses.append(Loss("metadata", f"the key {key} is reserved and was left out", id))
    if not (content.lost or content.suspect):
        return document, uri, values or None, losses
    for problems, is_suspect in ((content.lost, False), (content.suspect, True)):
        for key, problem in problems.items():
            part, name = _part(key)
            reason = problem.format(name) if "{}" in problem else f"{name} {problem}"
            losses.append(Loss(part, reason, id, is_suspect))
    return document, uri, values or None, losses


# Cached: millions of values have a few different keys.
@lru_cache(maxsize=4096)
def _is_reserved(key: str) -> bool:
    return key.startswith(_RESERVED)


def _part(key: str) -> tuple[Part, str]:
    if key == DOCUMENT:
        return "document", "the document"
    if key == URI:
        return "uri", "the URI"
    return "metadata", f"the value of the key {key!r}"


def _text(id: str, values: dict[str, Any], key: str, losses: list[Loss]) -> str | None:
    value = values.pop(key, None)
    if value is None or isinstance(value, str):
        return value
    part, name = _part(key)
    losses.append(Loss(part, f"{name} is not a text", id))
    return None
