"""Small images of one colour."""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ("COLOURS", "image")

COLOURS = {"red": (250, 0, 0), "green": (0, 250, 0), "blue": (0, 0, 250)}


def image(colour: str, size: tuple[int, int] = (4, 5)) -> np.ndarray[Any, Any]:
    return np.full((*size, 3), COLOURS[colour], dtype=np.uint8)
