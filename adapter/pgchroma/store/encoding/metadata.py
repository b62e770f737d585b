"""Metadata between Python and jsonb, with int and float kept apart.

jsonb keeps a number's digits but not its exponent: ``1e22`` would come back an int. So a float
that is written with an exponent goes in with its digits and a point.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import orjson

from pgchroma.model.metadata import CleanMetadata

__all__ = ("decode_metadata", "encode_metadata")

_FIRST_EXPONENT = 1e15
"""Below this, a float's shortest form has a point and no exponent that jsonb could drop."""


def encode_metadata(metadata: CleanMetadata | None) -> str | None:
    """Encode metadata for jsonb; None, and metadata without a key, become null."""
    if not metadata:
        return None
    if any(type(value) in (float, list) for value in metadata.values()):
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
    return value


def _with_point(value: float) -> orjson.Fragment:
    return orjson.Fragment(f"{Decimal(repr(value)):f}".removesuffix(".0") + ".0")
