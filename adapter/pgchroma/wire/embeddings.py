"""Embeddings in JSON: lists of numbers, and in requests also base64 of little-endian float32."""

from __future__ import annotations

import binascii
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pgchroma.errors import InvalidArgumentError, MalformedRequestError
from pgchroma.model.records import RecordBatch
from pgchroma.wire.shapes import Embedding

__all__ = (
    "decode_columns",
    "decode_request_embeddings",
    "decode_vectors",
    "encode_columns",
    "encode_request_embeddings",
    "encode_vectors",
)

_WIDTH = 4
"""Bytes of a float32."""


def encode_request_embeddings(records: RecordBatch) -> list[str | None] | None:
    """Return a batch's embeddings in base64, with `None` for a record without one."""
    if records.embeddings is None:
        # The list is required, even if there are no records.
        return None if len(records) else []
    rows = iter(encode_vectors(records.embeddings))
    has_embedding = records.has_embedding or [True] * len(records)
    return [next(rows) if is_present else None for is_present in has_embedding]


def encode_vectors(matrix: NDArray[np.float32]) -> list[str]:
    """Return each row of a matrix in base64. `decode_vectors` is the inverse."""
    rows = np.ascontiguousarray(matrix, dtype="<f4")
    return [binascii.b2a_base64(row.tobytes(), newline=False).decode() for row in rows]


def decode_vectors(texts: Sequence[str]) -> NDArray[np.float32]:
    """Return a matrix from the texts that `encode_vectors` wrote.

    Raises:
        InvalidArgumentError: A text is not base64 of numbers, the vectors differ in length, or a
            number is not finite.
    """
    vectors = [_vector(text) for text in texts]
    _check_finite(vectors)
    if len({len(vector) for vector in vectors}) > 1:
        raise InvalidArgumentError("embeddings: expected vectors of one length")
    return np.stack(vectors) if vectors else np.empty((0, 0), dtype=np.float32)


def decode_request_embeddings(embeddings: Sequence[Embedding | bytes | None] | None) -> Any:
    """Return the embeddings of a request, for `RecordBatch.parse`.

    Args:
        embeddings: Lists of numbers, or texts in base64; of large requests, the bytes of these.

    Raises:
        MalformedRequestError: Texts and lists are mixed.
        InvalidArgumentError: A text is not base64 of float32 values, or a number is not finite.
    """
    if embeddings is None:
        return None
    kinds = {type(embedding) for embedding in embeddings if embedding is not None}
    if kinds == {bytes} and (matrix := _matrix(embeddings)) is not None:  # type: ignore[arg-type]
        return matrix
    if len(kinds - {bytes}) > 1 or (bytes in kinds and not kinds <= {bytes, str}):
        raise MalformedRequestError(
            "embeddings: expected only base64 texts or only lists of numbers, got both"
        )
    if not kinds or not kinds <= {bytes, str}:
        return embeddings
    vectors = [None if text is None else _vector(text) for text in embeddings]  # type: ignore[arg-type]
    _check_finite(vectors)
    is_matrix = all(v is not None and len(v) == len(vectors[0]) for v in vectors)  # type: ignore[arg-type]
    return np.stack(vectors) if is_matrix else vectors  # type: ignore[arg-type]


def encode_columns(embeddings: NDArray[np.float32] | None) -> Any:
    """Return a column of embeddings for the JSON encoder, with `None` for a record without one."""
    if embeddings is None:
        return None
    matrix = np.ascontiguousarray(embeddings, dtype=np.float32)
    if not matrix.shape[1]:
        return [None] * len(matrix)
    if not np.isnan(matrix[:, 0]).any():
        return matrix
    return [None if np.isnan(row[0]) else row for row in matrix]


def decode_columns(rows: Sequence[Sequence[float] | None] | None) -> NDArray[np.float32] | None:
    """Return a column of embeddings as a matrix. A record without one becomes a row of NaN."""
    if rows is None:
        return None
    width = next((len(row) for row in rows if row is not None), 0)
    missing = [np.nan] * width
    filled = [missing if row is None else row for row in rows]
    return np.array(filled, dtype=np.float32).reshape(len(rows), width)


def _matrix(embeddings: Sequence[bytes | None]) -> NDArray[np.float32] | None:
    """Return embeddings of one length; `None` if there is any other, or one with a fault."""
    size = len(embeddings[0] or b"")
    if not size or size % _WIDTH or any(len(each or b"") != size for each in embeddings):
        return None
    joined = np.frombuffer(b"".join(embeddings), dtype="<f4")  # type: ignore[arg-type]
    return joined.reshape(len(embeddings), -1) if np.isfinite(joined).all() else None


def _vector(text: str | bytes) -> NDArray[np.float32]:
    try:
        raw = text if isinstance(text, bytes) else binascii.a2b_base64(text, strict_mode=True)
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
            number = vector[~np.isfinite(vector)][0]
            shown = "NaN" if np.isnan(number) else str(number)
            raise InvalidArgumentError(
                f"Non-finite float value at embedding index {index}: {shown}"
            )
