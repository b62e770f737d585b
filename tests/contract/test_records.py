"""Records: written, merged, read and deleted with Chroma's semantics, in every mode."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from pgchroma import errors

EVERYTHING = ["embeddings", "documents", "metadatas", "uris"]


@pytest.fixture
async def collection(mode: Any) -> Any:
    return await mode.create_collection("records")


async def test_records_come_back_as_they_went_in_and_in_insertion_order(collection: Any) -> None:
    await collection.add(
        ids=["b", "a", "c"],
        embeddings=[[1, 2], [3.5, 4], [5, 6]],
        documents=["doc b", None, ""],
        metadatas=[{"i": 1, "f": 1.0, "s": "x", "t": True}, None, {"l": [1, 2], "g": [1.0, 2.5]}],
        uris=[None, "file://a", None],
    )
    got = await collection.get(include=EVERYTHING)
    assert got["ids"] == ["b", "a", "c"]
    assert got["documents"] == ["doc b", None, ""]
    assert got["uris"] == [None, "file://a", None]
    # A record with a uri alone shows an empty object, as Chroma's does.
    assert got["metadatas"] == [
        {"i": 1, "f": 1.0, "s": "x", "t": True},
        {},
        {"l": [1, 2], "g": [1.0, 2.5]},
    ]
    assert got["embeddings"].dtype == np.float64
    assert got["embeddings"].tolist() == [[1, 2], [3.5, 4], [5, 6]]
    assert got["included"] == EVERYTHING
    assert got["data"] is None


@pytest.mark.parametrize(
    "value",
    [
        0, 1, -1, 2**63 - 1, -(2**63), 1.0, -1.5, 1e15, 1e16, 1e22, -1e22, 1e308, 5e-324, 0.1,
        123456789012345680.0, True, False, "", "ü\u2028\U0001f600", "%s {} \\ '\"", "1", "null",
        [1], [1.0], [1e22, 2.0], [True, False], ["", "é"], [1, 1], "x" * 10_000,
    ],
)  # fmt: skip
async def test_a_metadata_value_keeps_its_type_and_every_digit(collection: Any, value: Any) -> None:
    await collection.add(ids="1", embeddings=[1.0], metadatas={"k": value})
    (metadata,) = (await collection.get())["metadatas"]
    assert metadata == {"k": value}
    assert type(metadata["k"]) is type(value)
    if isinstance(value, list):
        assert [type(v) for v in metadata["k"]] == [type(v) for v in value]


async def test_an_integer_beyond_64_bits_signed_becomes_a_float(collection: Any) -> None:
    await collection.add(ids="1", embeddings=[1.0], metadatas={"k": 2**63})
    assert (await collection.get())["metadatas"] == [{"k": float(2**63)}]
    with pytest.raises(TypeError, match="Integer exceeds 64-bit range"):
        await collection.add(ids="2", embeddings=[1.0], metadatas={"k": 2**64})


async def test_adding_an_id_again_keeps_the_old_record(collection: Any) -> None:
    await collection.add(ids="a", embeddings=[1.0], documents="old")
    await collection.add(ids=["a", "b"], embeddings=[[2.0], [3.0]], documents=["new", "b"])
    got = await collection.get(include=EVERYTHING)
    assert got["documents"] == ["old", "b"]
    assert got["embeddings"].tolist() == [[1.0], [3.0]]
    assert await collection.count() == 2


async def test_update_merges_metadata_key_by_key(collection: Any) -> None:
    await collection.add(
        ids="a", embeddings=[1.0], documents="d", uris="u", metadatas={"x": 1, "y": 2, "z": [1]}
    )
    await collection.update(ids="a", metadatas={"x": "new", "y": None, "w": 1.5})
    got = await collection.get(include=EVERYTHING)
    assert got["metadatas"] == [{"x": "new", "z": [1], "w": 1.5}]
    assert got["documents"] == ["d"]
    assert got["uris"] == ["u"]
    assert got["embeddings"].tolist() == [[1.0]]
    await collection.update(ids="a", metadatas={"x": None, "z": None, "w": None})
    assert (await collection.get())["metadatas"] == [{}]


async def test_metadata_whose_last_key_goes_is_none(collection: Any) -> None:
    await collection.add(ids="a", embeddings=[1.0], metadatas={"x": 1})
    await collection.update(ids="a", metadatas={"x": None})
    assert (await collection.get())["metadatas"] == [None]


async def test_update_passes_over_what_is_not_there(collection: Any) -> None:
    await collection.add(ids="a", embeddings=[1.0], documents="d")
    await collection.update(
        ids=["zz", "a"], embeddings=[[8.0], [9.0]], documents=["x", "y"], metadatas=[None, {"k": 1}]
    )
    got = await collection.get(include=EVERYTHING)
    assert got["ids"] == ["a"]
    assert got["documents"] == ["y"]
    assert got["embeddings"].tolist() == [[9.0]]


async def test_upsert_updates_what_is_there_and_inserts_the_rest(collection: Any) -> None:
    await collection.add(ids=["a", "b"], embeddings=[[1.0], [2.0]], metadatas=[{"x": 1}, {"x": 2}])
    await collection.upsert(
        ids=["c", "a"],
        embeddings=[[3.0], [4.0]],
        documents=["new c", "new a"],
        metadatas=[{"x": None, "n": 1}, {"x": None, "y": 5}],
    )
    got = await collection.get(include=EVERYTHING)
    assert got["ids"] == ["a", "b", "c"]
    assert got["documents"] == ["new a", None, "new c"]
    assert got["metadatas"] == [{"y": 5}, {"x": 2}, {"n": 1}]
    assert got["embeddings"].tolist() == [[4.0], [2.0], [3.0]]


async def test_a_changed_embedding_is_found_where_it_is_now(collection: Any) -> None:
    await collection.add(ids=["a", "b"], embeddings=[[0.0], [10.0]])
    await collection.update(ids="a", embeddings=[20.0])
    await collection.upsert(ids="b", embeddings=[0.5])
    found = await collection.query(query_embeddings=[[0.0], [20.0]], n_results=1)
    assert found["ids"] == [["b"], ["a"]]
    assert (await collection.query(query_embeddings=[0.0]))["ids"] == [["b", "a"]]


async def test_deleting_and_adding_again_moves_to_the_end(collection: Any) -> None:
    await collection.add(ids=["a", "b"], embeddings=[[1.0], [2.0]])
    assert await collection.delete(ids=["a", "zz"]) == {"deleted": 1}
    await collection.add(ids="a", embeddings=[3.0])
    assert (await collection.get())["ids"] == ["b", "a"]


async def test_delete_takes_filters_and_a_limit(collection: Any) -> None:
    await collection.add(
        ids=list("abcdef"),
        embeddings=[[float(i)] for i in range(6)],
        metadatas=[{"k": i % 2} for i in range(6)],
        documents=[f"text {i}" for i in range(6)],
    )
    assert await collection.delete(where={"k": 0}, limit=2) == {"deleted": 2}
    assert (await collection.get())["ids"] == list("bdef")
    assert await collection.delete(ids=["b", "e"], where={"k": 1}) == {"deleted": 1}
    assert await collection.delete(where_document={"$contains": "text 5"}) == {"deleted": 1}
    assert await collection.delete(where={"k": 0}, limit=0) == {"deleted": 0}
    assert (await collection.get())["ids"] == list("de")
    assert (await collection.query(query_embeddings=[0.0]))["ids"] == [["d", "e"]]
    with pytest.raises(
        ValueError, match=r"At least one of ids, where, or where_document .* delete"
    ):
        await collection.delete()
    with pytest.raises(ValueError, match="limit can only be specified when"):
        await collection.delete(ids="a", limit=1)
    with pytest.raises(ValueError, match="limit must be a non-negative integer"):
        await collection.delete(where={"k": 0}, limit=-1)


async def test_get_pages_in_insertion_order(collection: Any) -> None:
    ids = [f"id{i}" for i in (5, 3, 9, 1, 7)]
    await collection.add(ids=ids, embeddings=[[1.0]] * 5)
    assert (await collection.get(limit=2))["ids"] == ids[:2]
    assert (await collection.get(limit=2, offset=3))["ids"] == ids[3:]
    assert (await collection.get(offset=4))["ids"] == ids[4:]
    assert (await collection.get(limit=0))["ids"] == []
    assert (await collection.get(offset=10))["ids"] == []
    assert (await collection.get(ids=["id7", "id3", "nope"]))["ids"] == ["id3", "id7"]
    for page in ({"limit": -1}, {"offset": -1}, {"limit": 1.5}, {"limit": True}):
        with pytest.raises(ValueError, match="in get"):
            await collection.get(**page)


async def test_include_chooses_columns(collection: Any) -> None:
    await collection.add(ids="a", embeddings=[1.0], documents="d", metadatas={"k": 1}, uris="u")
    got = await collection.get(include=[])
    assert got == {
        "ids": ["a"],
        "embeddings": None,
        "documents": None,
        "uris": None,
        "data": None,
        "metadatas": None,
        "included": [],
    }
    peeked = await collection.peek()
    assert peeked["embeddings"].tolist() == [[1.0]]
    assert peeked["uris"] is None
    found = await collection.query(query_embeddings=[1.0], include=["uris"])
    assert found["uris"] == [["u"]]
    assert found["distances"] is None


async def test_empty_collections_answer_with_nothing(collection: Any) -> None:
    got = await collection.get(include=EVERYTHING)
    assert got["ids"] == []
    assert got["embeddings"].shape[0] == 0
    assert await collection.count() == 0
    assert await collection.delete(ids="a") == {"deleted": 0}
    await collection.update(ids="a", metadatas={"k": 1})
    found = await collection.query(query_embeddings=[[1.0], [2.0]])
    assert found["ids"] == [[], []]
    assert found["distances"] == [[], []]


async def test_the_first_embedding_fixes_the_dimension(collection: Any) -> None:
    await collection.add(ids="a", embeddings=[1.0, 2.0])
    message = "Collection expecting embedding with dimension of 2, got 3"
    for call in (
        collection.add(ids="b", embeddings=[1.0, 2.0, 3.0]),
        collection.upsert(ids="a", embeddings=[1.0, 2.0, 3.0]),
        collection.update(ids="a", embeddings=[1.0, 2.0, 3.0]),
        collection.query(query_embeddings=[1.0, 2.0, 3.0]),
    ):
        with pytest.raises(errors.InvalidArgumentError, match=message):
            await call
    await collection.delete(ids="a")
    with pytest.raises(errors.InvalidArgumentError, match=message):
        await collection.add(ids="b", embeddings=[1.0, 2.0, 3.0])


async def test_a_batch_is_stored_whole_or_not_at_all(collection: Any) -> None:
    await collection.add(ids="a", embeddings=[1.0])
    with pytest.raises(errors.InvalidArgumentError, match=r"documents\[1\].*U\+0000"):
        await collection.add(
            ids=["b", "c"], embeddings=[[1.0], [2.0]], documents=["fine", "not\x00fine"]
        )
    with pytest.raises(errors.InvalidArgumentError, match="surrogate"):
        await collection.add(ids=["b", "c"], embeddings=[[1.0], [2.0]], documents=["x", "\ud800"])
    assert (await collection.get())["ids"] == ["a"]


async def test_text_of_any_script_and_size_is_kept(collection: Any) -> None:
    texts = [
        "",
        " ",
        "日本語",
        "\U0001f468‍\U0001f469‍\U0001f467",
        "a\r\n\tb",
        "\\",
        "'\"`",
        "x" * 1_000_000,
    ]
    ids = [f"id {text[:20]} {index}" for index, text in enumerate(texts)]
    await collection.add(ids=ids, embeddings=[[1.0]] * len(texts), documents=texts)
    got = await collection.get()
    assert got["ids"] == ids
    assert got["documents"] == texts


async def test_a_large_batch_goes_in_at_once(collection: Any) -> None:
    count = 5_000
    await collection.add(
        ids=[f"id{i}" for i in range(count)], embeddings=np.arange(count, dtype=float)[:, None]
    )
    assert await collection.count() == count
    got = await collection.get(ids=[f"id{i}" for i in range(count)], include=["embeddings"])
    assert got["embeddings"][:, 0].tolist() == list(range(count))
    wanted = await collection.get(where={"#id": {"$in": [f"id{i}" for i in range(count)]}})
    assert len(wanted["ids"]) == count


@pytest.mark.parametrize(
    "embeddings",
    [
        np.array([[1, 2], [3, 4]]),
        np.array([[1, 2], [3, 4]], dtype=np.float16),
        np.array([[1, 2], [3, 4]], dtype=np.float32),
        np.array([[1, 2], [3, 4]], dtype=np.int32),
        np.array([[1, 3], [2, 4]], dtype=np.float32).T,
        [np.array([1, 2]), np.array([3.0, 4.0])],
        [[1, 2], [3, 4]],
        [[1.0, 2.0], [3.0, 4.0]],
    ],
)
async def test_embeddings_come_in_many_forms(collection: Any, embeddings: Any) -> None:
    await collection.add(ids=["a", "b"], embeddings=embeddings)
    got = await collection.get(include=["embeddings"])
    assert got["embeddings"].tolist() == [[1, 2], [3, 4]]


async def test_long_vectors_are_kept(collection: Any) -> None:
    vector = np.linspace(-1, 1, 4096, dtype=np.float32)
    await collection.add(ids="a", embeddings=[vector])
    got = await collection.get(include=["embeddings"])
    assert np.array_equal(got["embeddings"][0].astype(np.float32), vector)


async def test_a_vector_longer_than_pgvectors_is_refused(collection: Any) -> None:
    with pytest.raises(errors.InvalidArgumentError, match=r"(up to|more than) 16000"):
        await collection.add(ids="a", embeddings=[np.ones(16_001)])
