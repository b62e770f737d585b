"""Maps of ids and labels, as Chroma writes them, damaged, and planted."""

from __future__ import annotations

import pickle
import random
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from pgchroma.transfer.readers.chroma_directory.label_maps import (
    LabelMap,
    hash_ids,
    iterate_labels,
    read_label_map,
)
from tests.transfer.damages import Planted, indexes
from tests.transfer.sample_stores import Store

Samples = Callable[[str], Store]

MODULE = "chromadb.segment.impl.vector.local_persistent_hnsw"


class PersistentData:
    """What Chroma before 1.0 pickles."""

    def __init__(self, labels: dict[str, int]) -> None:
        self.dimensionality = 16
        self.total_elements_added = len(labels)
        self.max_seq_id = 12345
        self.id_to_label = labels
        self.label_to_id = {label: id for id, label in labels.items()}
        self.id_to_seq_id = dict(labels)


PersistentData.__module__ = MODULE


@pytest.fixture
def pickled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[object], Path]:
    module = ModuleType(MODULE)
    module.PersistentData = PersistentData  # type: ignore[attr-defined]
    parents = MODULE.split(".")
    for length in range(1, len(parents)):
        name = ".".join(parents[:length])
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    monkeypatch.setitem(sys.modules, MODULE, module)
    path = tmp_path / "index_metadata.pickle"

    def write(value: object) -> Path:
        path.write_bytes(pickle.dumps(value, 5))
        return path

    return write


def found(labels: LabelMap, ids: list[str]) -> dict[str, int]:
    pairs = zip(ids, labels.find(hash_ids(ids)).tolist(), strict=True)
    return {id: label for id, label in pairs if label}


def many(count: int) -> dict[str, int]:
    # Of all lengths, and with letters of all lengths: the reader has shorter ways for some.
    return {f"{'x' * (n % 300)}ü{n}": n + 1 for n in range(count)}


@pytest.mark.parametrize("release", ["0.4.3", "0.6.3", "1.0.20", "1.5.9"])
def test_maps_of_all_releases_are_whole(release: str, samples: Samples) -> None:
    for directory in indexes(samples(release).path):
        path = directory / "index_metadata.pickle"
        labels, pairs = read_label_map(path), dict(iterate_labels(path))
        assert labels.problem is None
        assert found(labels, list(pairs)) == pairs
        assert len(labels.labels) == len(pairs) == len(set(pairs.values()))


@pytest.mark.parametrize("count", [0, 1, 1000, 1001, 9000])
def test_maps_of_many_ids(count: int, pickled: Callable[[object], Path]) -> None:
    pairs = many(count)
    path = pickled(PersistentData(pairs))
    labels = read_label_map(path)
    assert labels.problem is None
    assert labels.max_sequence == 12345
    assert found(labels, list(pairs)) == pairs
    assert dict(iterate_labels(path)) == pairs


def test_ids_that_the_map_lacks_have_no_label(pickled: Callable[[object], Path]) -> None:
    labels = read_label_map(pickled(PersistentData({"a": 1})))
    assert labels.find(hash_ids(["b", "a", "c"])).tolist() == [0, 1, 0]


@pytest.mark.parametrize("release", ["0.6.3", "1.5.9"])
def test_a_cut_map_has_no_wrong_label(release: str, samples: Samples, tmp_path: Path) -> None:
    source = indexes(samples(release).path)[0] / "index_metadata.pickle"
    data, pairs = source.read_bytes(), dict(iterate_labels(source))
    path = tmp_path / "cut"
    known = 0
    for length in range(0, len(data), 29):
        path.write_bytes(data[:length])
        labels = read_label_map(path)
        assert labels.problem is not None
        read = found(labels, list(pairs))
        assert read.items() <= pairs.items()
        assert len(read) >= known
        known = len(read)
    assert known == len(pairs)


@pytest.mark.parametrize("release", ["0.6.3", "1.5.9"])
def test_a_flipped_byte_gives_no_wrong_label(
    release: str, samples: Samples, tmp_path: Path
) -> None:
    source = indexes(samples(release).path)[0] / "index_metadata.pickle"
    data, pairs = source.read_bytes(), dict(iterate_labels(source))
    chance, path, damaged = random.Random(7), tmp_path / "flipped", 0
    for _ in range(150):
        changed = bytearray(data)
        changed[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        path.write_bytes(changed)
        labels = read_label_map(path)
        read = found(labels, list(pairs))
        wrong = {id for id, label in read.items() if pairs[id] != label}
        assert all(read[id] == labels.doubtful for id in wrong)
        damaged += labels.problem is not None
    assert damaged > 30


def test_a_planted_pickle_is_not_run(tmp_path: Path) -> None:
    evidence = tmp_path / "run"
    path = tmp_path / "index_metadata.pickle"
    for value in (
        Planted(evidence),
        {"id_to_label": Planted(evidence)},
        {"id_to_label": {"a": 1}, "label_to_id": Planted(evidence)},
    ):
        for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
            path.write_bytes(pickle.dumps(value, protocol))
            labels = read_label_map(path)
            assert labels.problem is not None
            assert not evidence.exists()
    # What it would do in a program that unpickles it:
    pickle.loads(path.read_bytes())
    assert evidence.exists()


def test_the_class_of_chroma_alone_is_accepted(pickled: Callable[[object], Path]) -> None:
    path = pickled(PersistentData({"a": 1}))
    data = path.read_bytes()
    path.write_bytes(data.replace(b"PersistentData", b"PersistentDate"))
    labels = read_label_map(path)
    assert labels.problem is not None
    assert "PersistentDate, which was not called" in labels.problem
    assert not len(labels.labels)


def test_a_length_that_is_not_true_takes_no_memory(tmp_path: Path) -> None:
    path = tmp_path / "index_metadata.pickle"
    start = pickle.dumps({"id_to_label": {"a": 1}}, 3)[:-3]
    tracemalloc.start()
    try:
        for end in (b"X\xff\xff\xff\xff", b"\x8e" + b"\xff" * 8, b"\x96" + b"\xff" * 7 + b"\x00"):
            path.write_bytes(start + end + b"x" * 100)
            assert read_label_map(path).problem is not None
        assert tracemalloc.get_traced_memory()[1] < 50_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    "data",
    [b"", b".", b"u.", b"s.", b"(u.", b"\x94.", b"h\x00.", b"b.", b"\x81.", b"\x93.", b"}((u.",
     b"}(K\x01u.", b"\x80\x04}\x94(}u."],
)  # fmt: skip
def test_what_is_no_map_is_empty(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "index_metadata.pickle"
    path.write_bytes(data)
    labels = read_label_map(path)
    assert not len(labels.labels)
    assert list(iterate_labels(path)) == []


def test_ids_and_labels_that_occur_twice_are_left_out() -> None:
    hashes = np.array([5, 3, 5, 9, 1], np.int64)
    labels = np.array([1, 2, 3, 4, 4], np.int64)
    assert LabelMap.of(hashes, labels).hashes.tolist() == [3]
