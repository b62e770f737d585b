"""Sparse vectors as columns of the type sparsevec, and back.

A sparsevec has at most 10^9 dimensions, and a term of a sparse vector is a number of 32 bits. So a
vector has five columns. Column `i` has the terms from ``i * 10^9`` on, less that number.

The type has no zeros. A value of zero is stored as the least number greater than zero, so that its
term still counts. The dictionary form of such a vector, or of one with tokens, is stored as well.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import orjson

from pgchroma.errors import InvalidArgumentError
from pgchroma.model.sparse import SPARSE_VECTOR_TYPE, TYPE_KEY

__all__ = (
    "PART_DIMENSION",
    "SPARSE_PARTS",
    "EncodedSparse",
    "decode_sparse",
    "encode_sparse",
    "part_text",
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
class EncodedSparse:
    """A sparse vector as PostgreSQL stores it.

    Attributes:
        parts: The texts of its columns; `None` for a column without a term.
        given: Its dictionary form, if the columns do not have all of it.
        is_signed: Whether a value is negative.
    """

    parts: list[str | None]
    given: str | None
    is_signed: bool


def encode_sparse(vector: Mapping[str, Any], path: str) -> EncodedSparse:
    """Encode a sparse vector in its dictionary form.

    Args:
        vector: What `pgchroma.model.sparse.parse_sparse` returns.
        path: The path in the request, for messages.

    Raises:
        InvalidArgumentError: It has more values than PostgreSQL can store.
    """
    indices, values = vector["indices"], vector["values"]
    by_part: list[list[tuple[int, float]]] = [[] for _ in SPARSE_PARTS]
    for index, value in zip(indices, values, strict=True):
        by_part[index // PART_DIMENSION].append((index, value or _LEAST))
    if max(map(len, by_part)) > MAX_VALUES:
        raise InvalidArgumentError(
            f"{path}: an indexed sparse vector can have at most {MAX_VALUES} values between two "
            f"multiples of {PART_DIMENSION}, got {len(values)} values"
        )
    is_whole = "tokens" not in vector and 0 not in values
    return EncodedSparse(
        [part_text(part, number) if part else None for number, part in enumerate(by_part)],
        None if is_whole else orjson.dumps(vector).decode(),
        any(value < 0 for value in values),
    )


def part_text(terms: Iterable[tuple[int, float]], part: int) -> str:
    """Return the text of a column; in it, the first dimension is 1."""
    offset = part * PART_DIMENSION - 1
    listed = ",".join(f"{term - offset}:{value!r}" for term, value in terms)
    return f"{{{listed}}}/{PART_DIMENSION}"


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
        # The shortest decimal form of each float32.
        values += [float(str(number)) for number in numbers.astype(np.float32)]
    return {TYPE_KEY: SPARSE_VECTOR_TYPE, "indices": indices, "values": values}
