"""Load images from files, for collections that embed the content of their URIs."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np

from pgchroma.embeddings.protocol import DataLoader, Image, Loadable
from pgchroma.extras import load_extra

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ("ChromaLangchainPassthroughDataLoader", "ImageLoader")


class ImageLoader(DataLoader[Loadable]):
    """Reads image files with Pillow."""

    def __init__(self, max_workers: int = os.cpu_count() or 1) -> None:
        """Set how many files are read concurrently.

        Raises:
            ValueError: Pillow is not installed.
        """
        self._pillow = load_extra("PIL.Image", "images")
        self._max_workers = max_workers

    def __call__(self, uris: Sequence[str | None]) -> Loadable:
        """Read the files.

        Returns:
            An array for each path, [height, width] or [height, width, channels] of uint8 for the
            common formats, and ``None`` for a path that is ``None``.

        Raises:
            OSError: A file is missing or is not an image.
        """
        with ThreadPoolExecutor(max_workers=self._max_workers) as pool:
            return list(pool.map(self._load, uris))

    def _load(self, uri: str | None) -> Image | None:
        if uri is None:
            return None
        with self._pillow.open(uri) as image:
            return np.array(image)


class ChromaLangchainPassthroughDataLoader(DataLoader[Any]):
    """Loads nothing, because LangChain's embedding functions open images themselves."""

    def __call__(self, uris: Sequence[str | None]) -> tuple[str, Sequence[str | None]]:
        """Return the URIs with the word that marks them as images."""
        return ("images", uris)
