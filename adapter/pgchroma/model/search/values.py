"""Numbers, texts and lists of a search that was sent, checked."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from pgchroma.errors import InvalidArgumentError, MalformedRequestError
from pgchroma.model.limits import MAX_COUNT
from pgchroma.model.plain import plain_scalar, shown
from pgchroma.model.text import check_text

__all__ = ("boolean", "count", "field", "float32", "invalid_type", "mapping", "name", "names")

_MAX_NAMES: Final = 10_000


def mapping(value: Any, path: str, expected: str) -> Mapping[str, Any]:
    """Return an object."""
    if not isinstance(value, Mapping):
        raise invalid_type(path, value, expected)
    return value


def field(value: Any, name: str, path: str) -> Any:
    """Return a field that an object must have."""
    fields = mapping(value, path, "an object")
    if name not in fields:
        raise MalformedRequestError(f"{path}: missing field `{name}`")
    return fields[name]


def float32(value: Any, path: str) -> float:
    """Return a number rounded to float32; one that is too large becomes infinite, as in Chroma."""
    number = plain_scalar(value)
    if isinstance(number, bool) or not isinstance(number, int | float):
        raise invalid_type(path, value, "f32")
    if isinstance(number, float) and math.isnan(number):
        raise invalid_type(path, value, "f32")
    try:
        with np.errstate(over="ignore"):
            return float(np.float32(number))
    except OverflowError:
        return math.inf if number > 0 else -math.inf


def count(value: Any, path: str) -> int:
    """Return a number of records."""
    number = plain_scalar(value)
    if isinstance(number, bool) or not isinstance(number, int):
        raise invalid_type(path, value, "u32")
    if not 0 <= number <= MAX_COUNT:
        raise MalformedRequestError(
            f"{path}: invalid value: integer `{shown(number)}`, expected u32"
        )
    return number


def boolean(value: Any, path: str) -> bool:
    """Return a boolean."""
    flag = plain_scalar(value)
    if not isinstance(flag, bool):
        raise invalid_type(path, value, "a boolean")
    return flag


def name(value: Any, path: str) -> str:
    """Return the name of a field."""
    text = plain_scalar(value)
    if not isinstance(text, str):
        raise invalid_type(path, value, "a string")
    check_text(text, path)
    return text


def names(value: Any, path: str) -> tuple[str, ...]:
    """Return names of fields."""
    if not isinstance(value, list | tuple | set):
        raise invalid_type(path, value, "a sequence")
    if len(value) > _MAX_NAMES:
        raise InvalidArgumentError(
            f"{path}: expected at most {_MAX_NAMES} fields, got {len(value)}"
        )
    return tuple(name(each, f"{path}[{index}]") for index, each in enumerate(value))


def invalid_type(path: str, value: Any, expected: str) -> MalformedRequestError:
    """Return the error of a value of a wrong type."""
    found = "null" if value is None else shown(value)
    return MalformedRequestError(f"{path}: invalid type: {found}, expected {expected}")
