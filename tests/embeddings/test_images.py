from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from pgchroma.utils.data_loaders import ImageLoader

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def paths(tmp_path: Path) -> list[str]:
    paths = [str(tmp_path / f"{shade}.png") for shade in range(5)]
    for shade, path in enumerate(paths):
        Image.fromarray(np.full((2, 3, 3), shade, dtype=np.uint8)).save(path)
    return paths


@pytest.mark.parametrize("workers", [1, 4])
def test_images_come_in_the_order_of_their_paths(paths: list[str], workers: int) -> None:
    images = ImageLoader(max_workers=workers)([paths[3], None, paths[0]])
    assert images[1] is None
    np.testing.assert_array_equal(images[0], np.full((2, 3, 3), 3))
    np.testing.assert_array_equal(images[2], np.zeros((2, 3, 3)))


def test_a_missing_file_is_an_error(paths: list[str], tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        ImageLoader()([paths[0], str(tmp_path / "none.png")])
