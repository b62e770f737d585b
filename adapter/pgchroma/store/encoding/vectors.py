"""Converting embeddings between numpy and PostgreSQL's binary formats, a whole batch at a time.

pgvector's binary vector is a 16-bit dimension, 16 reserved bits and the values as big-endian
float32. A binary array is a header and, for each element, its length in bytes and the element. The
length -1 means null.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from psycopg import BaseConnection, pq
from psycopg.abc import Buffer
from psycopg.adapt import Dumper

from pgchroma.errors import BatchSizeExceededError
from pgchroma.store.encoding.text_arrays import TextArray, TextArrayDumper

__all__ = (
    "PackedArray",
    "PackedArrayDumper",
    "pack_vector",
    "pack_vectors",
    "prepare_vectors",
    "unpack_vectors",
)

VECTOR_HEADER_BYTES = 4

MAX_BYTES = 1_000_000_000
"""Maximum size of a value in PostgreSQL."""


class PackedArray(bytearray):
    """A value in PostgreSQL's binary format, such as a ``vector[]`` or one ``vector``.

    It is mutable so that a large array can be written where it is sent from.
    """

    __slots__ = ()


class PackedArrayDumper(Dumper):
    """Sends a `PackedArray` unchanged. The cast in the statement determines the type."""

    format = pq.Format.BINARY
    oid = 0

    def dump(self, obj: PackedArray) -> Buffer:
        """Return the bytes."""
        return obj


def prepare_vectors(connection: BaseConnection[Any]) -> None:
    """Register the dumpers of vectors and packed texts on a connection.

    Registering them again has no effect.
    """
    connection.adapters.register_dumper(PackedArray, PackedArrayDumper)
    connection.adapters.register_dumper(TextArray, TextArrayDumper)


def pack_vectors(matrix: NDArray[np.float32], vector_oid: int) -> PackedArray:
    """Pack a matrix into a ``vector[]``.

    Args:
        matrix: Shape ``(vectors, dimension)``.
        vector_oid: The object id of the type `vector` in this database.
    """
    count, dimension = matrix.shape
    if count * 4 * (dimension + 2) > MAX_BYTES:
        raise BatchSizeExceededError(
            f"{count} embeddings of {dimension} dimensions exceed the {MAX_BYTES} bytes that one "
            "request can send; write them in smaller batches"
        )
    header = struct.pack(">iiIii", 1, 0, vector_oid, count, 1)
    packed = PackedArray(len(header) + count * 4 * (dimension + 2))
    packed[: len(header)] = header
    elements = np.frombuffer(packed, ">u4", offset=len(header)).reshape(count, dimension + 2)
    elements[:, 0] = VECTOR_HEADER_BYTES + 4 * dimension
    elements[:, 1] = dimension << 16
    elements.view(">f4")[:, 2:] = matrix
    return packed


def pack_vector(vector: NDArray[np.float32]) -> PackedArray:
    """Pack one vector into a ``vector``."""
    return PackedArray(struct.pack(">hH", len(vector), 0) + vector.astype(">f4").tobytes())


def unpack_vectors(vectors: Sequence[bytes | None], dimension: int) -> NDArray[np.float32]:
    """Unpack binary vectors into a matrix. The row of a missing vector is NaN."""
    size = VECTOR_HEADER_BYTES + 4 * dimension
    if None not in vectors:
        raw = b"".join(vectors)  # type: ignore[arg-type]
        rows = np.frombuffer(raw, dtype=">f4").reshape(len(vectors), size // 4)
        return rows[:, 1:].astype(np.float32)
    missing = struct.pack(">i", 0) + np.full(dimension, np.nan, dtype=">f4").tobytes()
    return unpack_vectors([missing if v is None else v for v in vectors], dimension)
