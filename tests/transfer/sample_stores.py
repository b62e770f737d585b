"""Data directories that releases of Chroma wrote, with what was written to them.

`stores/<release>.tar.xz` has the directory `<release>` and the truth about it.
`<release>.truth.json` lists collections and records. `<release>.truth.npz` has the vectors as they
were given, and under `chroma_<key>` those that the release's own `get` returned where they differ.
`A+B` is a directory that release A made and release B opened and wrote to.
"""

from __future__ import annotations

import json
import tarfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pgchroma.transfer.readers.chroma_directory import ChromaDirectory
from pgchroma.transfer.source import Loss, SourceBatch, SourceCollection

ARCHIVES = Path(__file__).parent / "stores"
RELEASES = sorted(path.name.removesuffix(".tar.xz") for path in ARCHIVES.glob("*.tar.xz"))

_USUAL = ("0.4.3", "0.4.24+1.5.9", "0.6.3", "1.0.20", "1.5.9")

EACH_RELEASE = [
    each if each in _USUAL else pytest.param(each, marks=pytest.mark.heavy) for each in RELEASES
]
"""Values of a parameter; `make test` leaves out the releases that differ least from others."""


@dataclass(frozen=True)
class Truth:
    """A collection as it was written."""

    head: Mapping[str, Any]
    records: Sequence[Mapping[str, Any]]
    given: NDArray[np.float32]
    returned: NDArray[np.float32]

    @property
    def place(self) -> tuple[str, str, str]:
        return self.head["tenant"], self.head["database"], self.head["name"]


@dataclass(frozen=True)
class Store:
    """An unpacked directory and the truth about it."""

    release: str
    path: Path
    truths: Sequence[Truth]


def unpack(release: str, target: Path) -> Store:
    """Unpack an archive below `target`."""
    with tarfile.open(ARCHIVES / f"{release}.tar.xz") as archive:
        archive.extractall(target, filter="data")
    stored = json.loads((target / f"{release}.truth.json").read_text("utf-8"))
    truths = []
    with np.load(target / f"{release}.truth.npz") as arrays:
        for head in stored["collections"]:
            given = arrays[head["key"]]
            key = f"chroma_{head['key']}"
            returned = arrays.get(key, given)
            truths.append(Truth(head, head["records"], given, returned))
    return Store(release, target / release, truths)


@dataclass
class Read:
    """A collection as it was read."""

    collection: SourceCollection
    ids: list[str] = field(default_factory=list)
    embeddings: list[NDArray[np.float32] | None] = field(default_factory=list)
    documents: list[str | None] = field(default_factory=list)
    uris: list[str | None] = field(default_factory=list)
    metadatas: list[Mapping[str, Any] | None] = field(default_factory=list)
    losses: list[Loss] = field(default_factory=list)

    def add(self, batch: SourceBatch) -> None:
        columns = batch.embeddings, batch.documents, batch.uris, batch.metadatas
        assert {len(column) for column in columns} == {len(batch.ids)}
        self.ids += batch.ids
        self.embeddings += batch.embeddings
        self.documents += batch.documents
        self.uris += batch.uris
        self.metadatas += batch.metadatas
        self.losses += batch.losses

    @property
    def marked(self) -> dict[str, set[str]]:
        """The parts of each record that are reported as suspect or lost."""
        marked: dict[str, set[str]] = {}
        for loss in self.losses:
            if loss.id is not None:
                marked.setdefault(loss.id, set()).add(loss.part)
        return marked


def read_collection(
    source: ChromaDirectory, collection: SourceCollection, size: int = 100, skip: int = 0
) -> Read:
    read = Read(collection)
    for batch in source.batches(collection, size, skip):
        assert len(batch.ids) <= size
        read.add(batch)
    return read


def read_all(source: ChromaDirectory, size: int = 100) -> list[Read]:
    return [read_collection(source, collection, size) for collection in source.collections()]


def is_same(left: Any, right: Any) -> bool:
    """Whether values are equal with their types: 1, 1.0 and True are three values."""
    if isinstance(left, Mapping) and isinstance(right, Mapping):
        return left.keys() == right.keys() and all(is_same(left[key], right[key]) for key in left)
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(is_same, left, right))
    return type(left) is type(right) and bool(left == right)


def is_equal(read: NDArray[np.float32] | None, *expected: NDArray[np.float32]) -> bool:
    """Whether a vector is one of those expected, bit for bit."""
    return read is not None and any(
        read.dtype == np.float32 and read.tobytes() == other.tobytes() for other in expected
    )


def compare(store: Store, reads: Sequence[Read]) -> Counter[str]:
    """Compare what was read of a store with the truth.

    Returns:
        How often each of these occurs: `records` (in the truth), `right` (vectors), `lost` (vectors
        of records that were read), `suspect` (wrong vectors that are marked), `wrong` (vectors that
        are not), `lost record`, `document`, `uri` and `metadata` (other than the truth, and whether
        they are `marked`), `extra` (records that do not exist, and whether they are `marked`).
    """
    found: Counter[str] = Counter()
    for truth in store.truths:
        read = _find(truth, reads)
        found["records"] += len(truth.records)
        if read is None:
            found["lost record"] += len(truth.records)
            continue
        _compare_records(truth, read, found)
    return found


def _find(truth: Truth, reads: Sequence[Read]) -> Read | None:
    keys = {truth.head["id"], truth.head["vector_segment"]}
    return next((read for read in reads if read.collection.key in keys), None)


def _compare_records(truth: Truth, read: Read, found: Counter[str]) -> None:
    places = {id: place for place, id in enumerate(read.ids)}
    assert len(places) == len(read.ids)
    marked = read.marked
    general = {loss.part for loss in read.losses if loss.id is None and loss.is_suspect}
    for record, given, returned in zip(truth.records, truth.given, truth.returned, strict=True):
        place = places.pop(record["id"], None)
        if place is None:
            found["lost record"] += 1
            continue
        marks = marked.get(record["id"], set())
        embedding = read.embeddings[place]
        is_doubted = bool(marks & {"embedding", "record"})
        if is_equal(embedding, given, returned):
            found["right"] += 1
            found["right but marked"] += is_doubted
        elif embedding is None:
            found["lost"] += 1
            found["lost unmarked"] += not is_doubted
        else:
            found["suspect" if is_doubted else "wrong"] += 1
        values = {
            "document": read.documents[place],
            "uri": read.uris[place],
            "metadata": read.metadatas[place],
        }
        for part, value in values.items():
            if not is_same(value or None, record[part] or None):
                is_marked = bool({part, "record"} & marks or {"metadata", "record"} & general)
                found[part] += 1
                found[f"{part} unmarked"] += not is_marked
    for id in places:
        found["extra"] += 1
        is_marked = "record" in marked.get(id, ()) or "record" in general
        found["extra unmarked"] += not is_marked
