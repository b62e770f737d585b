"""The configuration of a collection of a source, and of the collection that a target creates."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from pgchroma.errors import ChromaError
from pgchroma.model.configuration import CollectionConfiguration
from pgchroma.model.hnsw import SPACES, HnswConfiguration
from pgchroma.model.metadata import parse_collection_metadata
from pgchroma.transfer.source import Loss, SourceCollection
from pgchroma.wire.schema import decode_configuration

__all__ = ("clean_metadata", "creation_json", "read_configuration", "space_of")


def read_configuration(
    collection: SourceCollection,
) -> tuple[CollectionConfiguration, list[Loss]]:
    """Return the configuration of a collection, with defaults for what cannot be read."""
    losses = []
    try:
        configuration = decode_configuration(collection.configuration, collection.schema, {})
        _check_space(configuration)
    except (ChromaError, KeyError, TypeError, ValueError, AttributeError) as error:
        reason = f"its configuration cannot be read ({error}); the default is used"
        losses.append(Loss("collection", reason))
        configuration = CollectionConfiguration(HnswConfiguration())
    if configuration.hnsw != HnswConfiguration() or not collection.metadata:
        return configuration, losses
    try:
        # Before version 1.0, Chroma stored these settings in the metadata.
        hnsw = HnswConfiguration.from_metadata(collection.metadata)
    except ChromaError:
        return configuration, losses
    return (
        CollectionConfiguration(
            hnsw, configuration.embedding_function, configuration.filterable, configuration.spann
        ),
        losses,
    )


def creation_json(configuration: CollectionConfiguration) -> dict[str, Any]:
    """Return the configuration of a request that creates such a collection."""
    shown = {key: value for key, value in configuration.to_json().items() if value is not None}
    if configuration.spann is None:
        defaults = asdict(HnswConfiguration(space=configuration.hnsw.space))
        settings = asdict(configuration.hnsw)
        changed = {key: value for key, value in settings.items() if value != defaults[key]}
        shown["hnsw"] = {"space": configuration.hnsw.space, **changed}
    function = configuration.embedding_function
    if function is not None:
        shown["embedding_function"] = function
    return shown


def clean_metadata(
    collection: SourceCollection,
) -> tuple[dict[str, Any] | None, list[Loss]]:
    """Return the metadata of a collection that a target can store."""
    clean: dict[str, Any] = {}
    losses = []
    for key, value in (collection.metadata or {}).items():
        if value is None:
            continue
        try:
            clean.update(parse_collection_metadata({key: value}) or {})
        except (ChromaError, TypeError) as error:
            losses.append(Loss("collection", str(error)))
    return clean or None, losses


def space_of(collection: SourceCollection) -> str:
    """Return the distance of a collection."""
    return read_configuration(collection)[0].hnsw.space


def _check_space(configuration: CollectionConfiguration) -> None:
    if configuration.hnsw.space not in SPACES:
        raise ValueError(f"unknown distance {configuration.hnsw.space!r:.40}")
