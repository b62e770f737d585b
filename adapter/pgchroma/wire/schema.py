"""Schemas on the wire: the shape of a request's, and the configuration that an answer's tells."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from pgchroma.errors import MalformedRequestError
from pgchroma.model.configuration import CollectionConfiguration, HnswConfiguration
from pgchroma.model.schema import read_indexed, read_vector_index
from pgchroma.wire.configuration import VectorIndexBody

__all__ = ("check_shape", "decode_configuration")


def check_shape(schema: Mapping[str, Any] | None) -> None:
    """Refuse a schema whose vector index has a setting that is misspelt or of another type.

    Raises:
        MalformedRequestError: It has.
    """
    try:
        msgspec.convert(read_vector_index(schema or {}), VectorIndexBody)
    except msgspec.ValidationError as error:
        raise MalformedRequestError(
            "Failed to deserialize the JSON body into the target type: schema: "
            f"the vector index's config: {error}"
        ) from error


def decode_configuration(
    configuration: Mapping[str, Any], schema: Mapping[str, Any] | None
) -> CollectionConfiguration:
    """Read a collection's configuration from what a server shows of it.

    The schema has settings that the configuration hides, and the configuration has one that the
    schema hides. Only the schema tells whether there is no embedding function, or whether nothing
    was said of one. A server may know settings that we do not; those are passed over.
    """
    known = set(HnswConfiguration.__dataclass_fields__)
    index = configuration.get("hnsw") or configuration.get("spann") or {}
    shown = read_vector_index(schema or {})
    settings = {**shown.get("hnsw", {}), **index}
    function = configuration.get("embedding_function")
    if function is None and shown and "embedding_function" not in shown:
        function = {"type": "unknown"}
    hnsw = {key: value for key, value in settings.items() if key in known}
    return CollectionConfiguration(
        HnswConfiguration.read({key: value for key, value in hnsw.items() if value is not None}),
        function,
        read_indexed(schema or {}),
    )
