"""Values of a model's fields, and their forms in metadata and in filters."""

from __future__ import annotations

import math
from datetime import UTC, date, datetime
from decimal import MAX_EMAX, MAX_PREC, MIN_EMIN, Context, Decimal, InvalidOperation
from typing import Any, Final

import numpy as np
from pydantic_core import to_jsonable_python

from pgchroma.client.typed.fields import MetadataField
from pgchroma.model.metadata import fits_int64

__all__ = ("check_read", "check_written", "operand", "plain", "stored")

_TYPES: Final[dict[str, type[Any]]] = {"string": str, "int": int, "float": float, "bool": bool}

_EXACT: Final = Context(prec=MAX_PREC, Emax=MAX_EMAX, Emin=MIN_EMIN)
"""A context that does not round, unlike decimal's default."""

_MAX_ZEROS: Final = 400
"""Decimals with more zeros are written with an exponent. The largest float has 308."""


def plain(value: Any) -> Any:
    """Convert a value to JSON's types."""
    return to_jsonable_python(value.item() if isinstance(value, np.generic) else value)


def stored(field: MetadataField, value: Any) -> Any:
    """Convert a value to its stored form, which is the same for equal values."""
    value = value.item() if isinstance(value, np.generic) else value
    if field.is_subclass(datetime):
        return _moment(value)
    if field.is_subclass(Decimal):
        return _decimal(value)
    return to_jsonable_python(value)


def operand(field: MetadataField, value: Any) -> Any:
    """Convert a filter's value to its stored form, and a number to the field's type if it fits."""
    form = stored(field, value)
    if type(form) is int and field.kind == "float":
        return _as_float(form)
    if type(form) is float and field.kind == "int":
        return int(form) if form.is_integer() and fits_int64(int(form)) else form
    return form


def check_written(field: MetadataField, value: Any, path: str) -> Any:
    """Check a value, or an element of a list, before it is stored.

    Values that pydantic has validated pass. It validates neither defaults nor later changes.

    Raises:
        ValueError: The value does not have the field's type, or cannot be stored.
    """
    value = _of_kind(field, value, path)
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{path}: {value} is not a finite number")
    if isinstance(value, int) and not fits_int64(value):
        raise ValueError(f"{path}: {value} does not fit 64 bits")
    return value


def check_read(field: MetadataField, value: Any, path: str) -> Any:
    """Check a stored value, which may have been written without the model.

    Raises:
        ValueError: The value does not have the field's type.
    """
    if not field.is_list:
        return _of_kind(field, value, path)
    if not isinstance(value, list):
        raise ValueError(f"{path}: expected a list, got {value!r:.80}")
    return [_of_kind(field, element, path) for element in value]


def _of_kind(field: MetadataField, value: Any, path: str) -> Any:
    expected = _TYPES[field.kind]
    if expected is float and type(value) is int:
        return float(value)
    if type(value) is not expected:
        raise ValueError(f"{path}: expected {expected.__name__}, got {value!r:.80}")
    return value


def _moment(value: Any) -> Any:
    if not isinstance(value, str | date):
        return to_jsonable_python(value)
    try:
        moment = value if isinstance(value, datetime) else datetime.fromisoformat(str(value))
        return to_jsonable_python(moment if moment.tzinfo is None else moment.astimezone(UTC))
    except (ValueError, OverflowError):
        return to_jsonable_python(value)


def _decimal(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, str | int | float | Decimal):
        return to_jsonable_python(value)
    try:
        number = Decimal(str(value))
    except InvalidOperation:
        return value
    if not number.is_finite():
        return str(number)
    if not number:
        return "0"
    shortest = number.normalize(_EXACT)
    return str(shortest) if abs(shortest.adjusted()) > _MAX_ZEROS else format(shortest, "f")


def _as_float(value: int) -> int | float:
    try:
        number = float(value)
    except OverflowError:
        return value
    return number if number == value else value
