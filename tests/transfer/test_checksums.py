"""Checksums: the order does not matter, and every difference does."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from pgchroma.transfer.checksums import PARTS, Checksums
from pgchroma.transfer.seen_ids import SeenIds

IDS = ["a", "b", "c"]
VECTORS = np.array([[1, 2], [3, 4], [5, 6]], dtype=np.float32)
COLUMNS: dict[str, Any] = {
    "embeddings": list(VECTORS),
    "documents": ["one", None, "three"],
    "uris": ["u", "v", None],
    "metadatas": [{"n": 1}, {"n": 2, "m": "x"}, None],
}


def checksums(ids: list[str] = IDS, **columns: Any) -> Checksums:
    return Checksums.of(ids, **{**COLUMNS, **columns})


def test_the_order_of_records_keys_and_batches_does_not_matter() -> None:
    total = Checksums()
    for n in (2, 0, 1):
        columns = {name: [column[n]] for name, column in COLUMNS.items()}
        total += checksums([IDS[n]], **columns)
    assert total == checksums()
    other = checksums(metadatas=[{"n": 1}, {"m": "x", "n": 2}, None])
    assert other.differing(checksums()) == ()


@pytest.mark.parametrize(
    ("part", "column", "value"),
    [
        ("documents", "documents", ["three", None, "one"]),
        ("documents", "documents", ["one", "", "three"]),
        ("uris", "uris", ["u", "w", None]),
        ("metadatas", "metadatas", [{"n": 1.0}, {"n": 2, "m": "x"}, None]),
        ("metadatas", "metadatas", [{"n": True}, {"n": 2, "m": "x"}, None]),
        ("metadatas", "metadatas", [{"n": 2, "m": "x"}, {"n": 1}, None]),
        ("embeddings", "embeddings", [VECTORS[1], VECTORS[0], VECTORS[2]]),
        ("embeddings", "embeddings", [VECTORS[0], None, VECTORS[2]]),
        ("embeddings", "embeddings", list(np.nextafter(VECTORS, np.float32(9)))),
    ],
)
def test_a_difference_is_found_in_its_part(part: str, column: str, value: Any) -> None:
    assert checksums(**{column: value}).differing(checksums()) == (part,)


def test_another_id_is_a_difference_in_every_part() -> None:
    found = checksums(["a", "b", "d"]).differing(checksums())
    assert set(found) == {"ids", "embeddings", "documents"}


def test_negative_zero_is_another_number() -> None:
    zero, negative = np.zeros((1, 2), np.float32), np.array([[0.0, -0.0]], np.float32)
    columns = dict.fromkeys(("documents", "uris", "metadatas"))
    first = Checksums.of(["a"], zero, **columns)
    assert first.differing(Checksums.of(["a"], negative, **columns)) == ("embeddings",)


def test_no_metadata_and_empty_metadata_are_the_same() -> None:
    some = checksums(metadatas=[{"n": 1}, {"n": 2, "m": "x"}, {}])
    assert some.differing(checksums()) == ()


def test_values_of_sparse_vectors_count_as_float32() -> None:
    def of(value: float) -> Checksums:
        sparse = {"#type": "sparse_vector", "indices": [1], "values": [value]}
        return checksums(metadatas=[{"s": sparse}, None, None])

    assert of(0.1).differing(of(float(np.float32(0.1)))) == ()
    assert of(0.1).differing(of(0.2)) == ("metadatas",)


def test_a_matrix_and_its_rows_have_the_same_checksum() -> None:
    assert checksums(embeddings=VECTORS).differing(checksums()) == ()
    assert set(PARTS) == {*COLUMNS, "ids"}


def test_ids_that_occurred_before_are_found() -> None:
    seen = SeenIds()
    assert seen.add([f"id-{n}" for n in range(1000)]) == []
    assert seen.add(["new", "id-7", "newer", "new"]) == [1, 3]
    for first in range(1000, 9000, 500):
        assert seen.add([f"id-{n}" for n in range(first, first + 500)]) == []
    assert seen.add(["id-8999", "id-9000", "newer"]) == [0, 2]
    assert seen.add([]) == []
