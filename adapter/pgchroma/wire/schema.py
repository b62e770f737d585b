"""Chroma's schema of a collection: shown from the configuration, and read into it.

A schema says of each key which indexes it has. What is kept of it is what the configuration has
a place for: the space, the index's parameters, the embedding function, and by what may be filtered.
Asking for anything else is refused by name.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from pgchroma.errors import InvalidArgumentError, MalformedRequestError
from pgchroma.model.configuration import CollectionConfiguration, HnswConfiguration
from pgchroma.model.indexed import KINDS, Indexed, Kind
from pgchroma.model.text import check_text
from pgchroma.wire.configuration import VectorIndexBody, read_settings

__all__ = ("decode_configuration", "encode_schema", "merge_schema")

_DOCUMENT, _EMBEDDING = "#document", "#embedding"

_INDEX: Final = (
    "ef_construction", "max_neighbors", "ef_search", "num_threads", "batch_size", "sync_threshold",
    "resize_factor",
)  # fmt: skip
"""Settings of an index in the order in which Chroma writes them."""

_LEGACY: Final = {"type": "legacy"}

_ON: Final = {"enabled": True, "config": {}}
_OFF: Final = {"enabled": False, "config": {}}


def encode_schema(configuration: CollectionConfiguration) -> dict[str, Any]:
    """Write the schema that a collection of this configuration has.

    A collection without an embedding function says so here; Chroma's client would otherwise take
    its default one.
    """
    indexed, defaults = configuration.indexed, configuration.indexed.defaults
    hnsw = {"hnsw": {name: getattr(configuration.hnsw, name) for name in _INDEX}}
    vectors = {
        "space": configuration.hnsw.space,
        "embedding_function": configuration.embedding_function or _LEGACY,
    }
    return {
        "defaults": {
            "string": {"fts_index": _OFF, **_inverted("string", defaults)},
            "float_list": {"vector_index": {"enabled": False, "config": {**vectors, **hnsw}}},
            "sparse_vector": {
                "sparse_vector_index": {
                    "enabled": False,
                    "config": {"embedding_function": {"type": "unknown"}, "bm25": False},
                }
            },
            "int": _inverted("int", defaults),
            "float": _inverted("float", defaults),
            "bool": _inverted("bool", defaults),
        },
        "keys": {
            **{
                key: {kind: _inverted(kind, kinds) for kind in kinds}
                for key, kinds in indexed.keys.items()
            },
            _DOCUMENT: {
                "string": {
                    "fts_index": _ON if indexed.documents else _OFF,
                    "string_inverted_index": _OFF,
                }
            },
            _EMBEDDING: {
                "float_list": {
                    "vector_index": {
                        "enabled": True,
                        "config": {**vectors, "source_key": _DOCUMENT, **hnsw},
                    }
                }
            },
        },
    }


def decode_configuration(
    configuration: Mapping[str, Any], schema: Mapping[str, Any] | None
) -> CollectionConfiguration:
    """Read a collection's configuration from what a server shows of it.

    The schema has settings that the configuration hides. A server may know settings that we do
    not; those are passed over.
    """
    known = set(HnswConfiguration.__dataclass_fields__)
    index = configuration.get("hnsw") or configuration.get("spann") or {}
    settings = {**_vector_index(schema or {}).get("hnsw", {}), **index}
    hnsw = {key: value for key, value in settings.items() if key in known}
    return CollectionConfiguration(
        HnswConfiguration.parse(hnsw, "configuration_json.hnsw"),
        configuration.get("embedding_function"),
        _indexed(schema or {}),
    )


def merge_schema(
    configuration: dict[str, Any] | None, schema: dict[str, Any] | None
) -> dict[str, Any] | None:
    """Read a create request's schema into its configuration.

    Chroma's client sends a default configuration along with every schema; so one that says
    nothing but the defaults gives way.

    Raises:
        InvalidArgumentError: Both say something, or the schema asks for what is not there.
        MalformedRequestError: The schema lacks a part.
    """
    if schema is None:
        return configuration
    _check(schema)
    index = _parse_index(_vector_index(schema))
    wanted: dict[str, Any] = {
        "hnsw": {**(index.get("hnsw") or {}), "space": _space(index)},
        "embedding_function": index.get("embedding_function"),
    }
    chosen = configuration or {}
    if not _is_default(wanted):
        if not _is_default(chosen):
            raise InvalidArgumentError(
                "Failed to reconcile schema: Cannot set both collection config and schema "
                "simultaneously"
            )
        chosen = wanted
    return {**chosen, "indexed": _indexed(schema).to_json()}


def _check(schema: Mapping[str, Any]) -> None:
    for part in ("defaults", "keys"):
        if not isinstance(schema.get(part), Mapping):
            raise MalformedRequestError(
                "Failed to deserialize the JSON body into the target type: "
                f"schema: missing field `{part}`"
            )
    _check_defaults(schema["defaults"])
    for key, types in schema["keys"].items():
        _check_key(key, types)


def _check_defaults(types: Any) -> None:
    if _enabled(types, "float_list", "vector_index"):
        raise _refused(
            "Vector index cannot be enabled by default. It can only be enabled on #embedding field."
        )
    if _enabled(types, "sparse_vector", "sparse_vector_index"):
        raise _refused(
            "Sparse vector index cannot be enabled by default. Please enable sparse vector index "
            "on specific keys. At most one sparse vector index is allowed for the collection."
        )
    if _enabled(types, "string", "fts_index"):
        raise _refused(
            "Full text search / regular expression index cannot be enabled by default. "
            "It can only be enabled on #document field."
        )


def _check_key(key: str, types: Any) -> None:
    check_text(key, "schema.keys")
    if key in (_EMBEDDING, _DOCUMENT):
        return
    if key.startswith("#"):
        raise _refused(
            "key cannot begin with '#'. Keys starting with '#' are reserved for system use: " + key
        )
    if _enabled(types, "float_list", "vector_index"):
        raise _refused(f"Vector index can only be enabled on #embedding field: {key}")
    if _enabled(types, "sparse_vector", "sparse_vector_index"):
        raise InvalidArgumentError(
            "Failed to reconcile schema: Invalid schema input: Sparse vector indexing is not "
            "enabled in local"
        )
    if _enabled(types, "string", "fts_index"):
        raise _refused(
            "Full text search / regular expression index can only be enabled on #document "
            f"field: {key}"
        )


def _inverted(kind: Kind, kinds: Mapping[Kind, bool]) -> dict[str, Any]:
    return {f"{kind}_inverted_index": _ON if kinds.get(kind, True) else _OFF}


def _indexed(schema: Mapping[str, Any]) -> Indexed:
    """Read what may be filtered by."""
    flags = _flags(_get(schema, "defaults"))
    keys = {
        key: found
        for key, types in _get(schema, "keys").items()
        if not key.startswith("#") and (found := _flags(types))
    }
    documents = _enabled(_get(_get(schema, "keys"), _DOCUMENT), "string", "fts_index")
    off = {kind: False for kind, is_on in flags.items() if not is_on}
    return Indexed(off, keys, documents is not False)


def _flags(types: Any) -> dict[Kind, bool]:
    found = {kind: _enabled(types, kind, f"{kind}_inverted_index") for kind in KINDS}
    return {kind: is_on for kind, is_on in found.items() if is_on is not None}


def _enabled(types: Any, kind: str, index: str) -> bool | None:
    """Whether an index is on; None where nothing is said of it."""
    settings = _get(_get(types, kind), index)
    if not settings:
        return None
    if not isinstance(settings.get("enabled"), bool):
        raise MalformedRequestError(
            "Failed to deserialize the JSON body into the target type: "
            f"schema: {index}: expected `enabled` to be true or false"
        )
    return bool(settings["enabled"])


def _vector_index(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    by_key = _get(_get(_get(schema, "keys"), _EMBEDDING), "float_list")
    by_default = _get(_get(schema, "defaults"), "float_list")
    default = _get(_get(by_default, "vector_index"), "config")
    return {**default, **_get(_get(by_key, "vector_index"), "config")}


def _parse_index(index: Mapping[str, Any]) -> dict[str, Any]:
    try:
        parsed = read_settings(msgspec.convert(index, VectorIndexBody))
    except msgspec.ValidationError as fault:
        raise MalformedRequestError(
            "Failed to deserialize the JSON body into the target type: schema: "
            f"the vector index's config: {fault}"
        ) from fault
    return parsed or {}


def _space(index: Mapping[str, Any]) -> Any:
    return index.get("space") or _get(index, "spann").get("space")


def _get(value: Any, key: str) -> Mapping[str, Any]:
    found = value.get(key) if isinstance(value, Mapping) else None
    return found if isinstance(found, Mapping) else {}


def _is_default(configuration: Mapping[str, Any]) -> bool:
    function = configuration.get("embedding_function") or {}
    is_default_function = function.get("type") in (None, "unknown") or (
        function.get("type") == "known" and function.get("name") == "default"
    )
    index = configuration.get("hnsw") or configuration.get("spann") or {}
    parsed = HnswConfiguration.parse(index, "configuration.hnsw")
    return is_default_function and parsed == HnswConfiguration()


def _refused(reason: str) -> InvalidArgumentError:
    return InvalidArgumentError(f"Validation error: schema: {reason}")
