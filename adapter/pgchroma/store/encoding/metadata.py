"""Encoding and decoding metadata, so that ints and floats stay distinct in jsonb.

jsonb keeps the digits of a number but not its exponent: ``1e22`` would be returned as an int. So a
float that Python writes with an exponent is written with all its digits and a decimal point.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import orjson

from pgchroma.model.metadata import CleanMetadata
from pgchroma.model.plain_metadata import values_of
from pgchroma.model.sparse import round_values

__all__ = ("decode_metadata", "encode_metadata", "encode_metadatas")

_FIRST_EXPONENT = 1e15
"""Smaller floats are written with a decimal point and without an exponent."""

_WITH_ELEMENTS = frozenset({list, dict})


def encode_metadatas(metadatas: Sequence[CleanMetadata | None]) -> list[bytes | None]:
    """Encode the metadata of a batch, as `encode_metadata` does of one record, in UTF-8."""
    encode = orjson.dumps if _are_exact(values_of(metadatas)) else _encode
    return [encode(metadata) if metadata else None for metadata in metadatas]


def encode_metadata(metadata: CleanMetadata | None) -> str | None:
    """Encode metadata for jsonb. None and empty metadata become null."""
    return _encode(metadata).decode() if metadata else None


def decode_metadata(text: str | None) -> CleanMetadata | None:
    """Decode the text of a jsonb column."""
    return None if text is None else orjson.loads(text)


def _are_exact(values: Sequence[Any]) -> bool:
    """Whether all values are scalars that JSON has as they are."""
    kinds = set(map(type, values))
    if not kinds.isdisjoint(_WITH_ELEMENTS):
        return False
    floats = [value for value in values if type(value) is float] if float in kinds else ()
    return max(map(abs, floats), default=0.0) < _FIRST_EXPONENT


def _encode(metadata: CleanMetadata) -> bytes:
    return orjson.dumps({key: _exact(value) for key, value in metadata.items()})


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
