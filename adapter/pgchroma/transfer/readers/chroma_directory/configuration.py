"""Bring a collection's settings from the forms of all releases into that of Chroma's API.

Up to 0.5.3 the settings of the index are in the collection's metadata. From 0.5.4 to 0.6.3 there is
a configuration, too, but it has the defaults whatever the collection is. From 1.0 the configuration
counts, and from 1.3 the schema.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from pgchroma.errors import ChromaError
from pgchroma.model.configuration import CollectionConfiguration
from pgchroma.model.filterable import FilterableKeys
from pgchroma.model.hnsw import CHANGEABLE, HnswConfiguration
from pgchroma.model.metadata import parse_collection_metadata
from pgchroma.model.plain import shown
from pgchroma.model.schema import filterable_json, merge_schema, read_filterable, read_vector_index
from pgchroma.transfer.source import Loss

__all__ = ("Settings", "read_settings")

_LEGACY: Final = {
    "space": "space",
    "construction_ef": "ef_construction",
    "search_ef": "ef_search",
    "M": "max_neighbors",
    "resize_factor": "resize_factor",
    "sync_threshold": "sync_threshold",
    "batch_size": "batch_size",
}
"""Names of settings in metadata, after the prefix. The number of threads is left out here and
below: it belongs to the machine on which Chroma ran."""

_NAMES: Final = tuple(_LEGACY.values())
_PREFIX: Final = "hnsw:"


@dataclass(slots=True)
class Settings:
    """What Chroma's API accepts as a collection's settings.

    Attributes:
        configuration: The settings of the index, and the embedding function if there is one.
        schema: What the schema says about the indexes of keys; `None` if that is the default.
        metadata: The collection's metadata.
        space: The distance, or `None` if nothing says which it is.
        neighbors: The setting `max_neighbors`, or `None`.
        losses: What could not be kept.
    """

    configuration: dict[str, Any]
    schema: dict[str, Any] | None
    metadata: dict[str, Any] | None
    space: str | None
    neighbors: int | None
    losses: list[Loss] = field(default_factory=list)


def read_settings(
    configuration: object,
    schema: object,
    metadata: Mapping[str, Any],
    segment_metadata: Mapping[str, Any],
) -> Settings:
    """Return a collection's settings.

    Args:
        configuration: The JSON of `config_json_str`, or `None`.
        schema: The JSON of `schema_str`, or `None`.
        metadata: The collection's metadata.
        segment_metadata: The metadata of its vector segment.
    """
    losses: list[Loss] = []
    stored = _load(configuration, "configuration", losses)
    stored_schema = _load(schema, "schema", losses)
    index = read_vector_index(stored_schema)
    hnsw = _index_settings(stored, index, {**segment_metadata, **metadata})
    found = hnsw.get("space"), hnsw.get("max_neighbors")
    accepted: dict[str, Any] = {"hnsw": _accepted(hnsw, losses)}
    function = index.get("embedding_function") or stored.get("embedding_function")
    if function is not None:
        accepted["embedding_function"] = function
    clean = _clean_metadata(metadata, losses)
    _check_function(accepted, losses)
    space, neighbors = found
    return Settings(
        accepted,
        _key_indexes(stored_schema, losses),
        _parseable(accepted, clean, losses),
        space if isinstance(space, str) else None,
        neighbors if isinstance(neighbors, int) and 0 < neighbors < 1 << 12 else None,
        losses,
    )


def _load(text: object, what: str, losses: list[Loss]) -> Mapping[str, Any]:
    if text is None:
        return {}
    try:
        loaded = json.loads(text) if isinstance(text, str | bytes) else None
    except ValueError:
        loaded = None
    if isinstance(loaded, dict):
        return loaded
    if loaded is not None or text != "null":
        losses.append(Loss("collection", f"its {what} is damaged and was left out"))
    return {}


def _index_settings(
    stored: Mapping[str, Any], index: Mapping[str, Any], metadata: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the settings of the index; the first place that has one counts."""
    vector_index = _mapping(stored.get("vector_index"))
    legacy = {
        name: metadata[_PREFIX + key] for key, name in _LEGACY.items() if _PREFIX + key in metadata
    }
    early = _mapping(stored.get("hnsw_configuration"))
    places = [
        {"space": index.get("space")},
        _mapping(index.get("hnsw")),
        {"space": _mapping(index.get("spann")).get("space")},
        _mapping(vector_index.get("hnsw")),
        {"space": _mapping(vector_index.get("spann")).get("space")},
        _mapping(stored.get("hnsw")),
        legacy,
        # These are defaults of that release rather than settings, save for the space.
        {"space": early.get("space")},
    ]
    settings: dict[str, Any] = {}
    for place in places:
        for name in _NAMES:
            if place.get(name) is not None:
                settings.setdefault(name, place[name])
    return settings


def _accepted(settings: Mapping[str, Any], losses: list[Loss]) -> dict[str, Any]:
    """Return the settings that are within bounds."""
    accepted = {}
    for name, value in settings.items():
        try:
            parsed = HnswConfiguration().updated({name: value}, "hnsw", (*CHANGEABLE, *_NAMES))
        except ChromaError:
            reason = (
                f"its setting {name} is {shown(value)}, which is not allowed; the default is used"
            )
            losses.append(Loss("collection", reason))
        else:
            accepted[name] = getattr(parsed, name)
    return accepted


def _check_function(configuration: dict[str, Any], losses: list[Loss]) -> None:
    try:
        CollectionConfiguration.parse(configuration, None)
    except ChromaError as error:
        configuration.pop("embedding_function", None)
        reason = f"its embedding function is not accepted and was left out: {error.message()}"
        losses.append(Loss("collection", reason))


def _clean_metadata(metadata: Mapping[str, Any], losses: list[Loss]) -> dict[str, Any]:
    clean: dict[str, Any] = {}
    for key, value in metadata.items():
        try:
            clean.update(parse_collection_metadata({key: value}) or {})
        except (ChromaError, TypeError) as error:
            reason = f"the key {shown(key)} of its metadata is not accepted: {error}"
            losses.append(Loss("collection", reason))
    return clean


def _parseable(
    configuration: Mapping[str, Any], metadata: dict[str, Any], losses: list[Loss]
) -> dict[str, Any] | None:
    """Return metadata without settings that the target would refuse, which reads them as well."""
    try:
        CollectionConfiguration.parse(configuration, metadata)
    except ChromaError as error:
        metadata = {key: value for key, value in metadata.items() if not key.startswith(_PREFIX)}
        reason = f"the settings in its metadata were left out: {error.message()}"
        losses.append(Loss("collection", reason))
    return metadata or None


def _key_indexes(schema: Mapping[str, Any], losses: list[Loss]) -> dict[str, Any] | None:
    """Return the part of a schema about keys that differs from the defaults.

    Chroma adds every key that it finds in metadata to the schema, with the indexes of the defaults.
    """
    if not schema:
        return None
    defaults = _mapping(schema.get("defaults"))
    keys = {}
    for key, types in _mapping(schema.get("keys")).items():
        kept = {
            kind: index for kind, index in _mapping(types).items() if index != defaults.get(kind)
        }
        if kept and key != "#embedding":
            keys[key] = kept
    without_vectors = {kind: index for kind, index in defaults.items() if kind != "float_list"}
    try:
        filterable = read_filterable({"defaults": without_vectors, "keys": keys})
        if filterable == FilterableKeys():
            return None
        accepted = filterable_json(filterable)
        merge_schema(None, accepted)
    except ChromaError as error:
        reason = f"its schema is not accepted, and every key is indexed: {error.message()}"
        losses.append(Loss("collection", reason))
        return None
    return accepted


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
