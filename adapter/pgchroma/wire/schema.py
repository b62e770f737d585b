"""Schemas: the check of a request's, and the configuration that an answer's contains."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from pgchroma.errors import MalformedRequestError
from pgchroma.model.configuration import CollectionConfiguration
from pgchroma.model.discovery import DiscoveredKeys
from pgchroma.model.hnsw import HnswConfiguration
from pgchroma.model.schema import read_filterable, read_vector_index, without_discovered
from pgchroma.model.spann import SpannConfiguration
from pgchroma.wire.configuration import VectorIndexBody

__all__ = ("check_shape", "decode_configuration")


def check_shape(schema: Mapping[str, Any] | None) -> None:
    """Check the settings of a schema's vector index.

    Raises:
        MalformedRequestError: A setting is misspelt or has the wrong type.
    """
    try:
        msgspec.convert(read_vector_index(schema or {}), VectorIndexBody)
    except msgspec.ValidationError as error:
        raise MalformedRequestError(
            "Failed to deserialize the JSON body into the target type: schema: "
            f"the vector index's config: {error}"
        ) from error


def decode_configuration(
    configuration: Mapping[str, Any],
    schema: Mapping[str, Any] | None,
    discovered: DiscoveredKeys,
) -> CollectionConfiguration:
    """Return a collection's configuration from the two forms in which a server sends it.

    The schema has settings that the configuration lacks, and the configuration has two that the
    schema lacks. Only the schema distinguishes a collection without an embedding function from one
    whose function was never named. Settings that this version does not know are ignored.

    Args:
        configuration: The first form.
        schema: The second form, if the server sends it.
        discovered: The keys that the schema has because they were found in metadata.
    """
    vector_index = read_vector_index(schema or {})
    function = configuration.get("embedding_function")
    if function is None and vector_index and "embedding_function" not in vector_index:
        function = {"type": "unknown"}
    filterable = read_filterable(without_discovered(schema or {}, discovered))
    text = configuration.get("text")
    if text is not None:
        filterable = filterable.with_text(text["language"], text["average_length"])
    hnsw, spann = _decode_index(configuration, vector_index)
    return CollectionConfiguration(hnsw, function, filterable, spann)


def _decode_index(
    configuration: Mapping[str, Any], vector_index: Mapping[str, Any]
) -> tuple[HnswConfiguration, SpannConfiguration | None]:
    shown = configuration.get("spann")
    if shown is not None:
        spann = SpannConfiguration.read({**(vector_index.get("spann") or {}), **shown})
        return HnswConfiguration.in_place_of(spann, shown.get("space") or "l2"), spann
    settings = {**(vector_index.get("hnsw") or {}), **(configuration.get("hnsw") or {})}
    known = HnswConfiguration.__dataclass_fields__.keys() & settings.keys()
    return HnswConfiguration.read(
        {key: settings[key] for key in known if settings[key] is not None}
    ), None
