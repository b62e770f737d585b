"""Chroma's schema of a collection: shown from the configuration, and read into it.

A schema says of each key which indexes it has. What is kept of it is what the configuration has
a place for: the space, the index's parameters and the embedding function. Asking for anything
else is refused by name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Final, cast

import msgspec

from pgchroma.errors import InvalidArgumentError, MalformedRequestError
from pgchroma.model.configuration import CollectionConfiguration, HnswConfiguration
from pgchroma.wire.configuration import VectorIndexBody

__all__ = ("decode_configuration", "encode_schema", "merge_schema")

_DOCUMENT, _EMBEDDING = "#document", "#embedding"

_LEGACY: Final = {"type": "legacy"}

_ON: Final = {"enabled": True, "config": {}}
_OFF: Final = {"enabled": False, "config": {}}


def encode_schema(configuration: CollectionConfiguration) -> dict[str, Any]:
    """Write the schema that a collection of this configuration has.

    A collection without an embedding function says so here; Chroma's client would otherwise take
    its default one.
    """
    parameters = asdict(configuration.hnsw)
    space = parameters.pop("space")
    function = configuration.embedding_function or _LEGACY
    vectors = {"space": space, "embedding_function": function, "hnsw": parameters}
    return {
        "defaults": {
            "string": {"fts_index": _OFF, "string_inverted_index": _ON},
            "float_list": {"vector_index": {"enabled": False, "config": vectors}},
            "sparse_vector": {
                "sparse_vector_index": {
                    "enabled": False,
                    "config": {"embedding_function": {"type": "unknown"}, "bm25": False},
                }
            },
            "int": {"int_inverted_index": _ON},
            "float": {"float_inverted_index": _ON},
            "bool": {"bool_inverted_index": _ON},
        },
        "keys": {
            _DOCUMENT: {"string": {"fts_index": _ON, "string_inverted_index": _OFF}},
            _EMBEDDING: {
                "float_list": {
                    "vector_index": {
                        "enabled": True,
                        "config": {**vectors, "source_key": _DOCUMENT},
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
    wanted = {
        "hnsw": {**(index.get("hnsw") or {}), "space": _space(index)},
        "embedding_function": index.get("embedding_function"),
    }
    if _is_default(wanted):
        return configuration
    if not _is_default(configuration or {}):
        raise InvalidArgumentError(
            "Failed to reconcile schema: Cannot set both collection config and schema "
            "simultaneously"
        )
    return wanted


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
    _refuse_disabled("defaults", types)


def _check_key(key: str, types: Any) -> None:
    if key == _EMBEDDING:
        return
    if key == _DOCUMENT:
        if _enabled(types, "string", "fts_index") is False:
            raise _refused("the full-text index of #document cannot be disabled here")
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
    _refuse_disabled(key, types)


def _refuse_disabled(key: str, types: Any) -> None:
    for kind in ("string", "int", "float", "bool"):
        if _enabled(types, kind, f"{kind}_inverted_index") is False:
            raise _refused(f"the index of {key} for {kind} values cannot be disabled here")


def _enabled(types: Any, kind: str, index: str) -> bool | None:
    """Whether an index is on; None where nothing is said of it."""
    settings = _get(_get(types, kind), index)
    return None if not settings else bool(settings.get("enabled"))


def _vector_index(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    by_key = _get(_get(_get(schema, "keys"), _EMBEDDING), "float_list")
    by_default = _get(_get(schema, "defaults"), "float_list")
    default = _get(_get(by_default, "vector_index"), "config")
    return {**default, **_get(_get(by_key, "vector_index"), "config")}


def _parse_index(index: Mapping[str, Any]) -> dict[str, Any]:
    try:
        parsed = msgspec.to_builtins(msgspec.convert(index, VectorIndexBody))
    except msgspec.ValidationError as fault:
        raise MalformedRequestError(
            "Failed to deserialize the JSON body into the target type: schema: "
            f"the vector index's config: {fault}"
        ) from fault
    return cast("dict[str, Any]", parsed)


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
