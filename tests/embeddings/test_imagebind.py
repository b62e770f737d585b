"""ImageBind's function, with a package that has ImageBind's interface."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pgchroma.embeddings.providers import local
from pgchroma.embeddings.providers.imagebind import ImageBindEmbeddingFunction
from tests.embeddings.models import need

pytestmark = pytest.mark.filterwarnings("default")


class TestImageBind:
    @pytest.fixture(autouse=True)
    def stand_in(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
        """A package with ImageBind's interface, whose embeddings show its inputs."""
        need("torch")
        package = tmp_path / "packages" / "imagebind"
        package.mkdir(parents=True)
        (package / "__init__.py").write_text("from . import imagebind_model\n")
        (package / "imagebind_model.py").write_text(_IMAGEBIND_MODEL)
        (package / "data.py").write_text(_IMAGEBIND_DATA)
        monkeypatch.syspath_prepend(str(package.parent))
        monkeypatch.setattr(local, "_loaded_models", local.ModelCache())
        yield
        for name in [name for name in sys.modules if name.partition(".")[0] == "imagebind"]:
            del sys.modules[name]

    @pytest.mark.heavy
    def test_texts_images_and_sounds_go_their_ways(self, tmp_path: Path) -> None:
        from PIL import Image  # noqa: PLC0415

        picture, sound = tmp_path / "a.png", tmp_path / "b.wav"
        Image.fromarray(np.full((2, 3, 3), 7, dtype=np.uint8)).save(picture)
        sound.write_bytes(b"12345")
        function = ImageBindEmbeddingFunction.create(device="cpu")
        given = ["three words here", str(sound), str(picture), picture, "word"]
        made = [each.tolist() for each in function.compute_source_embeddings(given)]
        assert made == [[0, 3], [2, 5], [1, 7], [1, 7], [0, 1]]
        assert [each.tolist() for each in function.compute_query_embeddings(str(sound))] == [[2, 5]]
        assert function.ndims() == 1024

    def test_a_document_that_looks_like_a_path_is_a_text(self, tmp_path: Path) -> None:
        function = ImageBindEmbeddingFunction(normalize=True)
        given: list[Any] = [str(tmp_path / "none.png"), "b.wav", np.full((2, 2, 3), 9)]
        made = function(given)
        np.testing.assert_allclose(made, [[0, 1], [0, 1], [1 / 82**0.5, 9 / 82**0.5]], atol=1e-6)
        again = function.build_from_config(function.get_config())
        assert again.get_config() == {
            "model_name": "imagebind_huge",
            "device": "cpu",
            "normalize": True,
        }


_IMAGEBIND_MODEL = """
import torch

class ModalityType:
    VISION, AUDIO, TEXT = "vision", "audio", "text"

class Model(torch.nn.Module):
    def forward(self, inputs):
        return inputs

def imagebind_huge(pretrained):
    assert pretrained
    return Model()
"""
_IMAGEBIND_DATA = """
import os, torch
from PIL import Image

def load_and_transform_text(texts, device):
    return torch.tensor([[0.0, len(text.split())] for text in texts])

def load_and_transform_vision_data(paths, device):
    return torch.tensor([[1.0, Image.open(path).getpixel((0, 0))[0]] for path in paths])

def load_and_transform_audio_data(paths, device):
    return torch.tensor([[2.0, os.path.getsize(path)] for path in paths])
"""
