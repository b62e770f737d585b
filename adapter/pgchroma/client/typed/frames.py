"""The results of a typed search as rows, DataFrames and pyarrow tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from enum import Enum
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

import numpy as np

from pgchroma.client.typed.fields import MetadataField, RecordFields
from pgchroma.client.typed.rows import MISSING
from pgchroma.extras import load_extra
from pgchroma.model.metadata import fits_int64

if TYPE_CHECKING:
    import pandas
    import pyarrow

__all__ = ("DISTANCE", "to_arrow", "to_list", "to_pandas")

DISTANCE: Final = "_distance"
"""The column with the distance of each record."""

_PANDAS_TYPES: Final = {
    "int": ("int64", "Int64"),
    "float": ("float64", "Float64"),
    "bool": ("bool", "boolean"),
}
"""pandas' types of fields that cannot be None, and of fields that can."""

_DATETIME_TYPES: Final = ("datetime64[us]", "datetime64[us, UTC]")
"""pandas' types of datetimes without and with a zone."""


def to_list(fields: RecordFields, columns: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
    """Return columns as rows; vectors are lists of floats."""
    complete = _complete(fields, columns)
    if fields.vector in complete:
        complete[fields.vector] = [_listed(vector) for vector in complete[fields.vector]]
    return [dict(zip(complete, row, strict=True)) for row in zip(*complete.values(), strict=True)]


def to_pandas(fields: RecordFields, columns: Mapping[str, Sequence[Any]]) -> pandas.DataFrame:
    """Return columns as a DataFrame; vectors are arrays of float32.

    A column has the type of its field, even if it is empty. Numbers and bools that can be None
    have pandas' types Int64, Float64 and boolean, which keep their values unchanged.

    Raises:
        ValueError: pandas is not installed.
    """
    pd = load_extra("pandas", "pandas")
    complete = _complete(fields, columns)
    return pd.DataFrame(
        {
            name: pd.Series(values, dtype=_pandas_type(fields, name, values))
            for name, values in complete.items()
        }
    )


def to_arrow(fields: RecordFields, columns: Mapping[str, Sequence[Any]]) -> pyarrow.Table:
    """Return columns as a pyarrow table, with the model's types even if it is empty.

    UUIDs, decimals and members of enumerations have their stored form. A column of datetimes has
    the zone UTC if one of its values has a zone.

    Raises:
        ValueError: pyarrow is not installed; or a value does not fit its column, such as an int
            id of more than 64 bits.
    """
    arrow = load_extra("pyarrow", "arrow")
    complete = _complete(fields, columns)
    types = {name: _arrow_type(arrow, fields, name, complete[name]) for name in complete}
    arrays = [_array(arrow, name, values, types[name]) for name, values in complete.items()]
    return arrow.Table.from_arrays(arrays, names=list(complete))


def _array(arrow: Any, name: str, values: Sequence[Any], kind: Any) -> Any:
    try:
        return arrow.array([_plain(value) for value in values], type=kind)
    except (arrow.ArrowException, OverflowError) as error:
        raise ValueError(f"the column {name} does not fit {kind}: {error}") from error


def _complete(fields: RecordFields, columns: Mapping[str, Sequence[Any]]) -> dict[str, list[Any]]:
    return {
        name: [_default(fields, name) if value is MISSING else value for value in values]
        for name, values in columns.items()
    }


def _default(fields: RecordFields, name: str) -> Any:
    return fields.metadata[name].default


def _listed(vector: Any) -> Any:
    return None if vector is None else vector.tolist()


def _pandas_type(fields: RecordFields, name: str, values: Sequence[Any]) -> str:
    if name == DISTANCE:
        return "float64"
    if name == "id" and fields.id_type is int:
        return "int64" if all(map(fits_int64, values)) else "object"
    field = fields.metadata.get(name)
    if field is None or field.is_list or field.is_subclass(Enum):
        return "object"
    if field.is_subclass(datetime):
        zones = {each.tzinfo is not None for each in values if each is not None}
        return "object" if len(zones) > 1 else _DATETIME_TYPES[True in zones]
    has_none = field.is_nullable or None in values
    return _PANDAS_TYPES.get(field.kind, ("object", "object"))[has_none]


def _arrow_type(arrow: Any, fields: RecordFields, name: str, values: Sequence[Any]) -> Any:
    if name == DISTANCE:
        return arrow.float32()
    if name == fields.vector:
        return arrow.list_(arrow.float32(), fields.length)
    if name == "id" and fields.id_type is int:
        return arrow.int64()
    field = fields.metadata.get(name)
    if field is None:
        return arrow.string()
    element = _element_type(arrow, field, values)
    return arrow.list_(element) if field.is_list else element


def _element_type(arrow: Any, field: MetadataField, values: Sequence[Any]) -> Any:
    if field.is_subclass(datetime):
        flat = [each for value in values for each in (value or () if field.is_list else (value,))]
        has_zone = any(each is not None and each.tzinfo is not None for each in flat)
        return arrow.timestamp("us", tz="UTC" if has_zone else None)
    if field.is_subclass(date):
        return arrow.date32()
    types = {
        "string": arrow.string(),
        "int": arrow.int64(),
        "float": arrow.float64(),
        "bool": arrow.bool_(),
    }
    return types[field.kind]


def _plain(value: Any) -> Any:
    if isinstance(value, list):
        return [_plain(each) for each in value]
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, UUID | Decimal):
        return str(value)
    return value.tolist() if isinstance(value, np.ndarray) else value
