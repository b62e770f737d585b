"""Typed records: models whose fields are a collection's document, vector and metadata.

class Article(Record):
    text: str = function.SourceField()
    vector: Vector(function.ndims()) = function.VectorField()
    year: int

table = client.create_table("articles", Article)
"""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

__all__ = ("Record", "Vector", "VectorOfLength", "as_vector")


class Record(BaseModel):
    """A record of a table. Any other pydantic model can be used as well."""

    model_config = ConfigDict(protected_namespaces=(), arbitrary_types_allowed=True)


def Vector(length: int) -> Any:  # noqa: N802
    """Return the type of a field that contains an embedding: a number of finite numbers.

    The field accepts a list, a tuple or an array, and becomes a list of floats. Type checkers do
    not allow calls in annotations; for them, write ``Annotated[list[float], VectorOfLength(384)]``.

    Raises:
        ValueError: The length is not a positive int.
    """
    if isinstance(length, bool) or not isinstance(length, int) or length < 1:
        raise ValueError(f"Expected the length of a vector to be at least 1, got {length!r}")
    return Annotated[list[float], VectorOfLength(length)]


class VectorOfLength:
    """The mark that `Vector` adds to the annotation of a field.

    Attributes:
        length: The length of the embedding.
    """

    def __init__(self, length: int) -> None:
        self.length = length

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        """Validate values with `as_vector`, and serialize them unchanged."""
        shown = core_schema.plain_serializer_function_ser_schema(lambda value: value)
        return core_schema.no_info_plain_validator_function(self._check, serialization=shown)

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        """Describe the field as an array of numbers."""
        bounds = {"minItems": self.length, "maxItems": self.length}
        return {"type": "array", "items": {"type": "number"}, **bounds}

    def _check(self, value: Any) -> list[float]:
        try:
            numbers: list[float] = as_vector(value, self.length).tolist()
        except ValueError as error:
            raise PydanticCustomError("vector", "{reason}", {"reason": str(error)}) from error
        return numbers


def as_vector(value: Any, length: int) -> NDArray[np.float64]:
    """Return a vector as an array.

    Raises:
        ValueError: The vector has another length, or a value is not a finite number.
    """
    expected = f"Expected a vector of {length} finite numbers"
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise ValueError(f"{expected}, got {value!r:.80}") from error
    if array.ndim != 1 or array.dtype.kind not in "fiu":
        raise ValueError(f"{expected}, got {value!r:.80}")
    if len(array) != length:
        raise ValueError(f"{expected}, got {len(array)}")
    if not np.isfinite(array).all():
        raise ValueError(f"{expected}, got NaN or infinity")
    return array.astype(np.float64)
