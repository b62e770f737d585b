"""Arguments that the client refuses before it sends them, as Chroma does; the model's checks."""

from __future__ import annotations

import enum
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import pgchroma
from pgchroma import errors
from pgchroma.model.records import RecordBatch
from pgchroma.store.encoding.vectors import pack_vectors

VECTOR = [1.0, 2.0]


@pytest.fixture(scope="module")
def collection(module_url: str) -> Iterator[pgchroma.Collection]:
    settings = pgchroma.Settings(pgchroma_max_batch_size=100)
    with pgchroma.PostgresClient(module_url, settings) as client:
        made = client.create_collection("validation")
        made.add(ids="here", embeddings=VECTOR)
        yield made


ADD: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"ids": []}, ValueError, "Expected IDs to be a non-empty list, got 0 IDs"),
    ({"ids": [5]}, ValueError, "Expected ID to be a str, got 5"),
    ({"ids": None}, ValueError, "Expected IDs to be a list, got NoneType as IDs"),
    (
        {"ids": ["q", "q"], "embeddings": [VECTOR, VECTOR]},
        errors.DuplicateIDError,
        "Expected IDs to be unique, found duplicates of: q",
    ),
    (
        {"ids": [f"i{n}" for n in range(101)], "embeddings": [VECTOR] * 101},
        ValueError,
        "Batch size 101 exceeds maximum batch size 100",
    ),
    (
        {"ids": ["a", "b"], "embeddings": [VECTOR]},
        ValueError,
        "Unequal lengths for fields: ids: 2, embeddings: 1",
    ),
    (
        {"ids": "a", "metadatas": {}},
        ValueError,
        "Expected metadata to be a non-empty dict, got 0 metadata attributes",
    ),
    (
        {"ids": "a", "metadatas": {"k": {}}},
        ValueError,
        "Expected metadata value to be a str, int, float, bool, SparseVector, list, or None, "
        "got {} which is a dict",
    ),
    (
        {"ids": "a", "metadatas": {"k": np.datetime64("2020-01-01")}},
        ValueError,
        "Expected metadata value to be a str, int, float, bool, SparseVector, list, or None, "
        "got 2020-01-01 which is a datetime64",
    ),
    (
        {"ids": "a", "metadatas": {"k": [1, 2.0]}},
        ValueError,
        "Expected metadata list value for key 'k' to contain only str, int, float, or bool and "
        "all elements must be the same type, got [1, 2.0]",
    ),
    (
        {"ids": "a", "metadatas": {"k": []}},
        ValueError,
        "Expected metadata list value for key 'k' to be non-empty",
    ),
    (
        {"ids": "a", "metadatas": {5: 1}},
        TypeError,
        "Expected metadata key to be a str, got 5 which is a int",
    ),
    (
        {"ids": "a", "metadatas": {"chroma:document": "x"}},
        ValueError,
        "Expected metadata to not contain the reserved key chroma:document",
    ),
    (
        {"ids": "a", "metadatas": "x"},
        ValueError,
        "Expected metadata to be a dict or None, got str as metadata",
    ),
    (
        {"ids": "a", "embeddings": ["x"]},
        ValueError,
        "Expected embeddings to be a list of floats or ints, a list of lists, a numpy array, or "
        "a list of numpy arrays, got ['x']",
    ),
    ({"ids": "a", "embeddings": [True]}, ValueError, "Expected embeddings to be a list of floats"),
    ({"ids": "a", "documents": [5]}, ValueError, "Expected document to be a str, got 5"),
]


@pytest.mark.parametrize(("arguments", "kind", "message"), ADD, ids=lambda value: str(value)[:40])
def test_add_refuses(
    collection: pgchroma.Collection,
    arguments: dict[str, Any],
    kind: type[Exception],
    message: str,
) -> None:
    if not {"embeddings", "documents"} & set(arguments):
        arguments = {**arguments, "embeddings": [VECTOR]}
    with pytest.raises(kind) as caught:
        collection.add(**arguments)
    assert str(caught.value).startswith(message)
    assert str(caught.value).endswith(" in add.")
    assert collection.count() == 1


def test_something_to_embed_is_needed(collection: pgchroma.Collection) -> None:
    with pytest.raises(ValueError, match=r"Exactly one of images, uris, documents .* in add\."):
        collection.add(ids="a", metadatas={"k": 1})
    with pytest.raises(ValueError, match=r"Exactly one of documents, images .* in upsert\."):
        collection.upsert(ids="a", metadatas={"k": 1})
    with pytest.raises(ValueError, match=r"Exactly one of images, uris, documents .* in add\."):
        collection.add(ids="a", documents="d", uris="u")


def test_ids_are_checked_everywhere(collection: pgchroma.Collection) -> None:
    for call in (collection.get, collection.delete):
        with pytest.raises(ValueError, match="non-empty list, got 0 IDs in "):
            call(ids=[])
        with pytest.raises(errors.DuplicateIDError, match="duplicates of: q in "):
            call(ids=["q", "q"])
    with pytest.raises(errors.DuplicateIDError, match=r"duplicates of: q in query\."):
        collection.query(query_embeddings=VECTOR, ids=["q", "q"])
    with pytest.raises(errors.DuplicateIDError, match=r"duplicates of: q in update\."):
        collection.update(ids=["q", "q"], metadatas=[{"k": 1}, {"k": 2}])
    with pytest.raises(errors.InvalidArgumentError, match="at least one character"):
        collection.add(ids="", embeddings=VECTOR)


@pytest.mark.parametrize(
    ("include", "message"),
    [
        (["bogus"], "Expected include item to be one of documents, embeddings, metadatas, "
         "distances, uris, data, got bogus in get."),
        (["distances"], "Include item cannot be one of distances, got distances in get."),
        (["data"], "You must set a data loader on the collection if loading from URIs. in get."),
        ([5], "Expected include item to be a str, got 5 in get."),
        ("documents", "Expected include to be a list, got documents in get."),
    ],
)  # fmt: skip
def test_include_is_checked(collection: pgchroma.Collection, include: Any, message: str) -> None:
    with pytest.raises(ValueError) as caught:
        collection.get(include=include)
    assert str(caught.value) == message


class Level(enum.IntEnum):
    """An int that is not quite an int."""

    HIGH = 3


def test_subclasses_of_plain_types_are_stored_as_these(collection: pgchroma.Collection) -> None:
    collection.add(ids="enum", embeddings=VECTOR, metadatas={"level": Level.HIGH})
    assert collection.get(where={"level": Level.HIGH})["metadatas"] == [{"level": 3}]
    assert collection.get(ids="enum", limit=Level.HIGH)["ids"] == ["enum"]
    collection.delete(ids="enum")


def test_a_filter_or_batch_may_be_too_large(collection: pgchroma.Collection) -> None:
    many: list[Any] = [{"k": number} for number in range(1_000)]
    assert collection.get(where={"$or": many[:999]})["ids"] == []
    with pytest.raises(errors.InvalidArgumentError, match=r"more than 1000 conditions; use \$in"):
        collection.get(where={"$or": many})
    nested: Any = {"$or": [{"$and": many[:500]}, {"$and": many[500:]}]}
    with pytest.raises(errors.InvalidArgumentError, match="more than 1000 conditions"):
        collection.get(where=nested)
    lists: Any = {"$or": [{"k": {"$in": list(range(130_000))}}] * 2}
    with pytest.raises(errors.InvalidArgumentError, match="more than 250000 values in lists"):
        collection.get(where=lists)
    patterns: Any = {"$or": [{"$regex": "a" * 6_000}, {"$regex": "b" * 6_000}]}
    with pytest.raises(errors.InvalidArgumentError, match="patterns have more than 10000 char"):
        collection.get(where_document=patterns)
    assert len(collection.get(where={"k": {"$nin": list(range(70_000))}})["ids"]) == 1
    wide = np.broadcast_to(np.float32(0), (50_000, 5_600))
    with pytest.raises(errors.BatchSizeExceededError, match="smaller batches"):
        pack_vectors(wide, 0)


MODEL: list[tuple[dict[str, Any], str]] = [
    ({"ids": [""]}, "Empty ID, ID must have at least one character"),
    ({"ids": ["a\x00"]}, r"ids\[0\]: character 1 is U\+0000"),
    ({"ids": ["a"], "embeddings": [[1.0], [2.0]]}, "Inconsistent number of IDs"),
    ({"ids": ["a", "b"], "embeddings": [[1.0], [1.0, 2.0]]}, "Inconsistent dimensions"),
    ({"ids": ["a"], "embeddings": [[]]}, "at least 1 dimension"),
    ({"ids": ["a"], "embeddings": [[float("nan")]]}, "NaN or Infinity"),
    ({"ids": ["a"], "embeddings": [[1e39]]}, "NaN or Infinity"),
    ({"ids": ["a"], "embeddings": [[float("-inf")]]}, "NaN or Infinity"),
    ({"ids": ["a"], "metadatas": [{"k": None}]}, r"metadatas\[0\].k: a value cannot be None"),
    ({"ids": ["a"], "metadatas": [{"": 1}]}, "key cannot be empty"),
    ({"ids": ["a"], "metadatas": [{"#k": 1}]}, "cannot start with"),
    ({"ids": ["a"], "metadatas": [{"$k": 1}]}, "cannot start with"),
    ({"ids": ["a"], "metadatas": [{"chroma:x": 1}]}, "reserved"),
    ({"ids": ["a"], "metadatas": [{"k\x00": 1}]}, r"U\+0000"),
    ({"ids": ["a"], "metadatas": [{"k": "\x00"}]}, r"metadatas\[0\].k: character 0 is U\+0000"),
    ({"ids": ["a"], "metadatas": [{"k": ["\x00"]}]}, r"metadatas\[0\].k\[0\]"),
    ({"ids": ["a"], "metadatas": [{"k": float("inf")}]}, "not a finite number"),
    ({"ids": ["a"], "metadatas": [{"k": [1, "a"]}]}, "values of one type, got int, str"),
    ({"ids": ["a"], "metadatas": [{"k": [[1]]}]}, "expected a str, int, float, bool"),
    ({"ids": ["a"], "documents": [5]}, r"documents\[0\]: expected a str"),
    ({"ids": ["a"], "uris": ["\x00"]}, r"uris\[0\]: character 0"),
    ({"ids": ["\udc00"]}, "half of a surrogate pair"),
]


@pytest.mark.parametrize(("arguments", "message"), MODEL, ids=lambda value: str(value)[:40])
def test_a_batch_refuses(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(errors.InvalidArgumentError, match=message):
        RecordBatch.parse(**arguments)


def test_what_a_server_accepts_and_the_client_does_not() -> None:
    batch = RecordBatch.parse(
        ["a", "b", "a"],
        [[1], None, [3]],
        [{"x": 1, "e": []}, None, {"x": None, "m": [1, 2.5]}],
        removals=True,
    )
    assert batch.metadatas == [{"x": 1}, None, {"x": None, "m": [1.0, 2.5]}]
    merged = batch.merged()
    assert merged.ids == ["a", "b"]
    assert merged.metadatas == [{"x": None, "m": [1.0, 2.5]}, None]
    assert merged.embeddings is not None
    assert merged.embeddings.tolist() == [[3.0]]
    assert merged.has_embedding == [True, False]
