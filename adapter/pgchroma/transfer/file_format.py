"""How a file describes the collection that it holds: pgchroma's part of JSON Lines and Parquet."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import orjson

from pgchroma.errors import InvalidArgumentError
from pgchroma.model.names import DEFAULT_DATABASE, DEFAULT_TENANT
from pgchroma.transfer.source import SourceCollection

__all__ = ("DESCRIPTION", "describe_collection", "read_description")

DESCRIPTION: Final = "pgchroma"
"""The key of the description, in the first line of JSON Lines and in the metadata of Parquet."""

VERSION: Final = 1


def describe_collection(collection: SourceCollection, count: int | None) -> dict[str, Any]:
    """Return the description of a collection."""
    return {
        "version": VERSION,
        "name": collection.name,
        "tenant": collection.tenant,
        "database": collection.database,
        "metadata": None if collection.metadata is None else dict(collection.metadata),
        "configuration": dict(collection.configuration),
        "schema": None if collection.schema is None else dict(collection.schema),
        "dimension": collection.dimension,
        "count": count,
    }


def read_description(description: Any, key: str) -> SourceCollection:
    """Return the collection that a file describes.

    Args:
        description: What `describe_collection` returned, from JSON.
        key: What identifies the collection within its source.

    Raises:
        InvalidArgumentError: It is not a description, or one of a newer version.
    """
    if not isinstance(description, Mapping) or not isinstance(description.get("name"), str):
        raise InvalidArgumentError("the description of the collection has no name")
    if description.get("version") != VERSION:
        raise InvalidArgumentError(
            f"the description of the collection has version {description.get('version')!r:.20}, "
            f"and this pgchroma reads version {VERSION}; upgrade pgchroma"
        )
    count, dimension = description.get("count"), description.get("dimension")
    return SourceCollection(
        key,
        description["name"],
        str(description.get("tenant") or DEFAULT_TENANT),
        str(description.get("database") or DEFAULT_DATABASE),
        _object(description, "metadata") or None,
        _object(description, "configuration") or {},
        _object(description, "schema"),
        dimension if isinstance(dimension, int) else None,
        count if isinstance(count, int) else None,
    )


def encode(value: Any) -> bytes:
    """Return JSON; numbers of float32 arrays get the fewest digits that are read back the same."""
    return orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY)


def _object(description: Mapping[str, Any], name: str) -> Mapping[str, Any] | None:
    value = description.get(name)
    if value is not None and not isinstance(value, Mapping):
        raise InvalidArgumentError(f"the {name} in the description of the collection is no object")
    return value
