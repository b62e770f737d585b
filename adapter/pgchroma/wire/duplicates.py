"""A field that a JSON body has twice is refused; the decoder would take the last of them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

import msgspec
from msgspec import Raw

__all__ = ("duplicate_field", "raw_fields")

_SPACE: Final = rb"[ \t\n\r]*"
_OPENING: Final = re.compile(_SPACE + rb"\{" + _SPACE)
_KEY: Final = re.compile(rb'("[^"\\]*(?:\\.[^"\\]*)*")' + _SPACE + rb":" + _SPACE)
_NEXT: Final = re.compile(_SPACE + rb"[,}]" + _SPACE)


def raw_fields(body: bytes) -> dict[str, Raw]:
    """Return what each field of an object holds; of two with one name, the last."""
    return msgspec.json.decode(body, type=dict[str, Raw])


def duplicate_field(body: bytes, fields: Mapping[str, Raw]) -> str | None:
    """Return the name of a field that is there twice, or None.

    The object is walked from field to field, by the lengths of what they hold. The first of two
    fields with one name is not followed by what the last one holds, or comes when the name has
    been seen. A field that is not among `fields` ends the walk, as its length is not known.

    Args:
        body: A valid JSON object.
        fields: What its fields hold; of two with one name, the last.
    """
    seen: set[str] = set()
    opening = _OPENING.match(body)
    at = len(body) if opening is None else opening.end()
    while (key := _KEY.match(body, at)) is not None:
        name = msgspec.json.decode(key[1], type=str)
        if name not in fields:
            return None
        value = bytes(fields[name])
        end = _NEXT.match(body, key.end() + len(value))
        if name in seen or end is None or not body.startswith(value, key.end()):
            return name
        seen.add(name)
        at = end.end()
    return None
