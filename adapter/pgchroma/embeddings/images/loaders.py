"""Images from files, for collections that embed what their URIs point at."""

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
        """Say how many files may be read at a time.

        Raises:
            ValueError: Pillow is not installed.
        """
        self._pillow = load_extra("PIL.Image", "images")
        self._max_workers = max_workers

    def __call__(self, uris: Sequence[str | None]) -> Loadable:
        """Read the files.

        Returns:
            One array per path, [height, width] or [height, width, channels] of uint8 for the
            common formats, and ``None`` where the path is ``None``.

        Raises:
            OSError: A file is missing or is no image.
        """
        with ThreadPoolExecutor(max_workers=self._max_workers) as pool:
            return list(pool.map(self._load, uris))

    def _load(self, uri: str | None) -> Image | None:
        if uri is None:
            return None
        with self._pillow.open(uri) as image:
            return np.array(image)


class ChromaLangchainPassthroughDataLoader(DataLoader[Any]):
    """Loads nothing: an embedding function of LangChain's opens images itself."""

    def __call__(self, uris: Sequence[str | None]) -> tuple[str, Sequence[str | None]]:
        """Return the URIs with the word by which the function tells them from texts."""
        return ("images", uris)
