"""Recognize metadata that is in plain types already, a whole batch at a time.

A batch has thousands of values, and a loop over them takes longer than the rest of a write. These
functions pass all keys and all values to a few built-in functions instead. They only answer whether
metadata is plain. If it is not, each value is converted, or refused with its own message.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from typing import Any, Final

from pgchroma.model.text import are_storable

__all__ = (
    "SCALARS",
    "are_plain_dicts",
    "are_plain_values",
    "fits_int64",
    "keys_of",
    "values_of",
)

SCALARS: Final = frozenset({str, int, float, bool})
"""The types of a single value."""


def fits_int64(value: int) -> bool:
    """Whether Chroma, PostgreSQL and JSON can all represent the integer."""
    # Not with a range: for a subclass of int, `in` would iterate over it.
    return -(2**63) <= value < 2**63


def keys_of(metadatas: Iterable[Mapping[str, Any] | None]) -> set[str]:
    """Return the keys of some metadata."""
    return set().union(*filter(None, metadatas))


def values_of(metadatas: Iterable[Mapping[str, Any] | None]) -> list[Any]:
    """Return all values of some metadata, which are dictionaries."""
    return list(chain.from_iterable(map(dict.values, filter(None, metadatas))))  # type: ignore[arg-type]


def are_plain_dicts(metadatas: Sequence[Any]) -> bool:
    """Whether each metadata is `None` or a dictionary with plain strings as keys."""
    if not set(map(type, metadatas)) <= {dict, type(None)}:
        return False
    return set(map(type, chain.from_iterable(filter(None, metadatas)))) <= {str}


def are_plain_values(values: Sequence[Any], *, nullable: bool) -> bool:
    """Whether all values are scalars in plain types, and can be stored as they are.

    Args:
        values: What `values_of` returns.
        nullable: Whether a value may also be `None`.
    """
    kinds = set(map(type, values))
    if not kinds <= (SCALARS | {type(None)} if nullable else SCALARS):
        return False
    if str in kinds and not are_storable([value for value in values if type(value) is str]):
        return False
    if int in kinds:
        integers = [value for value in values if type(value) is int]
        if not (fits_int64(min(integers)) and fits_int64(max(integers))):
            return False
    return float not in kinds or all(
        map(math.isfinite, [value for value in values if type(value) is float])
    )
