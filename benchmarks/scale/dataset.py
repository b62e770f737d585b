"""The data: made once, kept on disk, read by every process.

There are two kinds. Clustered vectors lie, as embeddings do, near surfaces of few dimensions: 100
centres, around each a spread along 32 directions, and a little noise in all. With independent noise
in hundreds of dimensions, all neighbours would be equally near, and no index could distinguish
them. The other kind are real embeddings (`docstrings`).
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from scale.docstrings import HELD_OUT
from workload import texts

ROOT = Path(__file__).resolve().parents[2]
DOCSTRINGS = "docstrings"
CENTRES, DIRECTIONS = 100, 32
QUERIES = 200
DRAWN = 50_000
"""Vectors drawn at a time, so that a million need no more memory than their result."""


@dataclass(frozen=True)
class Dataset:
    """Records, queries that are not among them, and vectors to replace theirs by.

    Each column is read when it is first needed, and vectors are mapped into memory: a process that
    only searches a million records needs little of its own.
    """

    place: Path

    @property
    def name(self) -> str:
        """The name that `make` was given."""
        return self.place.parent.name

    def __len__(self) -> int:
        """Return the number of records."""
        return len(self.embeddings)

    @property
    def dimension(self) -> int:
        """The length of a vector."""
        return int(self.embeddings.shape[1])

    @cached_property
    def ids(self) -> list[str]:
        """The ids, ascending."""
        return [f"id-{n:07d}" for n in range(len(self))]

    @cached_property
    def embeddings(self) -> np.ndarray:
        """The embedding of each record."""
        return np.asarray(np.load(self.place / "embeddings.npy", mmap_mode="r"))

    @cached_property
    def documents(self) -> list[str]:
        """The document of each record."""
        texts: list[str]
        texts = json.loads((self.place / "documents.json").read_text(encoding="utf-8"))
        return texts

    @cached_property
    def metadatas(self) -> list[dict[str, Any]]:
        """The metadata of each record."""
        return [metadata(n) for n in range(len(self))]

    @cached_property
    def queries(self) -> np.ndarray:
        """The queries."""
        return np.asarray(np.load(self.place / "queries.npy"))

    @cached_property
    def replacements(self) -> np.ndarray:
        """As many vectors as there are records, of the same distribution."""
        return np.asarray(np.load(self.place / "replacements.npy", mmap_mode="r"))

    def changeable(self) -> np.ndarray:
        """Return the embeddings such that changes stay in this process, which copies them alone."""
        return np.asarray(np.load(self.place / "embeddings.npy", mmap_mode="c"))

    def batch(self, first: int, count: int) -> dict[str, Any]:
        """Cut some consecutive records out, as the arguments of an `add`."""
        part = slice(first, first + count)
        return {
            "ids": self.ids[part],
            "embeddings": self.embeddings[part],
            "documents": self.documents[part],
            "metadatas": self.metadatas[part],
        }


def clustered(dimension: int) -> str:
    """Name the clustered data of a dimension."""
    return f"clustered-{dimension}"


def metadata(n: int) -> dict[str, Any]:
    """Return a record's metadata: core's four keys, and three to match a part of all records by."""
    return {
        "n": n,
        "category": f"c{n % 10}",
        "score": n / 7,
        "even": n % 2 == 0,
        "tenth": n % 10,
        "percent": n % 100,
        "permille": n % 1000,
    }


def make(directory: Path, name: str, count: int, python: Path) -> Path:
    """Make the data if it does not exist, and return its directory.

    Args:
        directory: Where all data is kept.
        name: A name that `clustered` returns, or `DOCSTRINGS`.
        count: How many records.
        python: The interpreter which has pgchroma, and with it the model.
    """
    place = directory / name / str(count)
    if (place / "replacements.npy").exists():  # It is written last.
        return place
    place.mkdir(parents=True, exist_ok=True)
    print(f"making {count:,} records of {name} …", flush=True)
    if name == DOCSTRINGS:
        _make_docstrings(place, count, python)
    else:
        _make_clustered(place, count, int(name.rpartition("-")[2]))
    return place


def load(place: Path) -> Dataset:
    """Open the data that `make` has made."""
    return Dataset(place)


def clustered_vectors(dimension: int) -> Callable[[int, int], np.ndarray]:
    """Return a function that draws clustered vectors, by a seed and their number."""
    shape = np.random.default_rng(11)
    centres = shape.normal(size=(CENTRES, dimension)) * 0.6
    directions = shape.normal(size=(DIRECTIONS, dimension)) / np.sqrt(DIRECTIONS)

    def draw(seed: int, count: int) -> np.ndarray:
        random = np.random.default_rng(seed)
        drawn = np.empty((count, dimension), np.float32)
        for first in range(0, count, DRAWN):
            part = drawn[first : first + DRAWN]
            part[:] = centres[random.integers(0, CENTRES, len(part))]
            part += random.normal(size=(len(part), DIRECTIONS)) @ directions
            part += random.normal(size=part.shape) * 0.1
        return drawn

    return draw


def _make_clustered(place: Path, count: int, dimension: int) -> None:
    draw = clustered_vectors(dimension)
    documents = texts(np.random.default_rng(12), count)
    (place / "documents.json").write_text(json.dumps(documents), encoding="utf-8")
    np.save(place / "embeddings.npy", draw(13, count))
    np.save(place / "queries.npy", draw(14, QUERIES))
    np.save(place / "replacements.npy", draw(15, count))


def _make_docstrings(place: Path, count: int, python: Path) -> None:
    subprocess.run(
        [str(python), "-m", "scale.docstrings", str(place), str(count)],
        cwd=ROOT / "benchmarks",
        env={**os.environ, "PYTHONPATH": str(ROOT / "benchmarks")},
        check=True,
    )
    documents = json.loads((place / "documents.json").read_text(encoding="utf-8"))
    embedded = np.load(place / "embeddings.npy")
    records, queries = embedded[:-HELD_OUT], embedded[-HELD_OUT:]
    # Updates have no other texts to choose from; a new text could lie between two existing ones.
    others = np.random.default_rng(15).permutation(len(records))
    between = records + records[others]
    between /= np.linalg.norm(between, axis=1, keepdims=True)
    (place / "documents.json").write_text(json.dumps(documents[:-HELD_OUT]), encoding="utf-8")
    np.save(place / "embeddings.npy", records)
    np.save(place / "queries.npy", queries)
    np.save(place / "replacements.npy", between)
