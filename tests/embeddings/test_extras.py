from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import version

import pytest

from pgchroma import extras
from pgchroma.embeddings import DefaultEmbeddingFunction, ONNXMiniLM_L6_V2
from pgchroma.embeddings.images.loaders import ImageLoader
from pgchroma.extras import check_installed, load_extra

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


@pytest.fixture
def fresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    extras._outdated.cache_clear()
    yield monkeypatch
    extras._outdated.cache_clear()


@pytest.mark.parametrize(
    ("package", "extra", "installed"),
    [
        ("sentence-transformers", "sentence-transformers", "5.7.0"),
        ("sentence-transformers", "instructor", "6.0.0rc1"),
        ("torch", "transformers", "2.5.1+cpu"),
        ("onnxruntime", "onnx", "1.18"),
    ],
)
@pytest.mark.parametrize("load", [check_installed, load_extra])
def test_a_package_that_is_too_old_is_not_imported(
    package: str,
    extra: str,
    installed: str,
    load: Callable[..., object],
    fresh: pytest.MonkeyPatch,
) -> None:
    fresh.setattr(extras, "version", lambda name: installed if name == package else version(name))
    with pytest.raises(ValueError, match="but pgchroma needs >=") as caught:
        load("json", extra=extra)
    assert f"The {package} python package has version {installed}," in str(caught.value)
    assert f"pip install --upgrade 'pgchroma[{extra}]'" in str(caught.value)


def test_versions_between_and_above_are_fine(fresh: pytest.MonkeyPatch) -> None:
    fresh.setattr(extras, "version", lambda name: "99.1.dev0+local")
    for extra in ("sentence-transformers", "open-clip", "onnx", "images"):
        check_installed("json", extra=extra)
