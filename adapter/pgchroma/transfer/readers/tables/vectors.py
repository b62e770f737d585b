"""Vectors as pgvector sends them in binary."""

from __future__ import annotations

import struct
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from pgchroma.model.sparse import SPARSE_VECTOR_TYPE, TYPE_KEY, shortest

__all__ = ("dense_vector", "sparse_vector")

_HEADER: Final = struct.Struct(">hh")
_SPARSE_HEADER: Final = struct.Struct(">iii")
_NUMBERS: Final = {"vector": ">f4", "halfvec": ">f2"}


def dense_vector(sent: bytes, kind: str) -> NDArray[np.float32]:
    """Return a vector.

    Args:
        sent: The binary form.
        kind: The type, ``vector`` or ``halfvec``.
    """
    return np.frombuffer(sent, dtype=_NUMBERS[kind], offset=_HEADER.size).astype(np.float32)


def sparse_vector(sent: bytes) -> dict[str, Any]:
    """Return a sparse vector in the form that metadata has."""
    _, count, _ = _SPARSE_HEADER.unpack_from(sent)
    start = _SPARSE_HEADER.size
    indices = np.frombuffer(sent, dtype=">i4", count=count, offset=start)
    values = np.frombuffer(sent, dtype=">f4", count=count, offset=start + 4 * count)
    return {
        TYPE_KEY: SPARSE_VECTOR_TYPE,
        "indices": indices.tolist(),
        "values": shortest(values.astype(np.float32)),
    }
