"""Select records of a batch, and read its embeddings record by record."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pgchroma.model.records import RecordBatch

__all__ = ("embeddings_of", "select", "without")


def embeddings_of(records: RecordBatch) -> list[NDArray[np.float32] | None] | None:
    """Return the embedding of each record, or `None` if no record has one."""
    if records.embeddings is None:
        return None
    if records.has_embedding is None:
        return list(records.embeddings)
    rows = iter(records.embeddings)
    return [next(rows) if is_present else None for is_present in records.has_embedding]


def select(records: RecordBatch, positions: Sequence[int]) -> RecordBatch:
    """Return the records at some positions."""

    def column(values: Sequence[Any] | None) -> list[Any] | None:
        return None if values is None else [values[n] for n in positions]

    return RecordBatch.parse(
        [records.ids[n] for n in positions],
        column(embeddings_of(records)),
        column(records.metadatas),
        column(records.documents),
        column(records.uris),
    )


def without(records: RecordBatch, positions: Sequence[int]) -> RecordBatch:
    """Return the records except for those at some positions."""
    if not positions:
        return records
    left_out = set(positions)
    return select(records, [n for n in range(len(records)) if n not in left_out])
