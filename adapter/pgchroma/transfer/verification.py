"""Compare what a target stores with what was read from the source."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pgchroma.model.operations import CollectionRef, QueryRecords
from pgchroma.model.records import RecordBatch, RecordColumns
from pgchroma.model.types import Space
from pgchroma.transfer.batches import embeddings_of
from pgchroma.transfer.checksums import Checksums
from pgchroma.transfer.writers.backend import BackendTarget

__all__ = ("Sample", "checksums_of", "checksums_of_columns", "compare_distances")

SAMPLED: Final = 32
"""Records whose distances from each other are compared with those that the target returns."""

TOLERANCE: Final = 1e-4
"""How much a distance may differ from the exact one, in relation to its own and the vectors' size:
engines add up float32 numbers in different orders."""


@dataclass(slots=True)
class Sample:
    """Records at even intervals, as many as are compared.

    Attributes:
        ids: Their ids.
        vectors: Their embeddings.
    """

    ids: list[str] = field(default_factory=list)
    vectors: list[NDArray[np.float32]] = field(default_factory=list)
    _interval: int = 1
    _position: int = 0

    def add(self, records: RecordBatch) -> None:
        """Take some of the records that have an embedding."""
        embeddings = embeddings_of(records)
        if embeddings is None:
            return
        for id, embedding in zip(records.ids, embeddings, strict=True):
            if embedding is None:
                continue
            if self._position % self._interval == 0:
                self.ids.append(id)
                self.vectors.append(np.array(embedding))
            self._position += 1
            if len(self.ids) == 2 * SAMPLED:
                self._interval *= 2
                self.ids, self.vectors = self.ids[::2], self.vectors[::2]


def checksums_of(records: RecordBatch) -> Checksums:
    """Return the checksums of records to write."""
    has_all = records.embeddings is not None and records.has_embedding is None
    embeddings = records.embeddings if has_all else embeddings_of(records)
    return Checksums.of(records.ids, embeddings, records.documents, records.uris, records.metadatas)


def checksums_of_columns(page: RecordColumns) -> Checksums:
    """Return the checksums of records that were read."""
    embeddings: list[NDArray[np.float32] | None] | NDArray[np.float32] | None = None
    if page.embeddings is not None and page.embeddings.shape[1]:
        embeddings = page.embeddings
        is_missing = np.isnan(embeddings[:, 0])
        if is_missing.any():
            rows = zip(embeddings, is_missing, strict=True)
            embeddings = [None if is_none else row for row, is_none in rows]
    return Checksums.of(page.ids, embeddings, page.documents, page.uris, page.metadatas)


def compare_distances(
    target: BackendTarget, collection: CollectionRef, sample: Sample, space: Space
) -> tuple[int, int]:
    """Compare the distances between sampled records, computed here, with the target's.

    Returns:
        How many distances were compared, and how many differ.
    """
    if not sample.ids:
        return 0, 0
    matrix = np.array(sample.vectors, dtype=np.float32)
    exact = exact_distances(matrix.astype(np.float64), space)
    # Rounding grows with the length of the vectors.
    scale = 1.0 if space == "cosine" else float(np.square(matrix, dtype=np.float64).sum(1).max())
    places = {id: n for n, id in enumerate(sample.ids)}
    query = QueryRecords(
        collection, matrix, len(sample.ids), frozenset({"distances"}), list(sample.ids)
    )
    compared = wrong = 0
    for row, found in enumerate(target.execute(query)):
        for id, distance in _pairs(found.records.ids, found.distances):
            # A server may ignore the ids, and return other records as well.
            if id in places:
                wanted = exact[row, places[id]]
                compared += 1
                wrong += not abs(distance - wanted) <= TOLERANCE * max(scale, abs(wanted), 1e-6)
    return compared, wrong


def exact_distances(matrix: NDArray[np.float64], space: Space) -> NDArray[np.float64]:
    """Return the distances between all rows, as Chroma defines them."""
    if space == "l2":
        return np.array([np.square(matrix - row).sum(axis=1) for row in matrix])
    if space == "cosine":
        lengths = np.linalg.norm(matrix, axis=1, keepdims=True)
        matrix = np.divide(matrix, lengths, out=np.zeros_like(matrix), where=lengths > 0)
    return np.asarray(1.0 - matrix @ matrix.T)


def _pairs(
    ids: Sequence[str], distances: Sequence[float | None] | None
) -> Iterable[tuple[str, float]]:
    for id, distance in zip(ids, distances or [], strict=True):
        if distance is not None:
            yield id, distance
