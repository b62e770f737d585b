"""Collections: made, found, listed, changed and deleted, in every mode."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest

from pgchroma import errors


async def test_a_new_collection_is_found_by_name_and_by_id(mode: Any) -> None:
    made = await mode.create_collection("papers", metadata={"topic": "ai", "n": 1, "x": 1e22})
    for found in (
        await mode.get_collection("papers"),
        await mode.get_collection_by_id(made.id),
        await mode.get_collection_by_id(str(made.id)),
    ):
        assert found.id == made.id
        assert found.metadata == {"topic": "ai", "n": 1, "x": 1e22}
        assert isinstance(found.metadata["n"], int)
        assert isinstance(found.metadata["x"], float)
        assert (found.tenant, found.database) == ("default_tenant", "default_database")


async def test_a_taken_name_is_refused(mode: Any) -> None:
    await mode.create_collection("papers")
    with pytest.raises(errors.UniqueConstraintError, match=r"Collection \[papers\] already exists"):
        await mode.create_collection("papers")


async def test_get_or_create_returns_the_old_one_unchanged(mode: Any) -> None:
    old = await mode.create_collection("papers", metadata={"a": 1})
    new = await mode.get_or_create_collection("papers", metadata={"b": 2})
    assert new.id == old.id
    assert new.metadata == {"a": 1}


async def test_a_missing_collection_is_not_found(mode: Any) -> None:
    with pytest.raises(errors.NotFoundError, match=r"Collection \[nope\] does not exist"):
        await mode.get_collection("nope")
    with pytest.raises(errors.NotFoundError, match="does not exist"):
        await mode.get_collection_by_id(uuid4())
    with pytest.raises(errors.NotFoundError, match=r"Collection \[nope\] does not exist"):
        await mode.delete_collection("nope")
    with pytest.raises(errors.InvalidArgumentError, match="not a valid UUID"):
        await mode.get_collection_by_id("nope")
    for name, message in ((5, "to be a str"), ("a\x00b", r"U\+0000"), ("\ud800", "surrogate")):
        with pytest.raises(errors.InvalidArgumentError, match=message):
            await mode.get_collection(name)
        with pytest.raises(errors.InvalidArgumentError, match=message):
            await mode.set_tenant(name)


async def test_collections_are_listed_by_name_and_paged(mode: Any) -> None:
    for name in ("ccc", "aaa", "bbb"):
        await mode.create_collection(name)
    assert [c.name for c in await mode.list_collections()] == ["aaa", "bbb", "ccc"]
    assert [c.name for c in await mode.list_collections(limit=1, offset=1)] == ["bbb"]
    assert await mode.list_collections(limit=0) == []
    assert await mode.count_collections() == 3


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("ab", "Expected a name containing 3-512 characters"),
        ("a" * 513, "Expected a name containing 3-512 characters"),
        ("-abc", "Expected a name containing 3-512 characters"),
        ("a b c", "Expected a name containing 3-512 characters"),
        ("äöü", "Expected a name containing 3-512 characters"),
        ("abc\n", "Expected a name containing 3-512 characters"),
        ('a"; drop table x; --', "Expected a name containing 3-512 characters"),
        ("a..b", "two consecutive periods"),
        ("1.2.3.4", "not a valid ip address"),
        ("one+two+three", "at most one topology"),
        ("", "Expected a name containing 3-512 characters"),
        (5, "Expected a str"),
    ],
)
async def test_a_bad_name_is_refused(mode: Any, name: Any, message: str) -> None:
    with pytest.raises(errors.InvalidArgumentError, match=message):
        await mode.create_collection(name)


@pytest.mark.parametrize(
    "name",
    [
        "pg_class",
        "pg_catalog",
        "information_schema.tables",
        "select",
        "records",
        "records_00000000000000000000000000000000",
        "vectors_00000000000000000000000000000000",
        "DROP-TABLE.users",
        "a" * 512,
        "eur+papers",
    ],
)
async def test_names_that_mean_something_to_postgresql_are_just_names(mode: Any, name: str) -> None:
    collection = await mode.create_collection(name)
    await collection.add(ids="1", embeddings=[1.0, 2.0])
    assert (await (await mode.get_collection(name)).get())["ids"] == ["1"]
    await mode.delete_collection(name)
    assert await mode.count_collections() == 0


async def test_names_that_differ_after_the_63rd_byte_are_two_collections(mode: Any) -> None:
    first = await mode.create_collection("x" * 63 + "a")
    second = await mode.create_collection("x" * 63 + "b")
    await first.add(ids="1", embeddings=[1.0])
    assert await second.count() == 0


async def test_a_collection_may_be_called_as_anothers_table(mode: Any) -> None:
    first = await mode.create_collection("first")
    await mode.create_collection(f"records_{first.id.hex}")
    await mode.create_collection(f"vectors_{first.id.hex}")
    await first.add(ids="1", embeddings=[1.0])
    assert await first.count() == 1


async def test_renaming_keeps_records_and_frees_the_name(mode: Any) -> None:
    collection = await mode.create_collection("before")
    await collection.add(ids="1", embeddings=[1.0])
    await collection.modify(name="after")
    assert collection.name == "after"
    assert (await (await mode.get_collection("after")).get())["ids"] == ["1"]
    await mode.create_collection("before")


async def test_renaming_to_a_taken_name_is_a_conflict(mode: Any) -> None:
    collection = await mode.create_collection("one")
    await mode.create_collection("two")
    with pytest.raises(errors.UniqueConstraintError, match=r"Collection \[two\] already exists"):
        await collection.modify(name="two")
    assert collection.name == "one"
    with pytest.raises(errors.InvalidArgumentError, match="new_name"):
        await collection.modify(name="a b")
    await collection.modify(name="one")


async def test_new_metadata_replaces_the_old(mode: Any) -> None:
    collection = await mode.create_collection("papers", metadata={"a": 1, "b": 2})
    await collection.modify(metadata={"c": 3})
    assert collection.metadata == {"c": 3}
    assert (await mode.get_collection("papers")).metadata == {"c": 3}
    with pytest.raises(ValueError, match="non-empty dict"):
        await collection.modify(metadata={})
    await collection.modify(metadata={"d": 4, "e": None})
    assert (await mode.get_collection("papers")).metadata == collection.metadata == {"d": 4}
    await collection.modify(metadata={"d": None})
    assert (await mode.get_collection("papers")).metadata is collection.metadata is None
    with pytest.raises(ValueError, match="distance function"):
        await collection.modify(metadata={"hnsw:space": "ip"})


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({}, "cannot be empty"),
        ({"a": None}, "None"),
        ({"#a": 1}, "cannot start with"),
        ({"$a": 1}, "cannot start with"),
        ({"": 1}, "cannot be empty"),
        ({"a": [1]}, "holds no lists"),
        ({"a": {"b": 1}}, "expected a str, int"),
        ({"a": float("nan")}, "not a finite number"),
        ({"a": "\x00"}, r"U\+0000"),
    ],
)
async def test_bad_collection_metadata_is_refused(mode: Any, metadata: Any, message: str) -> None:
    with pytest.raises(errors.InvalidArgumentError, match=message):
        await mode.create_collection("papers", metadata=metadata)


async def test_configuration_has_chromas_defaults(mode: Any) -> None:
    collection = await mode.create_collection("papers")
    hnsw = {
        "space": "l2",
        "ef_construction": 100,
        "ef_search": 100,
        "max_neighbors": 16,
        "resize_factor": 1.2,
        "sync_threshold": 1000,
    }
    assert collection.configuration_json == {
        "hnsw": hnsw,
        "spann": None,
        "embedding_function": {"type": "known", "name": "default", "config": {}},
    }


@pytest.mark.parametrize(
    ("configuration", "metadata", "space"),
    [
        ({"hnsw": {"space": "cosine"}}, None, "cosine"),
        ({"spann": {"space": "ip"}}, None, "ip"),
        (None, {"hnsw:space": "cosine"}, "cosine"),
        ({"hnsw": {"space": "l2"}}, {"hnsw:space": "cosine"}, "cosine"),
        ({"hnsw": {"space": "ip"}}, {"hnsw:space": "cosine"}, "ip"),
        ({"hnsw": {"ef_search": 7}}, {"hnsw:space": "cosine"}, "l2"),
    ],
)
async def test_the_space_comes_from_configuration_or_metadata(
    mode: Any, configuration: Any, metadata: Any, space: str
) -> None:
    collection = await mode.create_collection(
        "papers", configuration=configuration, metadata=metadata
    )
    assert collection.configuration_json["hnsw"]["space"] == space


@pytest.mark.parametrize(
    ("configuration", "message"),
    [
        ({"hnsw": {"space": "l1"}}, "expected one of l2, cosine, ip"),
        ({"hnsw": {"ef_search": 0}}, "an int from 1 to 100,000, got 0"),
        ({"hnsw": {"ef_search": 1.5}}, "expected an int"),
        ({"hnsw": {"ef_search": True}}, "expected an int, got True"),
        ({"hnsw": {"batch_size": 1}}, "an int from 2 to 2,147,483,647, got 1"),
        ({"hnsw": {"bogus": 1}}, "unknown field `bogus`"),
        ({"hnsw": {"resize_factor": float("nan")}}, "resize_factor"),
        ({"hnsw": [1]}, "expected an object"),
        ({"hnsw": {}, "spann": {}}, "Multiple vector index configurations"),
    ],
)
async def test_bad_configuration_is_refused(mode: Any, configuration: Any, message: str) -> None:
    with pytest.raises((errors.InvalidArgumentError, ValueError, TypeError), match=message):
        await mode.create_collection("papers", configuration=configuration, embedding_function=None)


async def test_search_settings_can_be_changed_and_the_space_cannot(mode: Any) -> None:
    collection = await mode.create_collection("papers")
    await collection.modify(configuration={"hnsw": {"ef_search": 33}})
    assert collection.configuration_json["hnsw"]["ef_search"] == 33
    found = await mode.get_collection("papers")
    assert found.configuration_json["hnsw"]["ef_search"] == 33
    with pytest.raises(errors.InvalidArgumentError, match="unknown field `space`"):
        await collection.modify(configuration={"hnsw": {"space": "ip"}})


async def test_a_deleted_collection_is_not_found_by_those_who_still_hold_it(mode: Any) -> None:
    collection = await mode.create_collection("papers")
    await collection.add(ids="1", embeddings=[1.0])
    await mode.delete_collection("papers")
    for call in (
        collection.count(),
        collection.get(),
        collection.query(query_embeddings=[1.0]),
        collection.add(ids="2", embeddings=[1.0]),
        collection.upsert(ids="2", embeddings=[1.0]),
        collection.update(ids="2", metadatas={"a": 1}),
        collection.delete(ids="2"),
        collection.modify(name="other"),
    ):
        with pytest.raises(errors.NotFoundError, match="does not exist"):
            await call


async def test_a_collection_made_again_is_another_one(mode: Any) -> None:
    old = await mode.create_collection("papers")
    await old.add(ids="1", embeddings=[1.0], metadatas={"a": [1]})
    await mode.delete_collection("papers")
    new = await mode.create_collection("papers")
    assert new.id != old.id
    assert await new.count() == 0
    await new.add(ids="1", embeddings=[1.0, 2.0])
    assert (await new.get())["metadatas"] == [None]


async def test_a_client_says_what_it_is(mode: Any) -> None:
    assert await mode.get_version()
    # A server's limit is Chroma's: it keeps a request below 40 MiB.
    assert await mode.get_max_batch_size() in (50_000, 5_461)
    assert (await mode.get_user_identity()).tenant == "default_tenant"


async def test_reset_needs_leave_and_leaves_nothing(mode: Any) -> None:
    await mode.create_collection("papers")
    assert await mode.reset() is True
    assert await mode.count_collections() == 0
    await mode.create_collection("papers")


async def test_the_heartbeat_is_the_time_in_nanoseconds(mode: Any) -> None:
    assert await mode.heartbeat() > 1_700_000_000 * 10**9


@pytest.mark.filterwarnings("ignore:space .* is not supported")
@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"metadata": {"hnsw:space": "cosin"}}, errors.InvalidArgumentError,
         "hnsw:space: expected one of l2, cosine, ip, got 'cosin'"),
        ({"metadata": {"hnsw:sapce": "cosine"}}, errors.InvalidArgumentError,
         "unknown key 'hnsw:sapce', expected one of hnsw:space, "),
        ({"metadata": {"hnsw:M": "16"}}, errors.InvalidArgumentError, "hnsw:M: expected an int"),
        ({"configuration": {"space": "cosine"}}, ValueError,
         "configuration: unknown key 'space', expected hnsw, spann, embedding_function"),
        ({"configuration": {"hsnw": {"space": "ip"}}}, ValueError, "unknown key 'hsnw'"),
    ],
)  # fmt: skip
async def test_misspelt_settings_are_named_as_they_were_written(
    mode: Any, arguments: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error) as raised:
        await mode.create_collection("misspelt", **arguments)
    assert message in str(raised.value)
