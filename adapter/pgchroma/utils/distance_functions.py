"""Chroma's import path of its distances: squared `l2`, 1 - `cosine`, and 1 - inner product `ip`."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

__all__ = ("Vector", "cosine", "ip", "l2")

Vector: TypeAlias = NDArray[np.integer | np.floating]


def l2(x: Vector, y: Vector) -> float:
    """Return the square of the Euclidean distance."""
    return float(np.linalg.norm(x - y) ** 2)


def cosine(x: Vector, y: Vector) -> float:
    """Return 1 - the cosine, or 1 if a vector is zero."""
    # Chroma's index adds the same number, to avoid a division by zero.
    epsilon = 1e-7 if np.float16 in (x.dtype, y.dtype) else 1e-30
    return float(1.0 - np.dot(x, y) / (np.linalg.norm(x) * np.linalg.norm(y) + epsilon))


def ip(x: Vector, y: Vector) -> float:
    """Return 1 - the inner product."""
    return float(1.0 - np.dot(x, y))
