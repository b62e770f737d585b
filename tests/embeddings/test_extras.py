from __future__ import annotations

import importlib.util
import subprocess
import sys

import pytest

from pgchroma.embeddings import DefaultEmbeddingFunction, ONNXMiniLM_L6_V2
from pgchroma.embeddings.extras import load_extra
from pgchroma.embeddings.images import ImageLoader

HEAVY = {"onnx", "onnxruntime", "tokenizers", "safetensors", "httpx", "rich", "PIL"}


@pytest.mark.parametrize(
    "module",
    [
        "pgchroma.embeddings",
        "pgchroma.utils.embedding_functions",
        "pgchroma.utils.data_loaders",
    ],
)
def test_importing_is_light(module: str) -> None:
    code = f"import sys, {module}; print(*{{name.partition('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not HEAVY & set(done.stdout.split())


def advice(package: str, extra: str) -> str:
    return (
        rf"^The {package} python package is not installed. "
        rf"Please install it with `pip install 'pgchroma\[{extra}\]'`$"
    )


def hide(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == package else find(name)
    )
    monkeypatch.setitem(sys.modules, package, None)


@pytest.mark.parametrize("package", ["onnxruntime", "tokenizers"])
def test_the_model_names_the_extra_it_needs(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    hide(package, monkeypatch)
    default = DefaultEmbeddingFunction()
    with pytest.raises(ValueError, match=advice(package, "onnx")):
        ONNXMiniLM_L6_V2()
    with pytest.raises(ValueError, match=advice(package, "onnx")):
        default(["a"])


def test_a_module_of_a_missing_package_names_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    hide("safetensors", monkeypatch)
    monkeypatch.delitem(sys.modules, "safetensors.numpy", raising=False)
    with pytest.raises(ValueError, match=advice("safetensors", "onnx")):
        load_extra("safetensors.numpy", "onnx")


def test_the_image_loader_names_the_extra_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "PIL.Image", None)
    with pytest.raises(ValueError, match=advice("PIL", "images")):
        ImageLoader()
