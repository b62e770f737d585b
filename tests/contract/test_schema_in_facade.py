"""`schema=` of the façade: its effect in every mode."""

from __future__ import annotations

from typing import Any

import pytest

import pgchroma
from pgchroma import (
    FtsIndexConfig,
    HnswIndexConfig,
    IntInvertedIndexConfig,
    Schema,
    StringInvertedIndexConfig,
    VectorIndexConfig,
    errors,
)

ON, OFF = {"enabled": True, "config": {}}, {"enabled": False, "config": {}}


class Lengths(pgchroma.EmbeddingFunction[Any]):
    def __init__(self) -> None:
        pass

    def __call__(self, input: Any) -> Any:
        return [[float(len(text)), 1.0] for text in input]

    @staticmethod
    def name() -> str:
        return "schema-lengths"

    def get_config(self) -> dict[str, Any]:
        return {}

    @staticmethod
    def build_from_config(config: dict[str, Any]) -> Any:
        return Lengths()


class OtherLengths(Lengths):
    @staticmethod
    def name() -> str:
        return "schema-other-lengths"

    @staticmethod
    def build_from_config(config: dict[str, Any]) -> Any:
        return OtherLengths()


class Nameless(pgchroma.EmbeddingFunction[Any]):
    def __init__(self) -> None:
        pass

    def __call__(self, input: Any) -> Any:
        return [[float(len(text))] for text in input]


async def test_a_filter_by_a_key_without_an_index_is_refused(mode: Any) -> None:
    schema = Schema().delete_index(StringInvertedIndexConfig(), key="secret")
    collection = await mode.create_collection("papers", schema)
    await collection.add(ids="a", embeddings=[1.0], metadatas={"secret": "x", "page": 1})
    for method, arguments in (
        ("get", {}),
        ("delete", {}),
        ("query", {"query_embeddings": [1.0]}),
    ):
        with pytest.raises(errors.InvalidArgumentError, match="'secret' with type 'Str' because"):
            await getattr(collection, method)(where={"secret": "x"}, **arguments)
    assert (await collection.get(where={"page": 1}))["ids"] == ["a"]
    assert (await collection.get(where={"secret": 1}))["ids"] == []


async def test_a_key_can_be_the_only_one_with_an_index(mode: Any) -> None:
    schema = (
        Schema()
        .delete_index(IntInvertedIndexConfig())
        .create_index(IntInvertedIndexConfig(), key="year")
    )
    collection = await mode.create_collection("papers", schema=schema)
    await collection.add(ids=["a"], embeddings=[[1.0]], metadatas=[{"year": 1, "page": 1}])
    assert (await collection.get(where={"year": 1}))["ids"] == ["a"]
    with pytest.raises(errors.InvalidArgumentError, match="'page' with type 'Int'"):
        await collection.get(where={"page": 1})
    filterable = collection.target.get_model().configuration.filterable
    assert filterable.declared_keys() == ("year",)


async def test_documents_can_be_kept_out_of_search(mode: Any) -> None:
    schema = Schema().delete_index(FtsIndexConfig(), key="#document")
    collection = await mode.create_collection("papers", schema=schema)
    await collection.add(ids="a", embeddings=[1.0], documents="text")
    with pytest.raises(errors.InvalidArgumentError, match="FTS indexing is disabled"):
        await collection.get(where_document={"$contains": "t"})


async def test_the_schema_is_shown_and_kept(mode: Any) -> None:
    schema = Schema().delete_index(StringInvertedIndexConfig(), key="secret")
    made = await mode.create_collection("papers", schema=schema)
    found = await mode.get_collection("papers")
    (listed,) = await mode.list_collections()
    for collection in (made, found, listed):
        assert isinstance(collection.schema, Schema)
        shown = collection.schema.serialize_to_json()
        assert shown["keys"]["secret"] == {"string": {"string_inverted_index": OFF}}
        assert shown["defaults"]["int"] == {"int_inverted_index": ON}
    # The schema of one collection creates another.
    other = await mode.create_collection("other", schema=found.schema)
    assert other.schema.serialize_to_json() == shown


async def test_a_collection_without_one_shows_what_it_is(mode: Any) -> None:
    configuration = {"hnsw": {"space": "cosine", "ef_search": 77}}
    collection = await mode.create_collection(
        "papers", configuration=configuration, embedding_function=None
    )
    vectors = collection.schema.keys["#embedding"].float_list.vector_index
    assert vectors.enabled
    assert (vectors.config.space, vectors.config.hnsw.ef_search) == ("cosine", 77)
    assert vectors.config.embedding_function is None


async def test_the_schemas_function_embeds(mode: Any) -> None:
    config = VectorIndexConfig(
        space="ip", embedding_function=Lengths(), hnsw=HnswIndexConfig(ef_search=50)
    )
    schema = Schema().create_index(config)
    made = await mode.create_collection("papers", schema=schema)
    assert made.configuration_json["hnsw"]["space"] == "ip"
    assert made.configuration_json["hnsw"]["ef_search"] == 50
    assert made.configuration_json["embedding_function"]["name"] == "schema-lengths"
    await made.add(ids="a", documents="four")
    found = await mode.get_collection("papers")
    await found.add(ids="b", documents="seven!!")
    got = await found.get(include=["embeddings"])
    assert got["embeddings"].tolist() == [[4.0, 1.0], [7.0, 1.0]]
    shown = found.schema.keys["#embedding"].float_list.vector_index.config
    assert isinstance(shown.embedding_function, Lengths)


@pytest.mark.filterwarnings("ignore:legacy embedding function config")
@pytest.mark.filterwarnings("ignore:The class Nameless does not implement")
async def test_a_function_that_cannot_be_kept_embeds_all_the_same(mode: Any) -> None:
    schema = Schema().create_index(VectorIndexConfig(embedding_function=Nameless()))
    made = await mode.create_collection("papers", schema)
    await made.add(ids="a", documents="four")
    assert (await made.get(include=["embeddings"]))["embeddings"].tolist() == [[4.0]]
    with pytest.raises(ValueError, match="You must provide an embedding function"):
        await (await mode.get_collection("papers")).add(ids="b", documents="four")


async def test_what_is_given_besides_a_schema_holds(mode: Any) -> None:
    schema = Schema().delete_index(StringInvertedIndexConfig(), key="secret")
    collection = await mode.create_collection(
        "papers",
        schema,
        {"hnsw": {"space": "cosine", "max_neighbors": 9}},
        {"topic": "ai"},
        Lengths(),
    )
    shown = collection.configuration_json
    assert (shown["hnsw"]["space"], shown["hnsw"]["max_neighbors"]) == ("cosine", 9)
    assert shown["embedding_function"]["name"] == "schema-lengths"
    assert collection.metadata == {"topic": "ai"}
    with pytest.raises(errors.InvalidArgumentError, match="because indexing is disabled"):
        await collection.get(where={"secret": "x"})


async def test_settings_are_in_one_place(mode: Any) -> None:
    schema = Schema().create_index(VectorIndexConfig(space="ip"))
    for more in (
        {"configuration": {"hnsw": {"space": "cosine"}}},
        {"embedding_function": Lengths()},
    ):
        with pytest.raises(errors.InvalidArgumentError, match="Cannot set both collection config"):
            await mode.create_collection("papers", schema, **more)
    collection = await mode.create_collection("papers", schema, embedding_function=None)
    assert collection.configuration_json["hnsw"]["space"] == "ip"


async def test_without_a_function_documents_need_embeddings(mode: Any) -> None:
    schema = Schema().create_index(VectorIndexConfig(embedding_function=None))
    collection = await mode.create_collection("papers", schema, embedding_function=None)
    assert collection.configuration_json["embedding_function"] == {"type": "legacy"}
    with pytest.raises(ValueError, match="You must provide an embedding function"):
        await collection.add(ids="a", documents="text")


async def test_what_is_not_there_is_refused(mode: Any) -> None:
    with pytest.raises(ValueError, match="Expected schema to be a Schema, got"):
        await mode.create_collection("papers", {"defaults": {}, "keys": {}})
    assert await mode.count_collections() == 0


async def test_a_collection_that_is_there_keeps_its_schema(mode: Any) -> None:
    first = Schema().create_index(VectorIndexConfig(embedding_function=Lengths()))
    made = await mode.get_or_create_collection("papers", first)
    off = Schema().delete_index(StringInvertedIndexConfig(), key="secret")
    found = await mode.get_or_create_collection("papers", schema=off)
    assert found.id == made.id
    assert "secret" not in found.schema.keys
    other = Schema().create_index(VectorIndexConfig(embedding_function=OtherLengths()))
    with pytest.raises(ValueError, match="Embedding function conflict"):
        await mode.get_or_create_collection("papers", other)


@pytest.mark.parametrize("quantization", ["none", "halfvec", "bit"])
async def test_a_quantization_is_chosen_and_changed(mode: Any, quantization: str) -> None:
    plain = await mode.create_collection("plain")
    assert "quantization" not in plain.configuration_json["hnsw"]
    await plain.modify(configuration={"hnsw": {"quantization": quantization}})
    chosen = await mode.create_collection(
        "chosen", configuration={"hnsw": {"quantization": quantization}}
    )
    schema = Schema().create_index(
        VectorIndexConfig(hnsw=HnswIndexConfig(quantization=quantization))  # type: ignore[arg-type]
    )
    said = await mode.create_collection("said", schema)
    found = [await mode.get_collection(name) for name in ("plain", "chosen", "said")]
    for collection in (plain, chosen, said, *found):
        assert collection.configuration_json["hnsw"]["quantization"] == quantization
        assert collection.target.get_model().configuration.hnsw.quantization == quantization
        # Chroma's client could not read a schema that had it.
        assert "quantization" not in str(collection.schema.serialize_to_json())
    await plain.modify(configuration={"hnsw": {"ef_search": 7}})
    assert (await mode.get_collection("plain")).configuration_json == plain.configuration_json


async def test_a_quantization_that_there_is_not_is_refused(mode: Any) -> None:
    wrong = {"hnsw": {"quantization": "int8"}}
    message = "quantization: expected one of none, halfvec, bit, got 'int8'"
    with pytest.raises(errors.InvalidArgumentError, match=message):
        await mode.create_collection("papers", configuration=wrong)
    collection = await mode.create_collection("papers")
    with pytest.raises(errors.InvalidArgumentError, match=message):
        await collection.modify(configuration=wrong)
