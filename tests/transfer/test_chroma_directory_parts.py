"""The parts of the reader of Chroma's directories: pages, the queue, labels by order, settings."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgchroma.transfer.readers.chroma_directory.database import Database, open_database
from pgchroma.transfer.readers.chroma_directory.matching import label_candidates
from pgchroma.transfer.readers.chroma_directory.queue import Entry, TableState, replay
from pgchroma.transfer.readers.chroma_directory.rebuilding import rebuild
from pgchroma.transfer.readers.chroma_directory.sequences import decode_sequence
from pgchroma.transfer.readers.chroma_directory.shapes import COLUMNS
from tests.transfer.damages import database
from tests.transfer.sample_stores import Store

ADD, UPDATE, UPSERT, DELETE = range(4)


@pytest.mark.parametrize("release", ["0.4.3", "0.4.24+1.5.9"])
def test_pages_have_the_rows_that_sqlite_reads(
    release: str, samples: Callable[[str], Store], tmp_path: Path
) -> None:
    path, target = database(samples(release).path), tmp_path / "rebuilt.sqlite3"
    rebuilt = rebuild(path, target)
    assert (rebuilt.lost, rebuilt.lost_of_indexes, rebuilt.duplicates) == (0, 0, 0)
    assert not rebuilt.is_contradictory
    with ExitStack() as resources:
        original = open_database(path, is_in_use=False, resources=resources)
        assert not original.is_damaged
        copy = Database(resources.enter_context(closing(sqlite3.connect(target))))
        for table in COLUMNS:
            assert list(copy.rows(table)) == list(original.rows(table))


@pytest.mark.parametrize("size", [512, 1024, 65536])
def test_pages_of_other_sizes_and_rows_over_many_pages(size: int, tmp_path: Path) -> None:
    path, target = tmp_path / "chroma.sqlite3", tmp_path / "rebuilt.sqlite3"
    rows = [(n, "k" * n, "ü" * (n * 700), -n, n / 3 - 1e9, n % 2) for n in range(1, 40)]
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"pragma page_size = {size}")
        connection.execute(
            "create table embedding_metadata (id integer, key text, string_value text, "
            "int_value integer, float_value real, bool_value integer, primary key (id, key))"
        )
        connection.executemany("insert into embedding_metadata values (?, ?, ?, ?, ?, ?)", rows)
        connection.commit()
    assert rebuild(path, target).lost == 0
    with closing(sqlite3.connect(target)) as connection:
        read = connection.execute("select * from embedding_metadata order by id").fetchall()
    assert read == rows


@pytest.mark.parametrize(
    ("value", "number"),
    [
        (7, 7),
        (0, 0),
        (b"\0\0\0\0\0\0\1\xbc", 444),
        (b"\0" * 23 + b"\5", 5),
        (b"\x11\x11000123", 123),
        (1229822654365841720, None),
        (int.from_bytes(b"\x11\x11000123", "big").to_bytes(8, "big"), 123),
        (b"\x11\x11ABCDEF", None),
        (b"\1\2", None),
        (-1, None),
        ("7", None),
        (None, None),
    ],
)
def test_sequence_numbers_of_all_releases(value: object, number: int | None) -> None:
    assert decode_sequence(value) == number


# The queue


@dataclass
class Simulated:
    """What Chroma's tables and its index have of one id after some writes."""

    exists: bool = False
    last_change: int | None = None
    vector: int | None = None
    merged: tuple[int, ...] = ()

    def write(self, entry: Entry) -> None:
        if entry.operation == DELETE:
            self.exists, self.last_change, self.vector, self.merged = False, None, None, ()
        elif entry.operation == UPSERT or (entry.operation == ADD) != self.exists:
            self.exists, self.last_change = True, entry.sequence
            self.merged += (entry.sequence,)
            if entry.has_embedding:
                self.vector = entry.sequence


@st.composite
def histories(draw: st.DrawFn) -> list[Entry]:
    operations = draw(st.lists(st.sampled_from([ADD, UPDATE, UPSERT, DELETE]), max_size=9))
    return [
        Entry(place + 1, operation, operation in (ADD, UPSERT) or draw(st.booleans()))
        for place, operation in enumerate(operations)
    ]


def after(entries: Sequence[Entry]) -> Simulated:
    state = Simulated()
    for entry in entries:
        state.write(entry)
    return state


@given(histories(), st.integers(0, 10), st.integers(0, 10), st.booleans(), st.booleans())
def test_a_replay_finds_the_vector_that_chroma_has(
    entries: list[Entry], synced: int, tables: int, is_trimmed: bool, are_damaged: bool
) -> None:
    # The tables never lag behind what was deleted from the queue.
    read_up_to = max(tables, synced) if tables < len(entries) else len(entries)
    truth = after(entries)
    stored = after([e for e in entries if e.sequence <= read_up_to])
    index = after([e for e in entries if e.sequence <= synced])
    # Chroma keeps the row up to which the index has read.
    remaining = [e for e in entries if e.sequence >= synced] if is_trimmed else entries
    fate = replay(
        remaining,
        TableState(
            has_record=stored.exists,
            last_change=stored.last_change,
            read_up_to=read_up_to,
            is_queue_trimmed=is_trimmed,
            are_damaged=are_damaged,
        ),
    )
    assert fate.exists == truth.exists
    if not truth.exists:
        return
    if fate.embedding is None:
        assert truth.vector == index.vector
    elif fate.is_uncertain:
        assert truth.vector in (fate.embedding, index.vector)
    else:
        assert truth.vector == fate.embedding
    if fate.is_whole and not fate.may_exist_before:
        assert tuple(fate.merged) == truth.merged
    elif not fate.is_whole:
        assert stored.merged + tuple(fate.merged) == truth.merged


# Labels by order


def assignments(
    labels: list[int], rowids: list[int], others: list[int], spare: int
) -> list[list[int]]:
    return [
        found.tolist()
        for found in label_candidates(
            np.array(labels, np.int64),
            np.array(rowids, np.int64),
            np.array(others, np.int64),
            spare,
        )
    ]


def test_labels_have_the_gaps_of_rowids() -> None:
    # The second record was deleted, and its element was, too.
    assert assignments([1, 3, 4], [10, 12, 13], [], 0) == [[1, 3, 4]]
    # Another collection's records are in between.
    assert assignments([5, 6, 8], [10, 13, 16], [11, 12, 14], 0) == [[5, 6, 8]]
    # An element is left over, whose record was deleted after the index was written.
    assert assignments([1, 3, 4, 9], [10, 12, 13], [], 1) == [[1, 3, 4]]


def test_labels_that_fit_in_several_ways_are_all_given() -> None:
    assert len(assignments([1, 2, 3], [10, 11], [], 1)) == 2


def test_labels_that_do_not_fit_are_not_given() -> None:
    assert assignments([1, 2, 4], [10, 11, 12], [], 0) == []
    assert assignments([1, 2], [10, 11, 12], [], 5) == []
    assert assignments([1, 2, 3], [10, 11], [], 0) == []
    assert assignments([1, 2], [], [], 2) == []
