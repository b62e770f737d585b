"""Images as arrays: check them, and convert files, URLs, bytes and Pillow's images."""

from __future__ import annotations

import io
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

import numpy as np

from pgchroma.errors import EmbeddingError
from pgchroma.extras import load_extra

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = (
    "check_texts_and_images",
    "has_suffix",
    "load_images",
    "pixels_of",
    "to_pillow",
)

_SUFFIXES = (".jpg", ".jpeg", ".png", ".gif", ".bmp", ".webp", ".tif", ".tiff")
_ADDRESS = re.compile(r"(https?|file)://\S+", re.IGNORECASE)
_THREADS = 8
"""Images that are read concurrently."""


def check_texts_and_images(inputs: object) -> None:
    """Raise `ValueError` unless the inputs are a list of texts and images.

    An image is an array of whole numbers from 0 to 255: [height, width], or [height, width,
    channels] of 1 to 4 channels.
    """
    if not isinstance(inputs, list | tuple):
        raise ValueError(
            f"Expected documents or images to be a list, got {type(inputs).__name__}: "
            f"{inputs!r:.80}"
        )
    for position, value in enumerate(inputs):
        if isinstance(value, np.ndarray):
            _check_pixels(value, position)
        elif not isinstance(value, str):
            raise ValueError(
                "Expected documents or images to be strings or numpy arrays, got "
                f"{type(value).__name__} at position {position}"
            )


def to_pillow(image: NDArray[Any], extra: str) -> Any:
    """Return an array as Pillow's image.

    Args:
        image: An array that `check_texts_and_images` accepts.
        extra: The extra of pgchroma that installs Pillow.
    """
    pixels = image.astype(np.uint8, copy=False)
    has_one_channel = pixels.ndim == 3 and pixels.shape[2] == 1  # noqa: PLR2004
    return load_extra("PIL.Image", extra).fromarray(pixels[:, :, 0] if has_one_channel else pixels)


def has_suffix(text: str, suffixes: tuple[str, ...]) -> bool:
    """Whether a text has one line and ends with one of the suffixes."""
    return "\n" not in text and text.lower().endswith(suffixes)


def load_images(inputs: Sequence[Any], extra: str, timeout: float) -> list[Any]:
    """Return inputs with arrays instead of images and their URIs, and texts unchanged.

    Arguments and errors are those of `pixels_of`. A text that is not the URI of an image is a text.
    """

    def load(value: Any) -> Any:
        is_text = isinstance(value, str) and not _is_image_uri(value)
        return value if is_text else pixels_of(value, extra, timeout)

    with ThreadPoolExecutor(_THREADS, "pgchroma-images") as pool:
        return list(pool.map(load, inputs))


def pixels_of(image: Any, extra: str, timeout: float) -> NDArray[Any]:
    """Return an image as an array [height, width, 3], and an array unchanged.

    Args:
        image: An array, Pillow's image, an image's bytes, a path or a URL.
        extra: The extra of pgchroma that installs Pillow.
        timeout: The maximum seconds of a request.

    Raises:
        ValueError: The image has another type.
        OSError: A file is missing, or is not an image.
        EmbeddingError: A URL did not return an image.
    """
    if isinstance(image, np.ndarray):
        return image
    pillow = load_extra("PIL.Image", extra)
    if isinstance(image, pillow.Image):
        return np.asarray(image.convert("RGB"))
    if isinstance(image, bytes | bytearray | memoryview):
        source: Any = io.BytesIO(image)
    elif isinstance(image, str | Path):
        source = _source(str(image), timeout)
    else:
        raise ValueError(f"Expected an image, got {type(image).__name__}")
    with pillow.open(source) as opened:
        return np.asarray(opened.convert("RGB"))


def _is_image_uri(text: str) -> bool:
    """Whether a text is a URL, or a path with the suffix of an image."""
    return _ADDRESS.fullmatch(text) is not None or has_suffix(text, _SUFFIXES)


def _source(uri: str, timeout: float) -> str | io.BytesIO:
    if not _ADDRESS.fullmatch(uri):
        return uri
    parts = urlsplit(uri)
    if parts.scheme.lower() == "file":
        return unquote(parts.path)
    import httpx  # noqa: PLC0415

    try:
        response = httpx.get(uri, timeout=timeout, follow_redirects=True)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise EmbeddingError(f"{uri} did not return an image: {error}") from error
    if not response.is_success:
        raise EmbeddingError(f"{uri} did not return an image: status {response.status_code}")
    return io.BytesIO(response.content)


def _check_pixels(image: NDArray[Any], position: int) -> None:
    is_image = image.size > 0 and (
        image.ndim == 2 or (image.ndim == 3 and 1 <= image.shape[2] <= 4)  # noqa: PLR2004
    )
    if not is_image:
        raise ValueError(
            "Expected an image to be an array [height, width] or [height, width, channels] of 1 to "
            f"4 channels, got shape {list(image.shape)} at position {position}"
        )
    if image.dtype == np.uint8:
        return
    if image.dtype.kind not in "iuf" or not _are_bytes(image):
        raise ValueError(
            "Expected the values of an image to be whole numbers from 0 to 255, got other "
            f"{image.dtype} at position {position}"
        )


def _are_bytes(image: NDArray[Any]) -> bool:
    # These comparisons are false for NaN.
    return bool(((image >= 0) & (image <= 255) & (image % 1 == 0)).all())  # noqa: PLR2004
