"""Columns of a typed search as rows, and as tables of pandas and pyarrow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from enum import Enum
from typing import Any, Final
from uuid import UUID

import numpy as np

from pgchroma.client.fields import MetadataField, RecordFields
from pgchroma.client.rows import ABSENT
from pgchroma.embeddings.extras import load_extra

__all__ = ("DISTANCE", "to_arrow", "to_list", "to_pandas")

DISTANCE: Final = "_distance"
"""The column that says how far each record is."""


def to_list(fields: RecordFields, columns: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
    """Shape columns as rows; vectors are lists of floats."""
    complete = _complete(fields, columns)
    if fields.vector in complete:
        complete[fields.vector] = [_listed(vector) for vector in complete[fields.vector]]
    return [dict(zip(complete, row, strict=True)) for row in zip(*complete.values(), strict=True)]


def to_pandas(fields: RecordFields, columns: Mapping[str, Sequence[Any]]) -> Any:
    """Shape columns as a DataFrame; vectors are arrays of float32.

    Raises:
        ValueError: pandas is not installed.
    """
    pandas = load_extra("pandas", "pandas")
    return pandas.DataFrame(_complete(fields, columns))


def to_arrow(fields: RecordFields, columns: Mapping[str, Sequence[Any]]) -> Any:
    """Shape columns as a pyarrow table; its types are the model's, also if it is empty.

    UUIDs, decimals and members of an enumeration are there as they are stored. Times have a zone,
    UTC, if one of them has.

    Raises:
        ValueError: pyarrow is not installed.
    """
    arrow = load_extra("pyarrow", "arrow")
    complete = _complete(fields, columns)
    types = {name: _arrow_type(arrow, fields, name, complete[name]) for name in complete}
    arrays = [
        arrow.array([_plain(value) for value in values], type=types[name])
        for name, values in complete.items()
    ]
    return arrow.Table.from_arrays(arrays, names=list(complete))


def _complete(fields: RecordFields, columns: Mapping[str, Sequence[Any]]) -> dict[str, list[Any]]:
    return {
        name: [_default(fields, name) if value is ABSENT else value for value in values]
        for name, values in columns.items()
    }


def _default(fields: RecordFields, name: str) -> Any:
    return fields.metadata[name].default


def _listed(vector: Any) -> Any:
    return None if vector is None else vector.tolist()


def _arrow_type(arrow: Any, fields: RecordFields, name: str, values: Sequence[Any]) -> Any:
    if name == DISTANCE:
        return arrow.float32()
    if name == fields.vector:
        return arrow.list_(arrow.float32(), fields.length)
    if name == "id" and fields.id_type is int:
        return arrow.int64()
    known = fields.metadata.get(name)
    if known is None:
        return arrow.string()
    element = _element_type(arrow, known, values)
    return arrow.list_(element) if known.is_list else element


def _element_type(arrow: Any, known: MetadataField, values: Sequence[Any]) -> Any:
    element = known.element
    if isinstance(element, type) and issubclass(element, datetime):
        flat = [each for value in values for each in (value or () if known.is_list else (value,))]
        has_zone = any(each is not None and each.tzinfo is not None for each in flat)
        return arrow.timestamp("us", tz="UTC" if has_zone else None)
    if isinstance(element, type) and issubclass(element, date):
        return arrow.date32()
    types = {
        "string": arrow.string(),
        "int": arrow.int64(),
        "float": arrow.float64(),
        "bool": arrow.bool_(),
    }
    return types[known.kind]


def _plain(value: Any) -> Any:
    if isinstance(value, list):
        return [_plain(each) for each in value]
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, UUID | Decimal):
        return str(value)
    return value.tolist() if isinstance(value, np.ndarray) else value
