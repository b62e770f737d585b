"""Sparse vectors as columns of the type sparsevec, and back.

A sparsevec has at most 10^9 dimensions, and a term of a sparse vector is a number of 32 bits. So a
vector has five columns. Column `i` has the terms from ``i * 10^9`` on, less that number.

The type has no zeros. A value of zero is stored as the least number greater than zero, so that its
term still counts. The dictionary form of such a vector, or of one with tokens, is stored as well.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, Final

import numpy as np
import orjson
from numpy.typing import NDArray

from pgchroma.errors import InvalidArgumentError
from pgchroma.model.sparse import SPARSE_VECTOR_TYPE, TYPE_KEY, shortest

__all__ = (
    "PART_DIMENSION",
    "SPARSE_PARTS",
    "SparseColumns",
    "decode_sparse",
    "encode_sparse",
)

PART_DIMENSION: Final = 1_000_000_000
"""The dimensions of a column; pgvector's maximum."""

SPARSE_PARTS: Final = ("p0", "p1", "p2", "p3", "p4")
"""The columns."""

MAX_VALUES: Final = 16_000
"""pgvector's maximum number of values in a column."""

_LEAST: Final = 1e-45
"""The least number of 32 bits that is greater than zero."""

_HEADER: Final = struct.Struct(">iii")


@dataclass(frozen=True, slots=True)
class SparseColumns:
    """The sparse vectors of a batch as PostgreSQL stores them; what a record lacks is `None`.

    Attributes:
        parts: For each column, the texts of all records.
        given: The dictionary form, if the columns do not have all of it.
        are_signed: Whether a value is negative.
    """

    parts: list[list[str | None]]
    given: list[str | None]
    are_signed: list[bool]


def encode_sparse(vectors: Sequence[Mapping[str, Any] | None], key: str) -> SparseColumns:
    """Encode the sparse vectors of a batch, in their dictionary form.

    Args:
        vectors: What `pgchroma.model.sparse.parse_sparse` returns; `None` for a record without one.
        key: Their metadata key, for messages.

    Raises:
        InvalidArgumentError: A vector has more values than PostgreSQL can store.
    """
    parts: list[list[str | None]] = [[None] * len(vectors) for _ in SPARSE_PARTS]
    for first, end, row, part, pairs in _runs(vectors):
        if end - first > MAX_VALUES:
            raise InvalidArgumentError(
                f"metadatas[{row}].{key}: an indexed sparse vector can have at most {MAX_VALUES} "
                f"values between two multiples of {PART_DIMENSION}, got {end - first}"
            )
        parts[part][row] = f"{{{','.join(pairs[first:end])}}}/{PART_DIMENSION}"
    return SparseColumns(
        parts,
        [None if vector is None or _is_whole(vector) else _json(vector) for vector in vectors],
        [vector is not None and min(vector["values"], default=0) < 0 for vector in vectors],
    )


def _runs(
    vectors: Sequence[Mapping[str, Any] | None],
) -> Iterator[tuple[int, int, int, int, list[str]]]:
    """Yield the terms of each vector and part: where they begin and end in the list of all pairs.

    In the text of a sparsevec the first dimension is 1.
    """
    counts = [0 if vector is None else len(vector["indices"]) for vector in vectors]
    if not sum(counts):
        return
    present = [vector for vector in vectors if vector is not None]
    terms = np.fromiter(chain.from_iterable(v["indices"] for v in present), np.int64, sum(counts))
    values = np.fromiter(chain.from_iterable(v["values"] for v in present), np.float32, sum(counts))
    values[values == 0] = _LEAST
    parts = terms // PART_DIMENSION
    texts = (_texts(terms - parts * PART_DIMENSION + 1), _texts(values))
    pairs = list(map("%s:%s".__mod__, zip(*texts, strict=True)))
    rows = np.repeat(np.arange(len(vectors)), counts)
    ends = np.append(np.flatnonzero(np.diff(rows * len(SPARSE_PARTS) + parts)) + 1, len(terms))
    first = 0
    for end in ends.tolist():
        yield first, end, int(rows[first]), int(parts[first]), pairs
        first = end


def _texts(numbers: NDArray[Any]) -> list[str]:
    return orjson.dumps(numbers, option=orjson.OPT_SERIALIZE_NUMPY)[1:-1].decode().split(",")


def _is_whole(vector: Mapping[str, Any]) -> bool:
    return "tokens" not in vector and 0 not in vector["values"]


def _json(vector: Mapping[str, Any]) -> str:
    return orjson.dumps(vector).decode()


def decode_sparse(parts: Sequence[bytes | None], given: str | None) -> dict[str, Any]:
    """Decode the binary forms of the columns; the inverse of `encode_sparse`."""
    if given is not None:
        return orjson.loads(given)  # type: ignore[no-any-return]
    indices: list[int] = []
    values: list[float] = []
    for part, data in enumerate(parts):
        if data is None:
            continue
        _, count, _ = _HEADER.unpack_from(data)
        terms = np.frombuffer(data, ">i4", count, _HEADER.size).astype(np.int64)
        indices += (terms + part * PART_DIMENSION).tolist()
        numbers = np.frombuffer(data, ">f4", count, _HEADER.size + 4 * count)
        values += shortest(numbers.astype(np.float32))
    return {TYPE_KEY: SPARSE_VECTOR_TYPE, "indices": indices, "values": values}
