"""Encoding arrays of numbers in PostgreSQL's binary format."""

from __future__ import annotations

import struct
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import ArrayLike

from pgchroma.store.encoding.vectors import PackedArray

__all__ = ("pack_numbers",)

_TYPES: Final = {
    "boolean": (16, "i1"),
    "int": (23, ">i4"),
    "bigint": (20, ">i8"),
    "real": (700, ">f4"),
}
"""PostgreSQL's object id and the binary form of each type, the same in every database."""


def pack_numbers(
    numbers: ArrayLike, type: Literal["boolean", "int", "bigint", "real"]
) -> PackedArray:
    """Pack numbers into an array of a type of PostgreSQL."""
    oid, form = _TYPES[type]
    values: Any = np.asarray(numbers)
    element = np.dtype([("bytes", ">i4"), ("value", form)])
    elements = np.empty(len(values), element)
    elements["bytes"] = element.itemsize - 4
    elements["value"] = values
    return PackedArray(struct.pack(">iiIii", 1, 0, oid, len(values), 1) + elements.tobytes())
