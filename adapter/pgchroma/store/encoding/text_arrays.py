"""Encoding long lists of texts in PostgreSQL's binary format.

psycopg encodes a list in one call that does not release the GIL: 40 MB of documents block all other
threads for a quarter of a second. This module encodes a list text by text.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from typing import Any

from psycopg import pq
from psycopg.abc import Buffer
from psycopg.adapt import Dumper

__all__ = ("TextArray", "TextArrayDumper", "pack_encoded", "pack_lists", "pack_texts")

_TEXT_OID, _TEXT_ARRAY_OID = 25, 1009
"""The object ids of `text` and `text[]`, the same in every database."""

_NULL = struct.pack(">i", -1)


class TextArray(bytes):
    """A ``text[]`` in PostgreSQL's binary format."""

    __slots__ = ()


class TextArrayDumper(Dumper):
    """Sends a `TextArray` unchanged."""

    format = pq.Format.BINARY
    oid = _TEXT_ARRAY_OID

    def dump(self, obj: TextArray) -> Buffer:
        """Return the bytes."""
        return obj


def pack_texts(texts: Sequence[str | None]) -> TextArray:
    """Pack texts into a ``text[]``. None becomes null."""
    return pack_encoded([None if text is None else text.encode() for text in texts])


def pack_encoded(texts: Sequence[bytes | None]) -> TextArray:
    """Pack texts in UTF-8 into a ``text[]``. None becomes null."""
    has_null = int(None in texts)
    parts = [struct.pack(">iiIii", 1, has_null, _TEXT_OID, len(texts), 1)]
    for text in texts:
        if text is None:
            parts.append(_NULL)
        else:
            parts.append(len(text).to_bytes(4, "big"))
            parts.append(text)
    return TextArray(b"".join(parts))


def pack_lists(parameters: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the parameters of a statement, with every list of texts packed."""
    packed = {
        name: pack_texts(value)
        for name, value in parameters.items()
        if isinstance(value, list) and _are_texts(value)
    }
    return {**parameters, **packed} if packed else parameters


def _are_texts(values: list[Any]) -> bool:
    kinds = set(map(type, values))
    return str in kinds and kinds <= {str, type(None)}
