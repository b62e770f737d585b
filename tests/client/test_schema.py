"""`Schema` in Python: what it accepts, and Chroma's error messages for what it refuses."""

from __future__ import annotations

import copy
from typing import Any

import pytest

import pgchroma
from pgchroma import (
    BoolInvertedIndexConfig,
    FloatInvertedIndexConfig,
    FtsIndexConfig,
    HnswIndexConfig,
    IntInvertedIndexConfig,
    Schema,
    SpannIndexConfig,
    SparseVectorIndexConfig,
    StringInvertedIndexConfig,
    VectorIndexConfig,
)
from pgchroma.api import types
from pgchroma.errors import InvalidArgumentError, MalformedRequestError
from pgchroma.model.configuration import CollectionConfiguration
from pgchroma.model.hnsw import HnswConfiguration
from pgchroma.model.schema import merge_schema, read_filterable
from pgchroma.model.spann import SpannConfiguration

ON, OFF = {"enabled": True, "config": {}}, {"enabled": False, "config": {}}
DEFAULT = {"name": "default", "type": "known", "config": {}}


def vectors(**config: Any) -> dict[str, Any]:
    return {"vector_index": {"enabled": "source_key" in config, "config": config}}


PLAIN = {
    "defaults": {
        "string": {"fts_index": OFF, "string_inverted_index": ON},
        "float_list": vectors(embedding_function=DEFAULT, space="l2"),
        "sparse_vector": {
            "sparse_vector_index": {
                "enabled": False,
                "config": {"embedding_function": {"type": "unknown"}},
            }
        },
        "int": {"int_inverted_index": ON},
        "float": {"float_inverted_index": ON},
        "bool": {"bool_inverted_index": ON},
    },
    "keys": {
        "#document": {"string": {"fts_index": ON, "string_inverted_index": OFF}},
        "#embedding": {
            "float_list": vectors(embedding_function=DEFAULT, space="l2", source_key="#document")
        },
    },
}
"""The JSON that Chroma's client sends for a schema without any configuration."""


class Mine(pgchroma.EmbeddingFunction[Any]):
    def __init__(self) -> None:
        pass

    def __call__(self, input: Any) -> Any:
        return [[float(len(text))] for text in input]

    @staticmethod
    def name() -> str:
        return "schema-mine"

    def get_config(self) -> dict[str, Any]:
        return {"size": 1}

    @staticmethod
    def build_from_config(config: dict[str, Any]) -> Any:
        return Mine()

    def default_space(self) -> Any:
        return "cosine"


class Forgetful(pgchroma.EmbeddingFunction[Any]):
    def __init__(self) -> None:
        pass

    def __call__(self, input: Any) -> Any:
        return [[1.0] for _ in input]


def test_a_schema_is_written_as_chromas() -> None:
    assert Schema().serialize_to_json() == PLAIN
    assert Schema() == Schema()
    assert Schema.deserialize_from_json(PLAIN).serialize_to_json() == PLAIN


def test_what_is_said_of_embeddings_stands_twice() -> None:
    hnsw = HnswIndexConfig(ef_construction=200, quantization="halfvec")
    schema = Schema().create_index(VectorIndexConfig(space="ip", hnsw=hnsw))
    written = schema.serialize_to_json()
    said = {
        "space": "ip",
        "embedding_function": DEFAULT,
        "hnsw": {"ef_construction": 200, "quantization": "halfvec"},
    }
    assert written["defaults"]["float_list"] == vectors(**said)
    assert written["keys"]["#embedding"]["float_list"] == vectors(**said, source_key="#document")
    assert Schema.deserialize_from_json(written).serialize_to_json() == written


def test_the_functions_space_is_the_schemas() -> None:
    schema = Schema().create_index(VectorIndexConfig(embedding_function=Mine()))
    config = schema.serialize_to_json()["defaults"]["float_list"]["vector_index"]["config"]
    persisted = {"type": "known", "name": "schema-mine", "config": {"size": 1}}
    assert config == {"space": "cosine", "embedding_function": persisted}
    read = Schema.deserialize_from_json(schema.serialize_to_json())
    index = read.keys["#embedding"].float_list
    assert index is not None and index.vector_index is not None
    assert isinstance(index.vector_index.config.embedding_function, Mine)


@pytest.mark.filterwarnings("ignore:legacy embedding function config")
@pytest.mark.parametrize("function", [None, Forgetful()])
def test_no_function_and_one_that_cannot_be_kept_are_legacy(function: Any) -> None:
    schema = Schema().create_index(VectorIndexConfig(embedding_function=function))
    config = schema.serialize_to_json()["defaults"]["float_list"]["vector_index"]["config"]
    assert config == {"embedding_function": {"type": "legacy"}}
    read = Schema.deserialize_from_json(schema.serialize_to_json()).defaults.float_list
    assert read is not None and read.vector_index is not None
    assert read.vector_index.config.embedding_function is None


def test_a_function_that_is_not_known_here_is_none_with_a_warning() -> None:
    written = copy.deepcopy(PLAIN)
    unknown = {"type": "known", "name": "schema-nobodys", "config": {}}
    written["keys"]["#embedding"]["float_list"] = vectors(embedding_function=unknown)
    with pytest.warns(UserWarning, match="schema-nobodys not found"):
        read = Schema.deserialize_from_json(written).keys["#embedding"].float_list
    assert read is not None and read.vector_index is not None
    assert read.vector_index.config.embedding_function is None


@pytest.mark.parametrize(
    ("config", "kind", "attribute"),
    [
        (StringInvertedIndexConfig(), "string", "string"),
        (IntInvertedIndexConfig(), "int", "int_value"),
        (FloatInvertedIndexConfig(), "float", "float_value"),
        (BoolInvertedIndexConfig(), "bool", "boolean"),
    ],
)
def test_indexes_of_metadata_go_on_and_off(config: Any, kind: str, attribute: str) -> None:
    index = f"{kind}_inverted_index"
    schema = Schema().delete_index(config).create_index(config, key="k").delete_index(config, "l")
    written = schema.serialize_to_json()
    assert written["defaults"][kind][index] == OFF
    assert written["keys"]["k"] == {kind: {index: ON}}
    assert written["keys"]["l"] == {kind: {index: OFF}}
    assert getattr(getattr(schema.keys["k"], attribute), index).enabled is True
    assert Schema.deserialize_from_json(written).serialize_to_json() == written
    schema.create_index(config)
    assert schema.serialize_to_json()["defaults"] == PLAIN["defaults"]


def test_keys_that_have_an_index_by_name_are_declared() -> None:
    schema = (
        Schema()
        .create_index(StringInvertedIndexConfig(), key="title")
        .create_index(IntInvertedIndexConfig(), key="year")
        .delete_index(StringInvertedIndexConfig(), key="year")
        .delete_index(StringInvertedIndexConfig(), key="secret")
        .delete_index(BoolInvertedIndexConfig())
    )
    assert read_filterable(schema.serialize_to_json()).declared_keys() == ("title", "year")
    assert read_filterable(PLAIN).declared_keys() == ()


def test_documents_can_be_kept_out_of_search() -> None:
    schema = Schema().delete_index(FtsIndexConfig(), key="#document")
    document = schema.serialize_to_json()["keys"]["#document"]
    assert document == {"string": {"fts_index": OFF, "string_inverted_index": OFF}}
    schema.create_index(FtsIndexConfig(), key="#document")
    assert schema.serialize_to_json() == PLAIN


EMBEDDING = "Cannot create index on special key '#embedding'. This key is managed automatically"
DOCUMENT = "index on special key '#document' with this config. Only FtsIndexConfig is allowed"
FTS = r"FTS index can only be enabled on #document key. Use create_index\(config=FtsIndexConfig"


@pytest.mark.parametrize(
    ("config", "key", "message"),
    [
        (None, None, "Cannot enable all index types globally. Must specify either config or key."),
        (None, "a", "Cannot enable all index types for key 'a'. Please specify a specific index"),
        (None, "#x", "key cannot begin with '#'"),
        (VectorIndexConfig(), "a", "Vector index cannot be enabled on specific keys."),
        (VectorIndexConfig(), "#embedding", EMBEDDING),
        (VectorIndexConfig(), "#document", DOCUMENT),
        (None, "#embedding", EMBEDDING),
        (StringInvertedIndexConfig(), "#embedding", EMBEDDING),
        (FtsIndexConfig(), None, FTS),
        (FtsIndexConfig(), "a", FTS),
        (IntInvertedIndexConfig(), "#document", f"Cannot create {DOCUMENT}"),
        (None, "#document", f"Cannot create {DOCUMENT}"),
        (IntInvertedIndexConfig(), "#x", "Keys starting with '#' are reserved for system use."),
        (SparseVectorIndexConfig(), None, "Sparse vector index must be created on a specific key."),
        (
            SparseVectorIndexConfig(source_key="text"), "a",
            "If source_key is provided then embedding_function must also be provided since there "
            "is no default embedding function. Config: ",
        ),
        ("hnsw", None, "Expected config to be an index's config, got 'hnsw'"),
        (HnswIndexConfig(), None, "Expected config to be an index's config"),
        (IntInvertedIndexConfig(), 5, "Expected key to be a str, got 5"),
    ],
)  # fmt: skip
def test_what_cannot_be_switched_on(config: Any, key: Any, message: str) -> None:
    schema = Schema()
    with pytest.raises(ValueError, match=message):
        schema.create_index(config, key)
    assert schema == Schema()


@pytest.mark.parametrize(
    ("config", "key", "message"),
    [
        (None, None, "Cannot disable all indexes. Must specify either config or key."),
        (None, "a", "Cannot disable all index types for key 'a'. Please specify a specific index"),
        (VectorIndexConfig(), None, "Deleting vector index is not currently supported."),
        (VectorIndexConfig(), "a", "Deleting vector index is not currently supported."),
        (SparseVectorIndexConfig(), "a", "Deleting sparse vector index is not currently supported"),
        (FtsIndexConfig(), None, "Deleting FTS index is only supported on #document key."),
        (FtsIndexConfig(), "a", "Deleting FTS index is only supported on #document key."),
        (None, "#embedding", "Cannot modify #embedding. Currently not supported"),
        (StringInvertedIndexConfig(), "#document", f"Cannot delete {DOCUMENT}"),
        (StringInvertedIndexConfig(), "#x", "key cannot begin with '#'"),
    ],
)
def test_what_cannot_be_switched_off(config: Any, key: Any, message: str) -> None:
    schema = Schema()
    with pytest.raises(ValueError, match=message):
        schema.delete_index(config, key)
    assert schema == Schema()


def test_several_keys_have_indexes_of_sparse_vectors() -> None:
    schema = Schema().create_index(SparseVectorIndexConfig(bm25=True), key="a")
    schema.create_index(SparseVectorIndexConfig(), key="a")
    schema.create_index(SparseVectorIndexConfig(algorithm="max_score"), key="b")
    index = {"enabled": True, "config": {"embedding_function": {"type": "unknown"}}}
    written = schema.serialize_to_json()
    assert written["keys"]["a"] == {"sparse_vector": {"sparse_vector_index": index}}
    assert Schema.deserialize_from_json(written).serialize_to_json() == written
    mine: Any = Mine()
    sourced = SparseVectorIndexConfig(embedding_function=mine, source_key="#document", bm25=True)
    config = Schema().create_index(sourced, key="s").serialize_to_json()["keys"]["s"]
    assert config["sparse_vector"]["sparse_vector_index"]["config"] == {
        "embedding_function": {"type": "known", "name": "schema-mine", "config": {"size": 1}},
        "source_key": "#document",
        "bm25": True,
    }


@pytest.mark.parametrize(
    ("config", "settings"),
    [
        (VectorIndexConfig, {"space": "l1"}),
        (VectorIndexConfig, {"spaces": "l2"}),
        (VectorIndexConfig, {"embedding_function": "mine"}),
        (HnswIndexConfig, {"ef": 7}),
        (HnswIndexConfig, {"quantization": "int8"}),
        (SpannIndexConfig, {"nprobe": 7}),
        (SparseVectorIndexConfig, {"source_key": "#x"}),
        (StringInvertedIndexConfig, {"language": "en"}),
    ],
)
def test_a_setting_that_is_none_is_refused(config: Any, settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(settings))):
        config(**settings)


def test_keys_to_encrypt_with_are_said_and_refused() -> None:
    name = "projects/p/locations/l/keyRings/k/cryptoKeys/c"
    schema = Schema().set_cmek(types.Cmek.gcp(name))
    written = schema.serialize_to_json()
    assert written["cmek"] == {"gcp": name}
    assert Schema.deserialize_from_json(written).cmek == types.Cmek.gcp(name)
    assert types.Cmek.gcp(name).validate_pattern()
    assert not types.Cmek.gcp("mine").validate_pattern()
    with pytest.raises(ValueError, match="Unsupported or missing CMEK provider"):
        types.Cmek.from_dict({"aws": "x"})
    with pytest.raises(
        InvalidArgumentError, match="customer-managed encryption keys are not supported"
    ):
        merge_schema(None, written)
    assert schema.set_cmek(None).serialize_to_json() == PLAIN


def vector_key(**config: Any) -> dict[str, Any]:
    index = {"enabled": True, "config": config}
    return {"#embedding": {"float_list": {"vector_index": index}}}


def sparse_key(name: str = "s", **config: Any) -> dict[str, Any]:
    return {name: {"sparse_vector": {"sparse_vector_index": {"enabled": True, "config": config}}}}


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"#document": {"int": {"int_inverted_index": ON}}}, "any value types other than string"),
        (
            {"#document": {"string": {"string_inverted_index": ON}}},
            "String inverted index can not be enabled on #document key: #document",
        ),
        ({"#embedding": {"string": {}}}, "cannot have any value types other than float_list"),
        (vector_key(source_key="text"), "Vector index can only source from #document"),
        (vector_key(hnsw={}, spann={}), "Both spann and hnsw config cannot be present"),
        (sparse_key(source_key="text"), "If source_key is provided then embedding_function must"),
        (
            sparse_key(source_key="#x", embedding_function={"type": "known"}),
            "source_key cannot begin with '#'. The only valid key",
        ),
        ({"a\x00": {}}, "U\\+0000"),
    ],
)
def test_what_the_server_refuses_the_client_does_too(keys: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidArgumentError, match=message):
        merge_schema(None, {"defaults": {}, "keys": keys})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"bm25": "yes"}, "sparse_vector_index.config.bm25: invalid type: 'yes'"),
        ({"foo": 1}, "sparse_vector_index.config.foo: unknown field, expected one of"),
        ({"algorithm": "x"}, "algorithm: expected one of wand, max_score"),
    ],
)
def test_settings_of_a_sparse_index_are_known(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(MalformedRequestError, match=message):
        merge_schema(None, {"defaults": {}, "keys": sparse_key(**settings)})


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"cmek": {"gcp": "mine"}}, "CMEK does not match expected pattern: mine"),
        ({"source_attached_function_id": "f"}, "Cannot set source_attached_function_id"),
    ],
)
def test_what_is_not_of_a_key_is_refused(more: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidArgumentError, match=f"Validation error: schema: {message}"):
        merge_schema(None, {**PLAIN, **more})


def test_a_default_gives_way() -> None:
    cosine = {"hnsw": {"space": "cosine"}, "embedding_function": {"type": "legacy"}}
    default = {"hnsw": {"space": "l2"}, "spann": None, "embedding_function": DEFAULT}
    assert merge_schema(cosine, PLAIN) == (cosine, None)
    assert merge_schema(default, PLAIN) == (default, None)
    assert merge_schema(default, None) == (default, None)
    # Without a configuration, the collection has the schema's function.
    wanted, indexed = merge_schema(None, PLAIN)
    assert wanted == {"hnsw": {"space": "l2"}, "embedding_function": DEFAULT}
    assert indexed is None
    ip = Schema().create_index(VectorIndexConfig(space="ip")).serialize_to_json()
    wanted, _ = merge_schema(default, ip)
    assert wanted == {"hnsw": {"space": "ip"}, "embedding_function": DEFAULT}
    with pytest.raises(InvalidArgumentError, match="Cannot set both collection config and schema"):
        merge_schema(cosine, ip)


def test_of_spann_the_space_is_kept() -> None:
    spann = VectorIndexConfig(space="cosine", spann=SpannIndexConfig(search_nprobe=10))
    written = Schema().create_index(spann).serialize_to_json()
    said = {"spann": {"space": "l2", "search_nprobe": 10}, "embedding_function": DEFAULT}
    wanted, _ = merge_schema(said, written)
    assert wanted is not None
    assert wanted["spann"] == {"space": "cosine", "search_nprobe": 10}
    configuration = CollectionConfiguration.parse(wanted, None)
    assert (configuration.hnsw.space, configuration.spann) == ("cosine", None)


def test_spann_is_kept_where_it_is_the_default_index() -> None:
    def parse(wanted: dict[str, Any] | None, metadata: Any = None) -> CollectionConfiguration:
        return CollectionConfiguration.parse(wanted, metadata, default_index="spann")

    assert parse(None).spann == SpannConfiguration()
    shown = parse({"spann": {"space": "ip", "search_nprobe": 7, "ef_search": 150}}).to_json()
    assert shown["hnsw"] is None
    assert shown["spann"] == {
        "search_nprobe": 7, "write_nprobe": 32, "space": "ip", "ef_construction": 200,
        "ef_search": 150, "max_neighbors": 64, "reassign_neighbor_count": 64,
        "split_threshold": 50, "merge_threshold": 25,
    }  # fmt: skip
    # A client sends the space of the embedding function as a setting of HNSW.
    spaced = parse({"hnsw": {"space": "cosine"}, "spann": None})
    assert (spaced.hnsw.space, spaced.spann) == ("cosine", SpannConfiguration())
    assert parse(None, {"hnsw:space": "ip"}).to_json()["spann"]["space"] == "ip"
    assert parse({"hnsw": {"max_neighbors": 32}}).spann is None
    # The index that takes its place.
    assert parse({"spann": {"ef_search": 150}}).hnsw == HnswConfiguration(ef_search=150)
    changed = parse(None).updated({"spann": {"search_nprobe": 9, "ef_search": 50}})
    assert changed.spann == SpannConfiguration(search_nprobe=9, ef_search=50)
    assert changed.hnsw.ef_search == 50
    assert CollectionConfiguration.from_json(changed.to_stored_json()) == changed
    # An update for another index has no effect, as in Chroma, unless something would be lost.
    assert (
        CollectionConfiguration.parse(None, None).updated({"spann": {"ef_search": 50}}).spann
        is None
    )
    with pytest.raises(InvalidArgumentError, match="hnsw: the index of the collection is SPANN"):
        changed.updated({"hnsw": {"max_neighbors": 3}})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"search_nprobe": 129}, "search_nprobe: expected an int from 1 to 128, got 129"),
        ({"split_threshold": 49}, "split_threshold: expected an int from 50 to 200"),
        ({"write_nprobe": True}, "write_nprobe: expected an int, got True"),
        ({"initial_lambda": "much"}, "initial_lambda: expected a number, got 'much'"),
        ({"nprobe": 3}, "unknown field `nprobe`"),
    ],
)
def test_settings_of_spann_have_bounds(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidArgumentError, match=message):
        CollectionConfiguration.parse({"spann": settings}, None, default_index="spann")
    schema = copy.deepcopy(PLAIN)
    schema["keys"]["#embedding"]["float_list"]["vector_index"]["config"]["spann"] = settings
    with pytest.raises(
        InvalidArgumentError,
        match=f"Failed to reconcile schema: Invalid SPANN configuration: spann.*{message}",
    ):
        merge_schema(None, schema)


def test_a_configuration_from_before_quantization_is_read() -> None:
    configuration = CollectionConfiguration.parse({"hnsw": {"ef_search": 7}}, None)
    stored = configuration.to_stored_json()
    del stored["hnsw"]["quantization"]
    assert CollectionConfiguration.from_json(stored) == configuration
    assert configuration.hnsw.quantization is None
    assert "quantization" not in configuration.to_json()["hnsw"]
