"""Coordinates of embeddings on a plane: their two principal components.

They are computed in two passes over the embeddings, of which neither holds more than a batch.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

__all__ = ("Projection",)

COMPONENTS: Final = 2


class Projection:
    """A projection on the plane in which embeddings differ the most.

    The first pass adds all embeddings, the second projects them.
    """

    def __init__(self) -> None:
        self._count = 0
        self._shift: NDArray[np.float64] | None = None
        self._sum: NDArray[np.float64] = np.zeros(0)
        self._products: NDArray[np.float64] = np.zeros((0, 0))
        self._axes: NDArray[np.float64] | None = None

    def add(self, embeddings: NDArray[np.float32]) -> None:
        """Take the rows of a matrix into account."""
        if not len(embeddings):
            return
        if self._shift is None:
            # Numbers close to zero lose fewer digits when their squares are added up.
            self._shift = embeddings.mean(axis=0, dtype=np.float64)
            width = embeddings.shape[1]
            self._sum, self._products = np.zeros(width), np.zeros((width, width))
        shifted = embeddings - self._shift
        self._count += len(shifted)
        self._sum += shifted.sum(axis=0)
        self._products += shifted.T @ shifted

    def coordinates(self, embeddings: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the coordinates of the rows of a matrix, of shape ``(rows, 2)``."""
        if self._shift is None:
            return np.zeros((len(embeddings), COMPONENTS), dtype=np.float32)
        if self._axes is None:
            self._axes = self._principal_axes()
        center = self._shift + self._sum / self._count
        return ((embeddings - center) @ self._axes).astype(np.float32)

    def _principal_axes(self) -> NDArray[np.float64]:
        mean = self._sum / self._count
        covariance = self._products / self._count - np.outer(mean, mean)
        _, vectors = np.linalg.eigh(covariance)
        axes = vectors[:, ::-1][:, :COMPONENTS]
        # The sign of an axis is arbitrary; with this one, two exports have the same coordinates.
        largest = np.abs(axes).argmax(axis=0)
        axes = axes * np.where(axes[largest, range(axes.shape[1])] < 0, -1.0, 1.0)
        missing = COMPONENTS - axes.shape[1]
        return np.pad(axes, ((0, 0), (0, missing)))
