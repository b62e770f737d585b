"""Batches of records to write, and columns of records that were read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from pgchroma.errors import InvalidArgumentError
from pgchroma.model.metadata import CleanMetadata, parse_metadatas
from pgchroma.model.plain import plain_scalar, shown
from pgchroma.model.text import are_storable, check_text
from pgchroma.model.types import Modality

__all__ = (
    "FoundRecords",
    "QueriedRecords",
    "RecordBatch",
    "RecordColumns",
    "parse_embeddings",
    "parse_ids",
)

MAX_ID_BYTES = 2_600
"""Maximum length of an id: entries of PostgreSQL's indexes take up to a third of a page."""


@dataclass(frozen=True, slots=True, eq=False)
class RecordBatch:
    """Records to write; every column that is not `None` has the length of `ids`.

    Attributes:
        ids: The id of each record.
        embeddings: Shape ``(records with an embedding, dimension)``, float32, finite.
        has_embedding: Which records have a row in `embeddings`, in order; `None` means all.
        metadatas: Plain values, see `pgchroma.model.metadata`; in updates `None` removes a key.
        modality: The data that the embeddings were computed from. An update then clears the
            record's other data. `None` means that it is unknown; the update then keeps them.
    """

    ids: list[str]
    embeddings: NDArray[np.float32] | None = None
    has_embedding: list[bool] | None = None
    documents: list[str | None] | None = None
    uris: list[str | None] | None = None
    metadatas: list[CleanMetadata | None] | None = None
    modality: Modality | None = None

    @classmethod
    def parse(
        cls,
        ids: Sequence[str],
        embeddings: Any = None,
        metadatas: Sequence[Any] | None = None,
        documents: Sequence[str | None] | None = None,
        uris: Sequence[str | None] | None = None,
        *,
        removals: bool = False,
        modality: Modality | None = None,
    ) -> Self:
        """Validate a batch and return it in plain types.

        Every column has one value per record. Embeddings may be a matrix. In updates, any column
        may have `None` for a record. With `removals`, a metadata value may also be `None`, which
        removes its key.

        Raises:
            InvalidArgumentError: A value is not allowed; the message names it.
        """
        columns = {"embeddings": embeddings, "metadatas": metadatas, "documents": documents}
        for column in (*columns.values(), uris):
            if column is not None and len(column) != len(ids):
                raise InvalidArgumentError(
                    "Inconsistent number of IDs, embeddings, documents, URIs and metadatas"
                )
        matrix, present = parse_embeddings(embeddings)
        return cls(
            parse_ids(ids),
            matrix,
            present,
            _texts(documents, "documents"),
            _texts(uris, "uris"),
            None if metadatas is None else parse_metadatas(metadatas, removals=removals),
            modality,
        )

    def __len__(self) -> int:
        """Return the number of records."""
        return len(self.ids)

    @property
    def dimension(self) -> int | None:
        """The length of the embeddings; `None` without embeddings."""
        return None if self.embeddings is None else int(self.embeddings.shape[1])

    def merged(self) -> RecordBatch:
        """Return a batch with unique ids, where later records are applied to earlier ones.

        The result is the same as writing the records one after the other: the last document, the
        last embedding and the last value of each metadata key win. A record keeps the position of
        its first occurrence.
        """
        if len(set(self.ids)) == len(self.ids):
            return self
        groups: dict[str, list[int]] = {}
        for index, id in enumerate(self.ids):
            groups.setdefault(id, []).append(index)
        vectors = self._vectors()
        last_vectors = [_last(vectors, group) for group in groups.values()]
        matrix, present = parse_embeddings(last_vectors if self.embeddings is not None else None)
        return RecordBatch(
            list(groups),
            matrix,
            present,
            _last_of_each(self.documents, groups),
            _last_of_each(self.uris, groups),
            None if self.metadatas is None else [_fold(self.metadatas, g) for g in groups.values()],
            self.modality,
        )

    def part(self, first: int, end: int) -> RecordBatch:
        """Return the records from `first` to before `end`."""
        vectors = self._vectors()[first:end] if self.embeddings is not None else None
        matrix, present = parse_embeddings(vectors)
        return RecordBatch(
            self.ids[first:end],
            matrix,
            present,
            None if self.documents is None else self.documents[first:end],
            None if self.uris is None else self.uris[first:end],
            None if self.metadatas is None else self.metadatas[first:end],
            self.modality,
        )

    def _vectors(self) -> list[NDArray[np.float32] | None]:
        if self.embeddings is None:
            return [None] * len(self.ids)
        if self.has_embedding is None:
            return list(self.embeddings)
        rows = iter(self.embeddings)
        return [next(rows) if present else None for present in self.has_embedding]


@dataclass(frozen=True, slots=True, eq=False)
class RecordColumns:
    """Records as columns; a column that was not requested is `None`.

    Attributes:
        embeddings: Shape ``(records, dimension)``; the row of a record without one is all NaN.
    """

    ids: list[str]
    embeddings: NDArray[np.float32] | None = None
    documents: list[str | None] | None = None
    uris: list[str | None] | None = None
    metadatas: list[CleanMetadata | None] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class QueriedRecords:
    """The records found for one query, nearest first, and their distances."""

    records: RecordColumns
    distances: list[float] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class FoundRecords:
    """The records found by one search, best first, and their scores.

    Attributes:
        scores: One for each record, or `None` if they were not requested. Lower is better. A score
            that is not finite is `None`.
    """

    records: RecordColumns
    scores: list[float | None] | None = None


def parse_ids(ids: Sequence[Any]) -> list[str]:
    """Validate ids, which are strings of at least one character.

    Raises:
        InvalidArgumentError: An id is empty, too long, or not a string.
    """
    if set(map(type, ids)) == {str} and _are_valid_ids(ids):
        return list(ids)
    plain = [plain_scalar(id) for id in ids]
    for index, id in enumerate(plain):
        if not isinstance(id, str):
            raise InvalidArgumentError(f"ids[{index}]: expected a str, got {shown(id)}")
        if not id:
            raise InvalidArgumentError("Empty ID, ID must have at least one character")
        check_text(id, f"ids[{index}]")
        if len(id) > MAX_ID_BYTES // 4 and len(id.encode()) > MAX_ID_BYTES:
            raise InvalidArgumentError(
                f"ids[{index}]: an id is longer than the {MAX_ID_BYTES} bytes an index can hold"
            )
    return plain


def _are_valid_ids(ids: Sequence[str]) -> bool:
    """Whether all ids are valid, without finding out which one is not."""
    return all(ids) and max(map(len, ids)) <= MAX_ID_BYTES // 4 and are_storable(ids)


def parse_embeddings(
    embeddings: Any,
) -> tuple[NDArray[np.float32] | None, list[bool] | None]:
    """Convert embeddings to a float32 matrix, and find out which records have one.

    Returns:
        The matrix, and whether each record has a row in it; `None` instead if all do.

    Raises:
        InvalidArgumentError: Lengths differ, or a value is not a finite float32.
    """
    if embeddings is None:
        return None, None
    if isinstance(embeddings, np.ndarray) and embeddings.ndim == 2:  # noqa: PLR2004
        return _matrix(embeddings), None
    present = [embedding is not None for embedding in embeddings]
    if not any(present):
        return None, None
    rows = [embedding for embedding in embeddings if embedding is not None]
    if len({len(row) for row in rows}) > 1:
        raise InvalidArgumentError("Inconsistent dimensions in provided embeddings")
    return _matrix(rows), None if all(present) else present


def _matrix(rows: Any) -> NDArray[np.float32]:
    with np.errstate(over="ignore"):
        matrix = np.ascontiguousarray(rows, dtype=np.float32)
    if matrix.ndim != 2 or (len(matrix) and not matrix.shape[1]):  # noqa: PLR2004
        raise InvalidArgumentError(
            "Validation error: embeddings: Each embedding must have at least 1 dimension"
        )
    if not np.isfinite(matrix).all():
        index = int(np.nonzero(~np.isfinite(matrix).all(axis=1))[0][0])
        raise InvalidArgumentError(
            "Validation error: embeddings: Embeddings must not contain NaN or Infinity values "
            f"(embedding {index} does)"
        )
    return matrix


def _texts(texts: Sequence[Any] | None, column: str) -> list[str | None] | None:
    if texts is None:
        return None
    if set(map(type, texts)) <= {str, type(None)} and are_storable([*filter(None, texts)]):
        return list(texts)
    plain = [plain_scalar(text) for text in texts]
    for index, text in enumerate(plain):
        if text is None:
            continue
        if not isinstance(text, str):
            raise InvalidArgumentError(f"{column}[{index}]: expected a str, got {shown(text)}")
        check_text(text, f"{column}[{index}]")
    return plain


def _last(values: Sequence[Any], indices: list[int]) -> Any:
    given = [values[index] for index in indices if values[index] is not None]
    return given[-1] if given else None


def _last_of_each(values: Sequence[Any] | None, groups: dict[str, list[int]]) -> list[Any] | None:
    return None if values is None else [_last(values, group) for group in groups.values()]


def _fold(metadatas: Sequence[CleanMetadata | None], indices: list[int]) -> CleanMetadata | None:
    given = [metadata for index in indices if (metadata := metadatas[index]) is not None]
    return {key: value for metadata in given for key, value in metadata.items()} if given else None
