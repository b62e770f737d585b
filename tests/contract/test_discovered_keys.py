"""Versions of collections, and the metadata keys that compactions discover for their schemas."""

from __future__ import annotations

from typing import Any

import pytest

from pgchroma import IntInvertedIndexConfig, Schema, SparseVector
from pgchroma import StringInvertedIndexConfig as Strings
from pgchroma.model import discovery
from pgchroma.model.entities import CollectionModel
from tests.compactor.conftest import compact

METADATAS: list[dict[str, Any]] = [
    {"word": "a", "int": 1, "float": 1.0, "flag": True},
    {"word": "b", "mixed": 1, "large": 1e22, "numbers": [1, 2], "words": ["a"]},
    {"mixed": "one", "sparse": SparseVector([1], [1.0]), "named": 1},
]
ON, OFF = {"enabled": True, "config": {}}, {"enabled": False, "config": {}}
SPARSE = {
    "sparse_vector_index": {
        "enabled": False,
        "config": {"embedding_function": {"type": "unknown"}, "bm25": False},
    }
}
FOUND = {
    "word": {"string": {"string_inverted_index": ON}},
    "int": {"int": {"int_inverted_index": ON}},
    "float": {"float": {"float_inverted_index": ON}},
    "flag": {"bool": {"bool_inverted_index": ON}},
    "mixed": {"string": {"string_inverted_index": ON}, "int": {"int_inverted_index": ON}},
    "large": {"float": {"float_inverted_index": ON}},
    "numbers": {"int": {"int_inverted_index": ON}},
    "words": {"string": {"string_inverted_index": ON}},
    "sparse": {"sparse_vector": SPARSE},
    "named": {"int": {"int_inverted_index": ON}},
}


def _keys(collection: Any) -> dict[str, Any]:
    keys = collection.schema.serialize_to_json()["keys"]
    return {key: types for key, types in keys.items() if not key.startswith("#")}


async def _write(collection: Any, prefix: str = "") -> None:
    ids = [f"{prefix}{number}" for number in range(len(METADATAS))]
    await collection.add(ids, embeddings=[[1.0]] * len(ids), metadatas=METADATAS)


async def test_keys_are_discovered_with_their_kinds(mode: Any) -> None:
    papers = await mode.create_collection("papers", embedding_function=None)
    await _write(papers)
    compact(mode.unpooled)
    papers = await mode.get_collection("papers")
    assert _keys(papers) == FOUND
    (listed,) = await mode.list_collections()
    assert listed.schema.serialize_to_json() == papers.schema.serialize_to_json()
    # A discovered key is no declared one: it has no typed column in SQL.
    assert (await papers.get_model()).configuration.filterable.keys == {}
    found = await papers.get(where={"$and": [{"mixed": "one"}, {"named": 1}]})
    assert found["ids"] == ["2"]


async def test_what_the_user_named_stays_as_it_is(mode: Any) -> None:
    schema = Schema().create_index(IntInvertedIndexConfig(), key="named")
    schema.delete_index(Strings(), key="mixed")
    schema.delete_index(Strings())
    papers = await mode.create_collection("papers", schema=schema, embedding_function=None)
    await _write(papers)
    compact(mode.unpooled)
    papers = await mode.get_collection("papers")
    keys = _keys(papers)
    assert keys["named"] == {"int": {"int_inverted_index": ON}}
    assert keys["mixed"] == {
        "string": {"string_inverted_index": OFF},
        "int": {"int_inverted_index": ON},
    }
    # The defaults hold for a discovered key, as they did before.
    assert keys["word"] == {"string": {"string_inverted_index": OFF}}
    assert set((await papers.get_model()).configuration.filterable.keys) == {"named", "mixed"}
    with pytest.raises(Exception, match="Cannot filter using metadata key 'word'"):
        await papers.get(where={"word": "a"})


async def test_a_version_rises_with_what_a_compaction_sees(mode: Any) -> None:
    papers = await mode.create_collection("papers", embedding_function=None)

    async def version() -> int:
        compact(mode.unpooled)
        found = await mode.get_collection("papers")
        model: CollectionModel = await found.get_model()
        return model.version

    versions = [await version()]
    for write in (
        papers.add(ids=["a", "b"], embeddings=[[1.0]] * 2),
        papers.update(ids=["a"], metadatas=[{"k": 1}]),
        papers.update(ids=["nowhere"], metadatas=[{"k": 1}]),
        papers.upsert(ids=["a"], documents=["text"], embeddings=[[2.0]]),
        papers.delete(ids=["a"]),
        papers.add(ids=["b"], embeddings=[[3.0]]),
    ):
        await write
        versions.append(await version())
    # Two of them changed nothing.
    assert versions == [0, 1, 2, 2, 3, 4, 4]


async def test_a_schema_lists_a_bounded_number_of_keys(
    mode: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(discovery, "MAX_KEYS", 3)
    papers = await mode.create_collection("papers", embedding_function=None)
    await _write(papers)
    compact(mode.unpooled)
    assert len(_keys(await mode.get_collection("papers"))) == 3
    await _write(papers, "more-")
    compact(mode.unpooled)
    assert len(_keys(await mode.get_collection("papers"))) == 3
