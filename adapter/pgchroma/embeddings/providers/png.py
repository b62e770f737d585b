"""Images for requests to a provider: PNG in base64."""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np

from pgchroma.embeddings.images.pictures import to_pillow

__all__ = ("is_image", "png_base64")


def is_image(value: object) -> bool:
    """Whether a checked input is an image, not a text."""
    return isinstance(value, np.ndarray)


def png_base64(image: Any) -> str:
    """Return a checked image as PNG in base64.

    Raises:
        ValueError: Pillow is not installed.
    """
    buffer = io.BytesIO()
    to_pillow(image, "images").save(buffer, format="PNG")
    return base64.b64encode(buffer.getvalue()).decode("ascii")
