"""Chroma's schema of a collection: generate it from the configuration, and parse it into one.

A schema lists the indexes of each key. The configuration stores its space, the index's parameters,
the embedding function and the filterable keys. A schema that requests anything else is rejected,
and the message names it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from pgchroma.errors import InvalidArgumentError, MalformedRequestError
from pgchroma.model.configuration import CollectionConfiguration, DefaultIndex
from pgchroma.model.discovery import DiscoveredKeys
from pgchroma.model.fields import DOCUMENT, EMBEDDING
from pgchroma.model.filterable import KINDS, FilterableKeys, SparseIndex, ValueKind
from pgchroma.model.plain import brief, shown
from pgchroma.model.spann import SpannConfiguration
from pgchroma.model.text import check_text

__all__ = (
    "filterable_json",
    "merge_schema",
    "read_filterable",
    "read_vector_index",
    "schema_json",
    "without_discovered",
)

_INDEX: Final = (
    "ef_construction", "max_neighbors", "ef_search", "num_threads", "batch_size", "sync_threshold",
    "resize_factor",
)  # fmt: skip
"""Settings of an index, in Chroma's order. Chroma's client rejects a schema with an unknown
setting, so it does not contain the quantization."""

_LEGACY: Final = {"type": "legacy"}

_UNKNOWN_SPARSE: Final = {
    "enabled": False,
    "config": {"embedding_function": {"type": "unknown"}, "bm25": False},
}
"""The index that the defaults give to sparse vectors."""

_ON: Final = {"enabled": True, "config": {}}
_OFF: Final = {"enabled": False, "config": {}}

_ENCRYPTION_KEY: Final = re.compile(r"projects/.+/locations/.+/keyRings/.+/cryptoKeys/.+")


def schema_json(
    configuration: CollectionConfiguration, discovered: DiscoveredKeys
) -> dict[str, Any]:
    """Return the schema of a collection.

    The schema states explicitly that a collection has no embedding function; otherwise Chroma's
    client uses its default function, as it does if the configuration does not mention one.

    Args:
        configuration: The collection's configuration.
        discovered: The keys that were found in metadata.
    """
    index: dict[str, Any] = (
        {"hnsw": {name: getattr(configuration.hnsw, name) for name in _INDEX}}
        if configuration.spann is None
        else {"spann": configuration.spann.to_json()}
    )
    vectors: dict[str, Any] = {"space": configuration.hnsw.space}
    function = configuration.embedding_function or _LEGACY
    if function["type"] != "unknown":
        vectors["embedding_function"] = function
    filterable = filterable_json(configuration.filterable)
    defaults = filterable["defaults"]
    return {
        "defaults": {
            "string": {"fts_index": _OFF, **defaults["string"]},
            "float_list": {"vector_index": {"enabled": False, "config": {**vectors, **index}}},
            "sparse_vector": {_SPARSE_INDEX: _UNKNOWN_SPARSE},
            "int": defaults["int"],
            "float": defaults["float"],
            "bool": defaults["bool"],
        },
        "keys": {
            **_with_discovered(filterable["keys"], defaults, discovered),
            EMBEDDING: {
                "float_list": {
                    "vector_index": {
                        "enabled": True,
                        "config": {**vectors, "source_key": DOCUMENT, **index},
                    }
                }
            },
        },
    }


def filterable_json(filterable: FilterableKeys) -> dict[str, Any]:
    """Return the part of a schema with the filterable keys; `read_filterable` parses it."""
    keys: dict[str, dict[str, Any]] = {
        key: {kind: _inverted(kind, kinds) for kind in kinds}
        for key, kinds in filterable.keys.items()
    }
    for key, index in filterable.sparse.items():
        entry = {"enabled": index.number is not None, "config": index.config}
        keys.setdefault(key, {})["sparse_vector"] = {_SPARSE_INDEX: entry}
    documents = {
        "fts_index": _ON if filterable.documents else _OFF,
        "string_inverted_index": _OFF,
    }
    return {
        "defaults": {kind: _inverted(kind, filterable.defaults) for kind in KINDS},
        "keys": {**keys, DOCUMENT: {"string": documents}},
    }


def without_discovered(schema: Mapping[str, Any], discovered: DiscoveredKeys) -> dict[str, Any]:
    """Return a schema without the discovered keys."""
    keys = dict(_get(schema, "keys"))
    for key, kinds in discovered.items():
        types = {kind: index for kind, index in _get(keys, key).items() if kind not in kinds}
        if types:
            keys[key] = types
        else:
            keys.pop(key, None)
    return {**schema, "keys": keys}


def _with_discovered(
    keys: Mapping[str, Any], defaults: Mapping[str, Any], discovered: DiscoveredKeys
) -> dict[str, Any]:
    """Add discovered keys, with the indexes of the defaults, to those that a user named."""
    indexes = {**defaults, "sparse_vector": {_SPARSE_INDEX: _UNKNOWN_SPARSE}}
    found = {
        key: {**{kind: indexes[kind] for kind in kinds}, **keys.get(key, {})}
        for key, kinds in discovered.items()
    }
    return {**found, **{key: types for key, types in keys.items() if key not in found}}


def read_filterable(schema: Mapping[str, Any]) -> FilterableKeys:
    """Parse the filterable keys.

    Raises:
        MalformedRequestError: An index has no valid `enabled`.
    """
    flags = _flags(_get(schema, "defaults"))
    keys = {
        key: found
        for key, types in _get(schema, "keys").items()
        if not key.startswith("#") and (found := _flags(types))
    }
    documents = _enabled(_get(_get(schema, "keys"), DOCUMENT), "string", "fts_index")
    off = {kind: False for kind, is_on in flags.items() if not is_on}
    return FilterableKeys(off, keys, documents is not False, _read_sparse(schema))


def _read_sparse(schema: Mapping[str, Any]) -> dict[str, SparseIndex]:
    has_bm25 = _sparse_config(_get(schema, "defaults")).get("bm25") is True
    found: dict[str, SparseIndex] = {}
    for key, types in _get(schema, "keys").items():
        is_enabled = _enabled(types, "sparse_vector", _SPARSE_INDEX)
        if key.startswith("#") or is_enabled is None:
            continue
        config = _sparse_config(types)
        number = sum(index.number is not None for index in found.values()) if is_enabled else None
        found[key] = SparseIndex(number, config, config.get("bm25", has_bm25) is True)
    return found


def read_vector_index(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the index of embeddings; the key's settings take precedence over the defaults."""
    default = _vector_config(_get(schema, "defaults"))
    return {**default, **_vector_config(_get(_get(schema, "keys"), EMBEDDING))}


def merge_schema(
    configuration: Mapping[str, Any] | None, schema: Mapping[str, Any] | None
) -> tuple[Mapping[str, Any] | None, FilterableKeys | None]:
    """Combine a create request's configuration and its schema.

    Chroma's client sends a default configuration with every schema, so a configuration or a schema
    that has only defaults is ignored.

    Returns:
        The configuration, and the filterable keys; `None` means everything.

    Raises:
        InvalidArgumentError: Both have settings, or the schema requests an unsupported feature.
        MalformedRequestError: The schema lacks a part.
    """
    if schema is None:
        return configuration, None
    _check(schema)
    filterable = read_filterable(schema)
    merged = _merged(configuration, read_vector_index(schema))
    return merged, None if filterable == FilterableKeys() else filterable


def _merged(
    configuration: Mapping[str, Any] | None, index: Mapping[str, Any]
) -> Mapping[str, Any] | None:
    if not index:
        return configuration
    name = "hnsw" if index.get("spann") is None else "spann"
    settings = _get(index, name)
    settings = {**settings, "space": index.get("space") or settings.get("space")}
    if name == "spann":
        _check_spann(settings)
    wanted = {name: settings, "embedding_function": index.get("embedding_function")}
    if configuration is None:
        return wanted
    if _is_default(wanted, "spann"):
        return configuration
    if not _is_default(configuration, "hnsw"):
        raise InvalidArgumentError(
            "Failed to reconcile schema: Cannot set both collection config and schema "
            "simultaneously"
        )
    return {**wanted, "text": configuration["text"]} if "text" in configuration else wanted


def _check_spann(settings: Mapping[str, Any]) -> None:
    try:
        SpannConfiguration.parse(settings, "spann")
    except InvalidArgumentError as error:
        raise InvalidArgumentError(
            f"Failed to reconcile schema: Invalid SPANN configuration: {error}"
        ) from error


def _is_default(configuration: Mapping[str, Any], default_index: DefaultIndex) -> bool:
    parsed = CollectionConfiguration.parse(configuration, None, default_index=default_index)
    function = parsed.embedding_function or {}
    is_default_function = function.get("type") in (None, "unknown") or (
        function.get("type") == "known" and function.get("name") == "default"
    )
    default = CollectionConfiguration.parse(None, None, default_index=default_index)
    return is_default_function and (parsed.hnsw, parsed.spann) == (default.hnsw, default.spann)


def _check(schema: Mapping[str, Any]) -> None:
    for part in ("defaults", "keys"):
        if not isinstance(schema.get(part), Mapping):
            raise _malformed(f"missing field `{part}`")
    if schema.get("source_attached_function_id") is not None:
        raise _refused(
            "Cannot set source_attached_function_id. This field is reserved for system use."
        )
    if schema.get("cmek") is not None:
        _refuse_encryption(schema["cmek"])
    _check_defaults(schema["defaults"])
    for key, types in schema["keys"].items():
        _check_key(key, types)
    _check_sparse(schema["keys"])


def _refuse_encryption(cmek: Any) -> None:
    resource = cmek.get("gcp") if isinstance(cmek, Mapping) else None
    if not isinstance(resource, str) or not _ENCRYPTION_KEY.fullmatch(resource):
        raise _refused(f"CMEK does not match expected pattern: {resource}")
    raise _refused("cmek: customer-managed encryption keys are not supported")


def _check_defaults(types: Any) -> None:
    if _enabled(types, "float_list", "vector_index"):
        raise _refused(
            "Vector index cannot be enabled by default. It can only be enabled on #embedding field."
        )
    _check_vector_config(_vector_config(types))
    if _enabled(types, "sparse_vector", "sparse_vector_index"):
        raise _refused(
            "Sparse vector index cannot be enabled by default. Please enable sparse vector index "
            "on specific keys."
        )
    if _enabled(types, "string", "fts_index"):
        raise _refused(
            "Full text search / regular expression index cannot be enabled by default. "
            "It can only be enabled on #document field."
        )


def _check_key(key: str, types: Any) -> None:
    check_text(key, "schema.keys")
    if key == DOCUMENT:
        _check_document(types)
    elif key == EMBEDDING:
        _check_embedding(types)
    elif key.startswith("#"):
        raise _refused(
            "key cannot begin with '#'. Keys starting with '#' are reserved for system use: " + key
        )
    elif _enabled(types, "float_list", "vector_index"):
        raise _refused(f"Vector index can only be enabled on #embedding field: {key}")
    elif _enabled(types, "string", "fts_index"):
        raise _refused(
            "Full text search / regular expression index can only be enabled on #document "
            f"field: {key}"
        )


def _check_document(types: Any) -> None:
    if list(_others(types, "string")):
        raise _refused(f"Document field cannot have any value types other than string: {DOCUMENT}")
    if _enabled(types, "string", "string_inverted_index"):
        raise _refused(f"String inverted index can not be enabled on #document key: {DOCUMENT}")


def _check_embedding(types: Any) -> None:
    if list(_others(types, "float_list")):
        raise _refused(
            f"Embedding field cannot have any value types other than float_list: {EMBEDDING}"
        )
    config = _vector_config(types)
    if config.get("source_key") not in (None, DOCUMENT):
        raise _refused("Vector index can only source from #document")
    _check_vector_config(config)


def _check_vector_config(config: Mapping[str, Any]) -> None:
    if config.get("hnsw") is not None and config.get("spann") is not None:
        raise _refused("Both spann and hnsw config cannot be present at the same time.")


def _check_sparse(keys: Mapping[str, Any]) -> None:
    for key, types in keys.items():
        config = _sparse_config(types)
        _check_sparse_settings(key, config)
        if _enabled(types, "sparse_vector", _SPARSE_INDEX):
            _check_source(config)


def _check_sparse_settings(key: str, config: Mapping[str, Any]) -> None:
    path = f"keys.{key}.sparse_vector.{_SPARSE_INDEX}.config"
    for name, value in config.items():
        if name not in _SPARSE_SETTINGS:
            expected = ", ".join(f"`{setting}`" for setting in _SPARSE_SETTINGS)
            raise _malformed(f"{path}.{brief(name)}: unknown field, expected one of {expected}")
        if name == "bm25" and value is not None and not isinstance(value, bool):
            raise _malformed(f"{path}.bm25: invalid type: {shown(value)}, expected a boolean")
        if name == "algorithm" and value not in _ALGORITHMS:
            raise _malformed(f"{path}.algorithm: expected one of {', '.join(_ALGORITHMS)}")


def _check_source(config: Mapping[str, Any]) -> None:
    source = config.get("source_key")
    if source is None:
        return
    if _get(config, "embedding_function").get("type") in (None, "unknown"):
        raise _refused(
            "If source_key is provided then embedding_function must also be provided since there "
            "is no default embedding function."
        )
    if str(source).startswith("#") and source != DOCUMENT:
        raise _refused(
            "source_key cannot begin with '#'. The only valid key starting with '#' is "
            "Key.DOCUMENT or '#document'."
        )


def _sparse_config(types: Any) -> Mapping[str, Any]:
    return _get(_get(_get(types, "sparse_vector"), _SPARSE_INDEX), "config")


def _others(types: Any, allowed: str) -> Iterator[str]:
    if isinstance(types, Mapping):
        yield from (kind for kind, value in types.items() if kind != allowed and value is not None)


def _vector_config(types: Any) -> Mapping[str, Any]:
    return _get(_get(_get(types, "float_list"), "vector_index"), "config")


def _inverted(kind: ValueKind, kinds: Mapping[ValueKind, bool]) -> dict[str, Any]:
    return {f"{kind}_inverted_index": _ON if kinds.get(kind, True) else _OFF}


def _flags(types: Any) -> dict[ValueKind, bool]:
    found = {kind: _enabled(types, kind, f"{kind}_inverted_index") for kind in KINDS}
    return {kind: is_on for kind, is_on in found.items() if is_on is not None}


def _enabled(types: Any, kind: str, index: str) -> bool | None:
    """Whether an index is enabled; `None` if the schema does not mention it."""
    settings = _get(_get(types, kind), index)
    if not settings:
        return None
    if not isinstance(settings.get("enabled"), bool):
        raise _malformed(f"{index}: expected `enabled` to be true or false")
    return bool(settings["enabled"])


def _get(value: Any, key: str) -> Mapping[str, Any]:
    found = value.get(key) if isinstance(value, Mapping) else None
    return found if isinstance(found, Mapping) else {}


def _refused(reason: str) -> InvalidArgumentError:
    return InvalidArgumentError(f"Validation error: schema: {reason}")


def _malformed(reason: str) -> MalformedRequestError:
    return MalformedRequestError(
        f"Failed to deserialize the JSON body into the target type: schema: {reason}"
    )


_SPARSE_INDEX: Final = "sparse_vector_index"
_SPARSE_SETTINGS: Final = ("embedding_function", "source_key", "bm25", "algorithm")
_ALGORITHMS: Final = ("wand", "max_score")
