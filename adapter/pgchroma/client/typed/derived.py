"""The model of a table that is opened without one, derived from the stored collection."""

from __future__ import annotations

from typing import Any, Final

from pydantic import BaseModel, create_model

from pgchroma.model.entities import CollectionModel
from pgchroma.records import Record, Vector

__all__ = ("derived_model",)

_TYPES: Final = {"string": str, "int": int, "float": float, "bool": bool}


def derived_model(collection: CollectionModel, function: Any) -> type[BaseModel]:
    """Return a model with an `id`, a `text`, a `vector` and a field for each listed metadata key.

    The collection's schema lists the keys; the schema of a table lists the fields of one value.
    Every field can be None.

    Args:
        collection: The collection.
        function: The function that the collection stores. Without one, the model has no text, and
            its records are searched by vectors.

    Raises:
        ValueError: The length of the vector is not known yet.
    """
    length = collection.dimension
    if length is None and function is not None:
        length = function.ndims()
    if length is None:
        raise ValueError(
            f"Collection {collection.name} has no records yet, so the length of its vectors is not "
            "known: pass the model to open_table"
        )
    fields: dict[str, Any] = {
        key: (_TYPES[kind] | None, None)
        for key in collection.configuration.filterable.declared_keys()
        for kind, is_on in collection.configuration.filterable.keys[key].items()
        if is_on
    }
    fields["id"] = (str | None, None)
    vector = _free("vector", fields)
    fields[vector] = (Vector(length) | None, None)
    if function is not None:
        fields[vector] = (Vector(length) | None, function.VectorField())
        fields[_free("text", fields)] = (str | None, function.SourceField(default=None))
    return create_model(collection.name, __base__=Record, **fields)


def _free(name: str, fields: dict[str, Any]) -> str:
    while name in fields:
        name += "_"
    return name
