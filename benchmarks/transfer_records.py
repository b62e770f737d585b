"""The records that the benchmark of imports writes and reads: the same for each kind of source."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import numpy as np

__all__ = ("COLLECTION", "DIMENSION", "METADATA", "portions")

COLLECTION: Final = "papers"
DIMENSION: Final = 384
METADATA: Final = ("number", "share", "flag", "kind")

_WORDS: Final = ("records", "have", "embeddings", "and", "documents", "with", "some", "words")


def portions(records: int, size: int) -> Iterator[dict[str, Any]]:
    """Yield the columns of the records in portions: id, document, embedding, and the metadata.

    Args:
        records: How many records there are.
        size: How many of them a portion has, at most.
    """
    rng = np.random.default_rng(7)
    for first in range(0, records, size):
        numbers = np.arange(first, min(first + size, records))
        embeddings = rng.standard_normal((len(numbers), DIMENSION), dtype=np.float32)
        words = rng.choice(_WORDS, (len(numbers), 40))
        yield {
            "id": [f"record-{n}" for n in numbers],
            "document": [" ".join(row) for row in words],
            "embedding": embeddings,
            "number": numbers.tolist(),
            "share": (numbers / 7).tolist(),
            "flag": (numbers % 2 == 0).tolist(),
            "kind": [f"kind {n % 100}" for n in numbers],
        }
