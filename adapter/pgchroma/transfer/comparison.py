"""Compare records one by one, where checksums have shown that some differ.

A target that rounds numbers is told apart from one that stores something else. Chroma's server
reads some floats of metadata with another last digit, and keeps embeddings at length 1 if the
distance is cosine.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from pgchroma.model.records import RecordBatch, RecordColumns
from pgchroma.model.sparse import is_sparse, round_values
from pgchroma.model.types import Space
from pgchroma.transfer.batches import embeddings_of
from pgchroma.transfer.checksums import CheckedPart
from pgchroma.transfer.source import Loss

__all__ = ("Comparison",)

FLOAT_TOLERANCE: Final = 1e-14
VECTOR_TOLERANCE: Final = 1e-5

ROUNDED: Final = "the target rounds the last digit of floats"
NORMALIZED: Final = "the target keeps embeddings at length 1, because the distance is cosine"


@dataclass(slots=True)
class Comparison:
    """The differences between records and those that a target returns.

    Attributes:
        space: The distance of the collection.
        losses: What differs, record by record.
        differing: The parts in which a record differs by more than rounding.
    """

    space: Space
    losses: list[Loss] = field(default_factory=list)
    differing: set[CheckedPart] = field(default_factory=set)

    def add(self, records: RecordBatch, stored: RecordColumns) -> None:
        """Compare records with those of the same ids that the target returned."""
        places = {id: n for n, id in enumerate(stored.ids)}
        embeddings = embeddings_of(records)
        for n, id in enumerate(records.ids):
            if id not in places:
                self.differing.add("ids")
                self.losses.append(Loss("record", "the target does not have it", id))
                continue
            place = places[id]
            self._compare_texts(records, stored, n, place)
            self._compare_metadata(
                id, _value(records.metadatas, n), _value(stored.metadatas, place)
            )
            self._compare_embeddings(
                id, None if embeddings is None else embeddings[n], _row(stored, place)
            )

    def _compare_texts(
        self, records: RecordBatch, stored: RecordColumns, n: int, place: int
    ) -> None:
        id = records.ids[n]
        if _value(records.documents, n) != _value(stored.documents, place):
            self.differing.add("documents")
            self.losses.append(Loss("document", "the target stores another one", id))
        if _value(records.uris, n) != _value(stored.uris, place):
            self.differing.add("uris")
            self.losses.append(Loss("uri", "the target stores another one", id))

    def _compare_metadata(self, id: str, wanted: Any, found: Any) -> None:
        wanted, found = wanted or {}, found or {}
        if wanted.keys() == found.keys():
            degrees = {_difference(wanted[key], found[key]) for key in wanted}
            if degrees <= {"none"}:
                return
            if degrees <= {"none", "rounded"}:
                self.losses.append(Loss("metadata", ROUNDED, id, is_suspect=True))
                return
        self.differing.add("metadatas")
        self.losses.append(Loss("metadata", "the target stores other metadata", id))

    def _compare_embeddings(
        self,
        id: str,
        wanted: NDArray[np.float32] | None,
        found: NDArray[np.float32] | None,
    ) -> None:
        if wanted is None and found is None:
            return
        if wanted is not None and found is not None and len(wanted) == len(found):
            if wanted.tobytes() == np.asarray(found, dtype=np.float32).tobytes():
                return
            if self.space == "cosine" and np.allclose(
                _unit(wanted), _unit(found), rtol=0, atol=VECTOR_TOLERANCE
            ):
                self.losses.append(Loss("embedding", NORMALIZED, id, is_suspect=True))
                return
        self.differing.add("embeddings")
        self.losses.append(Loss("embedding", "the target stores another one", id))


def _value(column: Any, n: int) -> Any:
    return None if column is None else column[n]


def _row(stored: RecordColumns, place: int) -> NDArray[np.float32] | None:
    matrix = stored.embeddings
    if matrix is None or not matrix.shape[1] or np.isnan(matrix[place, 0]):
        return None
    return np.asarray(matrix[place])


def _difference(wanted: Any, found: Any) -> str:
    """Return ``none``, ``rounded`` or ``other``."""
    if is_sparse(wanted) and isinstance(found, Mapping):
        same = round_values(wanted) == round_values(found)
        return "none" if same else "other"
    if isinstance(wanted, list) and isinstance(found, list) and len(wanted) == len(found):
        degrees = {_difference(one, other) for one, other in zip(wanted, found, strict=True)}
        return "other" if "other" in degrees else "rounded" if "rounded" in degrees else "none"
    if type(wanted) is not type(found):
        return "other"
    if wanted == found:
        return "none"
    is_close = isinstance(wanted, float) and math.isclose(wanted, found, rel_tol=FLOAT_TOLERANCE)
    return "rounded" if is_close else "other"


def _unit(vector: NDArray[np.float32]) -> NDArray[np.float64]:
    numbers = vector.astype(np.float64)
    length = np.linalg.norm(numbers)
    return numbers / length if length > 0 else numbers
