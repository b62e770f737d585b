"""Models and collections brought together: what one made for a model is like, and which fit it."""

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
from pgchroma.model.filterable import Kind
from pgchroma.model.types import Space

__all__ = ("check_compatible", "check_only_model", "one_model", "table_schema")

M = TypeVar("M", bound=BaseModel)

_INDEXES: Final[dict[Kind, type[Any]]] = {
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
    """Make the schema of a collection for a model: an index of each field of one value.

    Args:
        fields: The model's.
        configuration: Settings of the index of embeddings: ``{"hnsw": {…}}``.
        space: The distance; None: the configuration's, or else the embedding function's own.

    Raises:
        ValueError: The configuration has something else.
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
    """Return the model, which is given under one of its two names.

    Raises:
        TypeError: It is given under none, or under both, or is not a model.
    """
    given = [each for each in (model, schema) if each is not None]
    if len(given) != 1 or not (isinstance(given[0], type) and issubclass(given[0], BaseModel)):
        raise TypeError(
            "create_table needs a pydantic model of the records, as `model` or as `schema`; add "
            "records to the table that it returns"
        )
    return given[0]


def check_only_model(schema: Schema | None, function: Any) -> None:
    """Refuse what a model already says; the default function is what nobody gave."""
    if schema is not None or not isinstance(function, DefaultEmbeddingFunction | None):
        raise ValueError("A model has its own schema and embedding function: give no other")


def check_compatible(fields: RecordFields, collection: CollectionModel) -> None:
    """Refuse a collection whose embeddings are not the model's.

    Raises:
        ValueError: They have another length or come from another function.
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
