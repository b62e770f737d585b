"""Encoding and decoding metadata, so that ints and floats stay distinct in jsonb.

jsonb keeps the digits of a number but not its exponent: ``1e22`` would be returned as an int. So a
float that Python writes with an exponent is written with all its digits and a decimal point.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import orjson

from pgchroma.model.metadata import CleanMetadata
from pgchroma.model.sparse import round_values

__all__ = ("decode_metadata", "encode_metadata")

_FIRST_EXPONENT = 1e15
"""Smaller floats are written with a decimal point and without an exponent."""

_WITH_FLOATS = (float, list, dict)


def encode_metadata(metadata: CleanMetadata | None) -> str | None:
    """Encode metadata for jsonb. None and empty metadata become null."""
    if not metadata:
        return None
    if any(type(value) in _WITH_FLOATS for value in metadata.values()):
        metadata = {key: _exact(value) for key, value in metadata.items()}
    return orjson.dumps(metadata).decode()


def decode_metadata(text: str | None) -> CleanMetadata | None:
    """Decode the text of a jsonb column."""
    return None if text is None else orjson.loads(text)


def _exact(value: Any) -> Any:
    if isinstance(value, float):
        return _with_point(value) if abs(value) >= _FIRST_EXPONENT else value
    if isinstance(value, list):
        return [_exact(element) for element in value]
    if isinstance(value, dict):
        rounded = round_values(value)
        return {**rounded, "values": _exact(rounded["values"])}
    return value


def _with_point(value: float) -> orjson.Fragment:
    return orjson.Fragment(f"{Decimal(repr(value)):f}".removesuffix(".0") + ".0")
