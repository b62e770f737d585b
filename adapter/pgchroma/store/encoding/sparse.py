"""Sparse vectors as columns of the type sparsevec, and back.

A sparsevec has at most 10^9 dimensions, and a term of a sparse vector is a number of 32 bits. So a
vector has five columns. Column `i` has the terms from ``i * 10^9`` on, less that number.

The type has no zeros. A value of zero is stored as the least number greater than zero, so that its
term still counts. The dictionary form of such a vector, or of one with tokens, is stored as well.

pgvector's binary sparsevec is the dimension, the number of values, a zero, the dimensions counted
from 0 and the values, each of 32 bits.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, Final, NamedTuple

import numpy as np
import orjson
from numpy.typing import NDArray

from pgchroma.errors import InvalidArgumentError
from pgchroma.model.sparse import SPARSE_VECTOR_TYPE, TYPE_KEY, round_values, shortest
from pgchroma.store.encoding.vectors import PackedArray

__all__ = (
    "BLOCK_SLOTS",
    "MAX_VALUES",
    "PART_DIMENSION",
    "SPARSE_PARTS",
    "SparseColumns",
    "are_plain",
    "decode_sparse",
    "encode_sparse",
    "pack_sparse",
    "unpack_sparse",
)

PART_DIMENSION: Final = 1_000_000_000
"""The dimensions of a column; pgvector's maximum."""

SPARSE_PARTS: Final = ("p0", "p1", "p2", "p3", "p4")
"""The columns."""

BLOCK_SLOTS: Final = 8_192
"""The number of vectors in a full block; see `pgchroma.store.layout.sparse`."""

MAX_VALUES: Final = 16_000
"""pgvector's maximum number of values in a column."""

_LEAST: Final = 1e-45
"""The least number of 32 bits that is greater than zero."""

_MIN_PLAIN, _MAX_PLAIN = 1e-12, 1e12

_HEADER_WORDS: Final = 3


class PackedVectors(NamedTuple):
    """Sparse vectors as flat arrays.

    Attributes:
        counts: The number of values of each vector.
        dimensions: The dimensions of all values, counted from 0, vector by vector.
        values: The values.
    """

    counts: NDArray[np.int64]
    dimensions: NDArray[np.int64]
    values: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class SparseColumns:
    """The sparse vectors of a batch as PostgreSQL stores them; what a record lacks is null.

    Attributes:
        parts: The values of each column, a ``sparsevec[]``.
        given: The dictionary form, if the columns do not have all of it.
        are_plain: Whether all weights are plain; see `are_plain`.
    """

    parts: list[PackedArray]
    given: list[str | None]
    are_plain: list[bool]


def are_plain(values: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Return for each weight whether it is plain: neither negative nor extreme.

    A sum of products of plain weights is greater than zero, and no product leaves the range of
    float32, for which pgvector would raise an error.
    """
    plain: NDArray[np.bool_] = (values >= _MIN_PLAIN) & (values <= _MAX_PLAIN)
    return plain


def encode_sparse(
    vectors: Sequence[Mapping[str, Any] | None], key: str, sparsevec_oid: int
) -> SparseColumns:
    """Encode the sparse vectors of a batch, in their dictionary form.

    Args:
        vectors: What `pgchroma.model.sparse.parse_sparse` returns; `None` for a record without one.
        key: Their metadata key, for messages.
        sparsevec_oid: The object id of the type `sparsevec` in this database.

    Raises:
        InvalidArgumentError: A vector has more values than PostgreSQL can store.
    """
    present = [vector for vector in vectors if vector is not None]
    counts = np.array([0 if v is None else len(v["indices"]) for v in vectors], np.int64)
    total = int(counts.sum())
    terms = np.fromiter(chain.from_iterable(v["indices"] for v in present), np.int64, total)
    values = np.fromiter(chain.from_iterable(v["values"] for v in present), np.float32, total)
    rows = np.repeat(np.arange(len(vectors)), counts)
    with_zero = set(rows[values == 0].tolist())
    signed = set(rows[~are_plain(values)].tolist())
    values[values == 0] = _LEAST
    parts = terms // PART_DIMENSION
    columns = []
    for part in range(len(SPARSE_PARTS)):
        chosen = parts == part
        packed = PackedVectors(
            np.bincount(rows[chosen], minlength=len(vectors)),
            terms[chosen] - part * PART_DIMENSION,
            values[chosen],
        )
        _check_counts(packed.counts, key)
        columns.append(pack_sparse(packed, PART_DIMENSION, sparsevec_oid))
    return SparseColumns(
        columns,
        [
            _json(vector)
            if vector is not None and (row in with_zero or "tokens" in vector)
            else None
            for row, vector in enumerate(vectors)
        ],
        [row not in signed for row in range(len(vectors))],
    )


def _check_counts(counts: NDArray[np.int64], key: str) -> None:
    (too_long,) = np.nonzero(counts > MAX_VALUES)
    if len(too_long):
        row = int(too_long[0])
        raise InvalidArgumentError(
            f"metadatas[{row}].{key}: an indexed sparse vector can have at most {MAX_VALUES} "
            f"values between two multiples of {PART_DIMENSION}, got {counts[row]}"
        )


def pack_sparse(vectors: PackedVectors, dimension: int, sparsevec_oid: int) -> PackedArray:
    """Pack sparse vectors into a ``sparsevec[]``. A vector without values becomes null."""
    counts, is_present = vectors.counts, vectors.counts > 0
    # Everything is a word of 32 bits: the length of an element in bytes, its header, its values.
    words = np.where(is_present, 1 + _HEADER_WORDS + 2 * counts, 1)
    starts = np.cumsum(words) - words
    body = np.zeros(int(words.sum()), np.dtype(">i4"))
    body[starts] = np.where(is_present, 4 * (_HEADER_WORDS + 2 * counts), -1)
    present = starts[is_present]
    body[present + 1] = dimension
    body[present + 2] = counts[is_present]
    places = _places(starts + 1 + _HEADER_WORDS, counts)
    body[places] = vectors.dimensions
    body[places + np.repeat(counts, counts)] = vectors.values.view(np.int32)
    has_null = int(not is_present.all())
    header = struct.pack(">iiIii", 1, has_null, sparsevec_oid, len(counts), 1)
    return PackedArray(header + body.tobytes())


def unpack_sparse(column: Sequence[bytes | None]) -> PackedVectors:
    """Unpack binary sparse vectors. One that is missing has no values."""
    words = np.array([0 if data is None else len(data) // 4 for data in column], np.int64)
    body = np.frombuffer(b"".join(data for data in column if data is not None), ">i4")
    starts = np.cumsum(words) - words
    counts = np.maximum(words - _HEADER_WORDS, 0) // 2
    places = _places(starts + _HEADER_WORDS, counts)
    values = body[places + np.repeat(counts, counts)].astype(np.int32).view(np.float32)
    return PackedVectors(counts, body[places].astype(np.int64), values)


def _places(starts: NDArray[np.int64], counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return ``starts[i], starts[i] + 1, …`` for each `i`, as many as `counts[i]`."""
    firsts = starts - (np.cumsum(counts) - counts)
    places: NDArray[np.int64] = np.repeat(firsts, counts) + np.arange(int(counts.sum()))
    return places


def _json(vector: Mapping[str, Any]) -> str:
    return orjson.dumps(round_values(vector)).decode()


def decode_sparse(
    rows: Sequence[Sequence[bytes | None] | None], given: Sequence[str | None]
) -> list[dict[str, Any] | None]:
    """Decode the vectors of many records; the inverse of `encode_sparse`.

    Args:
        rows: For each record, the binary forms of its columns; `None` for a record without a
            vector.
        given: The dictionary forms of vectors that the columns do not have all of.
    """
    missing = (None,) * len(SPARSE_PARTS)
    packed = unpack_sparse([data for row in rows for data in row or missing])
    offsets = np.arange(len(packed.counts)) % len(SPARSE_PARTS) * PART_DIMENSION
    terms = (packed.dimensions + np.repeat(offsets, packed.counts)).tolist()
    values = shortest(packed.values)
    ends = np.cumsum(packed.counts)[len(SPARSE_PARTS) - 1 :: len(SPARSE_PARTS)].tolist()
    decoded: list[dict[str, Any] | None] = []
    for row, text, first, end in zip(rows, given, [0, *ends], ends, strict=False):
        if row is None:
            decoded.append(None)
        elif text is not None:
            decoded.append(orjson.loads(text))
        else:
            found = {"indices": terms[first:end], "values": values[first:end]}
            decoded.append({TYPE_KEY: SPARSE_VECTOR_TYPE, **found})
    return decoded
