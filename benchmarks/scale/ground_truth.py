"""The exact nearest records, found by comparing with all; and the recall of search results."""

from __future__ import annotations

import numpy as np

CHUNK = 100_000
"""Vectors compared with at a time."""


def nearest(
    vectors: np.ndarray, queries: np.ndarray, among: np.ndarray | None = None, count: int = 10
) -> np.ndarray:
    """Return the numbers of the vectors nearest to each query by l2, the nearest first.

    Args:
        vectors: All vectors.
        queries: The query vectors, one in a row.
        among: The numbers of those that may be found, ascending; all if None. Where there are
            fewer than `count`, fewer are returned.
        count: How many to return.
    """
    numbers = np.arange(len(vectors)) if among is None else among
    best = np.empty((len(queries), 0), np.int64)
    distances = np.empty((len(queries), 0), np.float32)
    for first in range(0, len(numbers), CHUNK):
        part = numbers[first : first + CHUNK]
        compared = np.asarray(vectors[part])
        found = (compared**2).sum(axis=1) - 2 * (queries @ compared.T)
        best = np.concatenate([best, np.broadcast_to(part, found.shape)], axis=1)
        distances = np.concatenate([distances, found], axis=1)
        order = np.argsort(distances, axis=1, kind="stable")[:, :count]
        best = np.take_along_axis(best, order, axis=1)
        distances = np.take_along_axis(distances, order, axis=1)
    return best


def recall(found: list[list[str]], truth: np.ndarray, ids: list[str]) -> float:
    """Return the mean fraction of the exact nearest that was found; 1 if there were none."""
    parts = [
        len({ids[n] for n in row} & set(got)) / len(row) if len(row) else 1.0
        for got, row in zip(found, truth, strict=True)
    ]
    return float(np.mean(parts))
