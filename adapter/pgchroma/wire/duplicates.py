"""Find a field that a JSON body has twice. The decoder would use the last of them."""

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
    """Return the value of each field of an object; of two with one name, the last value."""
    return msgspec.json.decode(body, type=dict[str, Raw])


def duplicate_field(body: bytes, fields: Mapping[str, Raw]) -> str | None:
    """Return the name of a field that an object has twice, or `None`.

    The walk goes from field to field by the lengths of their values. At a duplicate, either the
    text differs from the value in `fields`, or the name was seen before. A field that is not in
    `fields` ends the walk, because its length is unknown.

    Args:
        body: A valid JSON object.
        fields: The values of its fields; of two with one name, the last value.
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
