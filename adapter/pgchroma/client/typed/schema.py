"""The schema of a collection for a model, and whether a collection matches a model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, TypeVar

from pydantic import BaseModel

from pgchroma.client.schema.indexes import (
    BoolInvertedIndexConfig,
    FloatInvertedIndexConfig,
    HnswIndexConfig,
    IntInvertedIndexConfig,
    StringInvertedIndexConfig,
    VectorIndexConfig,
)
from pgchroma.client.schema.schema import Schema
from pgchroma.client.typed.fields import RecordFields
from pgchroma.embeddings.minilm.function import DefaultEmbeddingFunction
from pgchroma.embeddings.registry import embedding_function_to_config
from pgchroma.model.entities import CollectionModel
from pgchroma.model.filterable import ValueKind
from pgchroma.model.types import Space

__all__ = ("check_compatible", "check_only_model", "one_model", "table_schema")

M = TypeVar("M", bound=BaseModel)

_INDEXES: Final[dict[ValueKind, type[Any]]] = {
    "string": StringInvertedIndexConfig,
    "int": IntInvertedIndexConfig,
    "float": FloatInvertedIndexConfig,
    "bool": BoolInvertedIndexConfig,
}


def table_schema(
    fields: RecordFields,
    configuration: Mapping[str, Any] | None = None,
    space: Space | None = None,
) -> Schema:
    """Return the schema of a collection for a model, with an index for each field of one value.

    Args:
        fields: The fields of the model.
        configuration: Settings of the index of embeddings: ``{"hnsw": {…}}``.
        space: The distance. By default that of the configuration, else of the embedding function.

    Raises:
        ValueError: The configuration has other keys.
    """
    settings = dict(configuration or {})
    index = dict(settings.pop("hnsw", None) or {})
    if settings:
        raise ValueError(
            f"With a model, a configuration has the settings of hnsw alone, not {list(settings)}"
        )
    function = fields.function
    own: Space = "l2" if function is None else function.default_space()
    vectors = VectorIndexConfig(
        space=space or index.pop("space", own),
        embedding_function=function,
        hnsw=HnswIndexConfig(**index) if index else None,
    )
    schema = Schema().create_index(vectors)
    for name, field in fields.metadata.items():
        if not field.is_list:
            schema.create_index(_INDEXES[field.kind](), key=name)
    return schema


def one_model(model: type[M] | None, schema: type[M] | None) -> type[M]:
    """Return the model, which the caller passes under one of two names.

    Raises:
        TypeError: Neither argument or both are given, or the argument is not a model.
    """
    given = [each for each in (model, schema) if each is not None]
    if len(given) != 1 or not (isinstance(given[0], type) and issubclass(given[0], BaseModel)):
        raise TypeError(
            "create_table needs a pydantic model of the records, as `model` or as `schema`; add "
            "records to the table that it returns"
        )
    return given[0]


def check_only_model(schema: Schema | None, function: Any) -> None:
    """Refuse a schema, or a function other than the default, next to a model."""
    if schema is not None or not isinstance(function, DefaultEmbeddingFunction | None):
        raise ValueError("A model has its own schema and embedding function: pass no other")


def check_compatible(fields: RecordFields, collection: CollectionModel) -> None:
    """Refuse a collection whose embeddings do not match the model.

    Raises:
        ValueError: The embeddings have another length or another function.
    """
    if collection.dimension not in (None, fields.length):
        raise ValueError(
            f"The embeddings of collection {collection.name} have {collection.dimension} numbers, "
            f"and {fields.model.__name__}.{fields.vector} is a Vector({fields.length})"
        )
    persisted = collection.configuration.embedding_function
    if fields.function is None or persisted is None or persisted.get("type") != "known":
        return
    own = embedding_function_to_config(fields.function)
    if own.get("name", persisted["name"]) != persisted["name"]:
        raise ValueError(
            f"The embeddings of collection {collection.name} are made by {persisted['name']}, and "
            f"those of {fields.model.__name__} by {own['name']}"
        )
    fields.function.validate_config_update(
        dict(persisted.get("config") or {}), dict(own.get("config") or {})
    )
