"""Embeddings on the wire: base64 of little-endian float32 on the way in, or lists of numbers."""

from __future__ import annotations

import binascii
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from pgchroma.errors import InvalidArgumentError, MalformedRequestError
from pgchroma.model.records import RecordBatch

__all__ = (
    "RequestEmbedding",
    "decode_columns",
    "decode_request_embeddings",
    "decode_vectors",
    "encode_columns",
    "encode_request_embeddings",
    "encode_vectors",
)

RequestEmbedding: TypeAlias = str | list[float]
"""One embedding as clients send it."""

_WIDTH = 4
"""Bytes of a float32."""


def encode_request_embeddings(records: RecordBatch) -> list[str | None] | None:
    """Write a batch's embeddings as base64, with None where a record has none."""
    if records.embeddings is None:
        # Where there are no records, the list has to be there all the same.
        return None if len(records) else []
    rows = iter(encode_vectors(records.embeddings))
    present = records.has_embedding or [True] * len(records)
    return [next(rows) if there else None for there in present]


def encode_vectors(matrix: NDArray[np.float32]) -> list[str]:
    """Write each row of a matrix as base64."""
    rows = np.ascontiguousarray(matrix, dtype="<f4")
    return [binascii.b2a_base64(row.tobytes(), newline=False).decode() for row in rows]


def decode_vectors(texts: Sequence[str]) -> NDArray[np.float32]:
    """Read what `encode_vectors` wrote.

    Raises:
        InvalidArgumentError: A text is not base64 of numbers, they are not all as long, or one is
            not finite.
    """
    vectors = [_vector(text) for text in texts]
    _check_finite(vectors)
    if len({len(vector) for vector in vectors}) > 1:
        raise InvalidArgumentError("embeddings: expected vectors of one length")
    return np.stack(vectors) if vectors else np.empty((0, 0), dtype=np.float32)


def decode_request_embeddings(embeddings: Sequence[RequestEmbedding | None] | None) -> Any:
    """Read what a client sent, for `RecordBatch.parse`.

    Raises:
        MalformedRequestError: Texts and lists are mixed.
        InvalidArgumentError: A text is not base64 of whole numbers, or a number is not finite.
    """
    if embeddings is None:
        return None
    kinds = {type(embedding) for embedding in embeddings if embedding is not None}
    if len(kinds) > 1:
        raise MalformedRequestError(
            "embeddings: expected base64 texts throughout or lists of numbers throughout"
        )
    if kinds != {str}:
        return embeddings
    vectors = [None if text is None else _vector(text) for text in embeddings]  # type: ignore[arg-type]
    _check_finite(vectors)
    is_matrix = all(v is not None and len(v) == len(vectors[0]) for v in vectors)  # type: ignore[arg-type]
    return np.stack(vectors) if is_matrix else vectors  # type: ignore[arg-type]


def encode_columns(embeddings: NDArray[np.float32] | None) -> Any:
    """Give a column of embeddings as rows for the JSON encoder, None for a record without one."""
    if embeddings is None:
        return None
    matrix = np.ascontiguousarray(embeddings, dtype=np.float32)
    if not matrix.shape[1]:
        return [None] * len(matrix)
    if not np.isnan(matrix[:, 0]).any():
        return matrix
    return [None if np.isnan(row[0]) else row for row in matrix]


def decode_columns(rows: Sequence[Sequence[float] | None] | None) -> NDArray[np.float32] | None:
    """Read a column of embeddings; a record without one becomes a row of NaN."""
    if rows is None:
        return None
    width = next((len(row) for row in rows if row is not None), 0)
    absent = [np.nan] * width
    filled = [absent if row is None else row for row in rows]
    return np.array(filled, dtype=np.float32).reshape(len(rows), width)


def _vector(text: str) -> NDArray[np.float32]:
    try:
        raw = binascii.a2b_base64(text, strict_mode=True)
    except (binascii.Error, ValueError) as error:
        raise InvalidArgumentError(f"Invalid base64 string: {error}") from error
    if len(raw) % _WIDTH:
        raise InvalidArgumentError(
            f"Invalid byte length: {len(raw)} bytes cannot be converted to f32 values "
            "(must be divisible by 4)"
        )
    return np.frombuffer(raw, dtype="<f4")


def _check_finite(vectors: Sequence[NDArray[np.float32] | None]) -> None:
    for index, vector in enumerate(vectors):
        if vector is not None and not np.isfinite(vector).all():
            worst = vector[~np.isfinite(vector)][0]
            named = "NaN" if np.isnan(worst) else str(worst)
            raise InvalidArgumentError(
                f"Non-finite float value at embedding index {index}: {named}"
            )
