"""Images as arrays: checked, and made of files, addresses, bytes and Pillow's images."""

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
_TOGETHER = 8
"""Images read at a time."""


def check_texts_and_images(inputs: object) -> None:
    """Raise ValueError unless this is a list of texts and images; the message says what is where.

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
    """Make Pillow's image of an array.

    Args:
        image: What `check_texts_and_images` lets through.
        extra: The extra of pgchroma that brings Pillow.
    """
    pixels = image.astype(np.uint8, copy=False)
    has_one_channel = pixels.ndim == 3 and pixels.shape[2] == 1  # noqa: PLR2004
    return load_extra("PIL.Image", extra).fromarray(pixels[:, :, 0] if has_one_channel else pixels)


def has_suffix(text: str, suffixes: tuple[str, ...]) -> bool:
    """Whether a text of one line ends like a file of these kinds."""
    return "\n" not in text and text.lower().endswith(suffixes)


def load_images(inputs: Sequence[Any], extra: str, timeout: float) -> list[Any]:
    """Put arrays in the place of images and of what says where they are; texts stay as they are.

    Takes and raises what `pixels_of` does; a text that is no URI of an image is a text.
    """

    def load(value: Any) -> Any:
        is_text = isinstance(value, str) and not _is_image_uri(value)
        return value if is_text else pixels_of(value, extra, timeout)

    with ThreadPoolExecutor(_TOGETHER, "pgchroma-images") as pool:
        return list(pool.map(load, inputs))


def pixels_of(image: Any, extra: str, timeout: float) -> NDArray[Any]:
    """Make an array [height, width, 3] of an image; an array stays as it is.

    Args:
        image: An array, Pillow's image, an image's bytes, a path or an address.
        extra: The extra of pgchroma that brings Pillow.
        timeout: Seconds that a request for one may take.

    Raises:
        ValueError: It is none of these.
        OSError: A file is missing, or is no image.
        EmbeddingError: An address did not give an image.
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
    """Whether a text says where an image is: an address, or a path that ends as images' do."""
    return _ADDRESS.fullmatch(text) is not None or has_suffix(text, _SUFFIXES)


def _source(uri: str, timeout: float) -> str | io.BytesIO:
    if not _ADDRESS.fullmatch(uri):
        return uri
    parts = urlsplit(uri)
    if parts.scheme.lower() == "file":
        return unquote(parts.path)
    import httpx  # noqa: PLC0415

    try:
        answer = httpx.get(uri, timeout=timeout, follow_redirects=True)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise EmbeddingError(f"{uri} did not give an image: {error}") from error
    if not answer.is_success:
        raise EmbeddingError(f"{uri} did not give an image: status {answer.status_code}")
    return io.BytesIO(answer.content)


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
    # Written so that NaN is refused.
    return bool(((image >= 0) & (image <= 255) & (image % 1 == 0)).all())  # noqa: PLR2004
