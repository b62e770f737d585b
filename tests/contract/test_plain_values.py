"""Values that are a text, a number or an embedding in another form, in every mode."""

from __future__ import annotations

import enum
from typing import Any

import numpy as np
import pytest

from pgchroma.errors import ChromaError

VECTOR = [1.0, 2.0]


class Shade(enum.StrEnum):
    RED = "red"


class Kind(str, enum.Enum):  # noqa: UP042  (of the two, this one writes itself as `Kind.BOOK`)
    BOOK = "book"


class Level(enum.IntEnum):
    HIGH = 3


class Tensor:
    """An object that numpy can turn into an array."""

    def __init__(self, values: Any) -> None:
        self.values = values

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        return np.array(self.values, dtype=dtype)


class Attached(Tensor):
    """A tensor that refuses."""

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        raise RuntimeError("call detach() first")


METADATA = {
    "shade": Shade.RED,
    "kind": Kind.BOOK,
    "level": Level.HIGH,
    "text": np.str_("t"),
    "int": np.int64(5),
    "small": np.uint8(7),
    "float": np.float32(0.5),
    "true": np.bool_(True),
    "kinds": [Kind.BOOK, Kind.BOOK],
    "ints": [np.int32(1), np.int32(2)],
    Kind.BOOK: "as a key",
}
PLAIN = {
    "shade": "red", "kind": "book", "level": 3, "text": "t", "int": 5, "small": 7, "float": 0.5,
    "true": True, "kinds": ["book", "book"], "ints": [1, 2], "book": "as a key",
}  # fmt: skip


async def test_values_are_taken_for_what_they_are(mode: Any) -> None:
    collection = await mode.create_collection(
        np.str_("papers"), metadata={"kind": Kind.BOOK, "n": np.int16(2)}, embedding_function=None
    )
    assert (collection.name, collection.metadata) == ("papers", {"kind": "book", "n": 2})
    ids = [np.str_("a"), Kind.BOOK]
    await collection.add(
        ids=ids, embeddings=[VECTOR, VECTOR], metadatas=[METADATA, {"int": 6}],
        documents=[np.str_("x"), Kind.BOOK],
    )  # fmt: skip
    stored = await collection.get(ids=[np.str_("a")], include=[np.str_("metadatas"), "documents"])
    assert stored["metadatas"] == [PLAIN]
    assert {key: type(value) for key, value in stored["metadatas"][0].items()} == {
        key: type(value) for key, value in PLAIN.items()
    }
    assert stored["documents"] == ["x"]
    for where in (
        {"shade": Shade.RED},
        {"kind": {"$eq": Kind.BOOK}},
        {"level": {"$gte": np.int64(3)}},
        {"int": {"$in": np.array([5, 9])}},
        {"int": {"$in": [np.int64(5), 9]}},
        {"true": np.bool_(True)},
        {"text": {"$in": [np.str_("t"), "u"]}},
        {"kinds": {"$contains": Kind.BOOK}},
        {np.str_("float"): {np.str_("$lt"): np.float32(0.75)}},
    ):
        assert (await collection.get(where=where))["ids"] == ["a"], where
    page = await collection.get(limit=np.int64(1), offset=np.uint8(1))
    assert page["ids"] == ["book"]
    found = await collection.query(query_embeddings=VECTOR, n_results=np.int32(1), ids=Kind.BOOK)
    assert found["ids"] == [["book"]]
    assert (await collection.get(where_document={"$contains": Kind.BOOK}))["ids"] == ["book"]
    assert (await mode.get_collection(np.str_("papers"))).name == "papers"
    assert len(await mode.list_collections(limit=np.int64(5))) == 1
    await collection.delete(where={"kind": Kind.BOOK}, limit=np.int64(1))
    assert await collection.count() == 1


@pytest.mark.parametrize(
    "embeddings",
    [
        [[np.float32(1), np.float32(2)], [np.float32(3), np.float32(4)]],
        [(1.0, 2.0), (3.0, 4.0)],
        ((1, 2), (3, 4)),
        [np.array([1, 2], np.float32), np.array([3, 4], np.float32)],
        Tensor([[1.0, 2.0], [3.0, 4.0]]),
        [Tensor([1.0, 2.0]), Tensor([3.0, 4.0])],
        np.array([[1, 2], [3, 4]], np.float16),
    ],
)
async def test_embeddings_come_in_many_forms(mode: Any, embeddings: Any) -> None:
    collection = await mode.create_collection("papers", embedding_function=None)
    await collection.add(ids=["a", "b"], embeddings=embeddings)
    stored = await collection.get(include=["embeddings"])
    assert np.array_equal(stored["embeddings"], [[1, 2], [3, 4]])
    found = await collection.query(query_embeddings=embeddings, n_results=1)
    assert found["ids"] == [["a"], ["b"]]


LONG = list(range(1_000_000))


@pytest.mark.parametrize(
    "arguments",
    [
        {"embeddings": ["x" * 10_000_000]},
        {"embeddings": [VECTOR], "metadatas": {"k": {n: n for n in range(1_000_000)}}},
        {"embeddings": [VECTOR], "metadatas": {"k": [*LONG, 1.5]}},
        {"embeddings": [VECTOR], "metadatas": {"k" * 1_000_000: [1, "a"]}},
        {"embeddings": [VECTOR], "metadatas": LONG},
        {"embeddings": [VECTOR], "documents": [LONG]},
        {"embeddings": [VECTOR], "metadatas": {"k": np.datetime64("2020-01-01")}},
        {"embeddings": [Attached([1.0, 2.0])]},
        {"embeddings": np.zeros((2, 2, 200))},
        {"embeddings": [[LONG]]},
        {"ids": [LONG], "embeddings": [VECTOR]},
        {"ids": 10**5_000, "embeddings": [VECTOR]},
    ],
    ids=",".join,
)
async def test_a_refusal_is_a_short_line(mode: Any, arguments: dict[str, Any]) -> None:
    collection = await mode.create_collection("papers", embedding_function=None)
    with pytest.raises((ValueError, TypeError, ChromaError)) as caught:
        await collection.add(**{"ids": "a", **arguments})
    assert len(str(caught.value)) < 600
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "arguments",
    [
        {"limit": np.bool_(True)},
        {"limit": 1.5},
        {"offset": LONG},
        {"where": {"k": {"$in": [*LONG, "a"]}}},
        {"where": {"k": {"$in": {1, 2}}}},
        {"where": {"k": np.datetime64("2020")}},
        {"where": {"k": {"$eq": {n: n for n in range(1_000_000)}}}},
        {"where": LONG},
        {"where": {"k" * 1_000_000: {"$bogus": 1}}},
        {"where_document": {"$contains": LONG}},
        {"where_document": {"$regex": "(" * 9_000}},
        {"include": LONG},
        {"include": ["x" * 1_000_000]},
    ],
    ids=",".join,
)
async def test_a_refusal_to_read_is_a_short_line(mode: Any, arguments: dict[str, Any]) -> None:
    collection = await mode.create_collection("papers", embedding_function=None)
    with pytest.raises((ValueError, TypeError, ChromaError)) as caught:
        await collection.get(**arguments)
    assert len(str(caught.value)) < 600
    with pytest.raises((ValueError, TypeError, ChromaError)):
        await collection.query(query_embeddings=VECTOR, n_results=True)
