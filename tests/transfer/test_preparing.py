"""What becomes of records that no target can store as they are."""

from __future__ import annotations

from datetime import date
from typing import Any

import numpy as np
import pytest

from pgchroma.transfer.preparing import Nested, Prepared, Preparer
from pgchroma.transfer.source import SourceBatch

VECTOR = np.array([1, 2], dtype=np.float32)


def prepared(*rows: dict[str, Any], nested: Nested = "report") -> Prepared:
    batch = SourceBatch(
        [row.get("id", f"id-{n}") for n, row in enumerate(rows)],
        [row.get("embedding", VECTOR) for row in rows],
        [row.get("document") for row in rows],
        [row.get("uri") for row in rows],
        [row.get("metadata") for row in rows],
    )
    return Preparer(nested=nested).prepare(batch)


def reasons(done: Prepared) -> list[tuple[str, str | None, str]]:
    return [(loss.part, loss.id, loss.reason) for loss in done.losses]


def test_what_can_be_stored_stays_as_it_is() -> None:
    metadata = {"s": "x", "i": 1, "f": 1.0, "b": True, "l": [1, 2]}
    done = prepared({"metadata": metadata, "document": "text"}, {"embedding": None})
    assert done.losses == []
    assert done.records.metadatas == [metadata, None]
    assert done.records.has_embedding == [True, False]


@pytest.mark.parametrize("id", ["", None, 7, "x" * 9000, "a\0b"])
def test_a_record_without_a_usable_id_is_lost_alone(id: Any) -> None:
    done = prepared({}, {"id": id}, {})
    assert done.records.ids == ["id-0", "id-2"]
    assert [loss.part for loss in done.losses] == ["record"]
    assert done.read == 3


def test_the_first_of_two_records_with_one_id_is_kept() -> None:
    done = prepared({"id": "a", "document": "1"}, {"id": "b"}, {"id": "a", "document": "2"})
    assert (done.records.ids, done.records.documents) == (["a", "b"], ["1", None])
    assert reasons(done) == [
        ("record", "a", "another record has the same id; the first one was kept")
    ]


@pytest.mark.parametrize(
    ("embedding", "reason"),
    [
        ([1, 2, 3], "it has 3 dimensions, and those of the collection have 2"),
        ([1, float("nan")], "it contains NaN or Infinity"),
        ([], "it is not a list of numbers"),
        ([[1, 2]], "it is not a list of numbers"),
    ],
)
def test_an_embedding_that_cannot_be_stored_is_lost_and_its_record_kept(
    embedding: list[Any], reason: str
) -> None:
    done = prepared({}, {"embedding": np.array(embedding, np.float32), "document": "text"})
    assert done.records.ids == ["id-0", "id-1"]
    assert done.records.has_embedding == [True, False]
    assert reasons(done) == [("embedding", "id-1", reason)]


def test_characters_that_cannot_be_stored_are_replaced_and_reported() -> None:
    done = prepared(
        {"document": "a\0b", "uri": "\ud800", "metadata": {"k\0": "v", "l": ["x\0"], "m": "y"}}
    )
    assert done.records.documents == ["a\ufffdb"]
    assert done.records.uris == ["\ufffd"]
    assert done.records.metadatas == [{"k\ufffd": "v", "l": ["x\ufffd"], "m": "y"}]
    assert {(loss.part, loss.is_suspect) for loss in done.losses} == {
        ("document", True), ("uri", True), ("metadata", True),
    }  # fmt: skip
    assert len(done.losses) == 4


def test_both_halves_of_a_pair_make_a_character() -> None:
    assert prepared({"document": "\ud83d\ude00\0"}).records.documents == ["\N{GRINNING FACE}\ufffd"]


def test_values_that_metadata_cannot_hold_are_left_out() -> None:
    metadata = {
        "ok": 1, "nested": {"a": [1]}, "mixed": [1, "a"], "empty": [], "none": None,
        "day": date(2026, 1, 2), "nan": float("nan"), "#key": 1, "wide": 2**63 + 1, "huge": 2**70,
    }  # fmt: skip
    done = prepared({"metadata": metadata})
    assert done.records.metadatas == [{"ok": 1, "wide": float(2**63)}]
    text = "\n".join(loss.reason for loss in done.losses)
    for key in ("nested", "mixed", "empty", "day", "nan", "#key", "wide"):
        assert key in text
    assert "none" not in text
    assert len(done.losses) == 8


def test_nested_values_are_kept_as_json_if_asked() -> None:
    metadata = {"nested": {"a": [1, None]}, "mixed": [1, "a"], "day": date(2026, 1, 2)}
    done = prepared({"metadata": metadata}, nested="json")
    assert done.losses == []
    assert done.records.metadatas == [
        {"nested": '{"a":[1,null]}', "mixed": '[1,"a"]', "day": "2026-01-02"}
    ]


def test_other_types_are_reported_where_texts_belong() -> None:
    done = prepared({"document": 7, "uri": b"x", "metadata": "text"})
    assert [loss.part for loss in done.losses] == ["document", "uri", "metadata"]
    assert done.records.ids == ["id-0"]


def test_a_sparse_vector_without_its_type_is_the_same_vector() -> None:
    done = prepared({"metadata": {"s": {"indices": [1], "values": [0.5]}}})
    assert done.losses == []
    assert (done.records.metadatas or [{}])[0] == {
        "s": {"#type": "sparse_vector", "indices": [1], "values": [0.5]}
    }
