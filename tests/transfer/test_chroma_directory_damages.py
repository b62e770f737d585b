"""What is saved of damaged directories, and that nothing wrong comes without a mark."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from pgchroma.transfer.readers.chroma_directory import ChromaDirectory
from tests.transfer.damages import DAMAGES, evidence, query
from tests.transfer.sample_stores import Store, compare, read_all
from tests.transfer.saved import SAVED, Saved

Samples = Callable[[str], Store]
CopyOf = Callable[[str], Path]

USUAL = "1.5.9"
"""The release with which every kind of damage is tested in a usual run."""

OTHERS = ("0.4.3", "0.4.24", "0.5.5", "0.6.3", "0.5.23+1.0.20", "1.0.20")

UNMARKED = {"level0-flip": "wrong", "dimension-mixed": "extra unmarked"}
"""What comes without a mark: vectors have no checksum, and this one damage adds a record."""


def cases() -> list[object]:
    found: list[object] = []
    for release in (USUAL, *OTHERS):
        for name in DAMAGES:
            marks = [] if release == USUAL else [pytest.mark.heavy]
            found.append(pytest.param(release, name, marks=marks))
    return found


@pytest.mark.parametrize(("release", "name"), cases())
def test_what_is_saved(release: str, name: str, samples: Samples, copy_of: CopyOf) -> None:
    path = copy_of(release)
    DAMAGES[name](path)
    with ChromaDirectory(path) as source:
        reads = read_all(source)
        assert [len(read.ids) for read in reads] == [c.count for c in source.collections()]
    store = samples(release)
    found = compare(store, reads)
    whole = Saved(right=sum(len(truth.records) for truth in store.truths))
    saved = SAVED.get(name, {}).get(release, whole)
    assert found["right"] >= saved.right
    assert found["lost record"] <= saved.lost_records
    assert found["extra"] <= saved.extra
    assert not evidence(path).exists()
    if name == "copied-in-use-journal-lost":
        # Whether pages of different moments fit each other depends on the release of SQLite.
        return
    assert found["document"] <= saved.documents
    assert found["uri"] <= saved.uris
    assert found["metadata"] <= saved.metadatas
    unmarked = {
        what for what, count in found.items() if count and (what == "wrong" or "unmarked" in what)
    }
    assert unmarked <= {UNMARKED.get(name)}
    assert found["wrong"] <= saved.wrong


def test_marks_are_sentences_for_the_owner_of_the_data(copy_of: CopyOf) -> None:
    path = copy_of(USUAL)
    for name in ("no-length", "pickle-foreign", "level0-cut", "queue-emptied", "sqlite-cut-50"):
        DAMAGES[name](path)
    with ChromaDirectory(path) as source:
        reasons = {loss.reason for read in read_all(source) for loss in read.losses}
        warnings = source.warnings()
    assert len(reasons) > 5
    for text in (*reasons, *warnings):
        assert text == " ".join(text.split())
        assert not text.endswith(".")
        assert len(text) < 300


def test_labels_are_not_matched_by_order_if_chroma_before_1_0_began(copy_of: CopyOf) -> None:
    path = copy_of("0.5.23+1.0.20")
    DAMAGES["no-pickle"](path)
    with ChromaDirectory(path) as source:
        reasons = [loss.reason for read in read_all(source) for loss in read.losses]
    assert any("before 1.0 created the directory" in reason for reason in reasons)


def test_labels_matched_by_order_without_a_check_are_suspect(copy_of: CopyOf) -> None:
    path = copy_of("1.5.9")
    DAMAGES["queue-trimmed-no-pickle"](path)
    with ChromaDirectory(path) as source:
        (read,) = (read for read in read_all(source) if read.collection.name == "big-ip")
    queued = {id for (id,) in query(path, "select id from embeddings_queue")}
    suspect = {loss.id for loss in read.losses if loss.is_suspect and loss.id}
    by_id = zip(read.ids, read.embeddings, strict=True)
    matched = {id for id, embedding in by_id if embedding is not None} - queued
    assert len(matched) > 100
    assert matched <= suspect


@pytest.mark.parametrize("share", [0.2, 0.9, 0.999])
def test_arbitrary_bytes_in_the_files_of_an_index(share: float, copy_of: CopyOf) -> None:
    path = copy_of(USUAL)
    for file in path.glob("*/*"):
        data = file.read_bytes()
        half = int(len(data) * share)
        file.write_bytes(data[:half] + bytes(byte ^ 0x5A for byte in data[half:]))
    with ChromaDirectory(path) as source:
        for read in read_all(source):
            assert len(read.ids) == read.collection.count


@pytest.mark.parametrize("share", [0.0, 0.3, 0.97])
def test_arbitrary_bytes_in_the_database(share: float, copy_of: CopyOf) -> None:
    path = copy_of(USUAL) / "chroma.sqlite3"
    data = path.read_bytes()
    start = int(len(data) * share)
    path.write_bytes(data[:start] + bytes(byte ^ 0x5A for byte in data[start:]))
    with ChromaDirectory(path.parent) as source:
        assert any("damaged" in warning for warning in source.warnings())
        for read in read_all(source):
            assert len(read.ids) == read.collection.count
