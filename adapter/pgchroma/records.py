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
    """A record of a table; any other pydantic model will do as well."""

    model_config = ConfigDict(protected_namespaces=(), arbitrary_types_allowed=True)


def Vector(length: int) -> Any:  # noqa: N802
    """Make the type of a field that holds an embedding: so many finite numbers.

    It takes a list, a tuple or an array, and gives a list of floats.

    Raises:
        ValueError: The length is no number above 0.
    """
    if isinstance(length, bool) or not isinstance(length, int) or length < 1:
        raise ValueError(f"Expected the length of a vector to be at least 1, got {length!r}")
    return Annotated[list[float], VectorOfLength(length)]


class VectorOfLength:
    """What `Vector` adds to the annotation of a field.

    Attributes:
        length: Of how many numbers it is.
    """

    def __init__(self, length: int) -> None:
        self.length = length

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        """Say how a value is checked, and that it is shown as it is."""
        shown = core_schema.plain_serializer_function_ser_schema(lambda value: value)
        return core_schema.no_info_plain_validator_function(self._check, serialization=shown)

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        """Describe it as an array of numbers."""
        bounds = {"minItems": self.length, "maxItems": self.length}
        return {"type": "array", "items": {"type": "number"}, **bounds}

    def _check(self, value: Any) -> list[float]:
        try:
            numbers: list[float] = as_vector(value, self.length).tolist()
        except ValueError as error:
            raise PydanticCustomError("vector", "{reason}", {"reason": str(error)}) from error
        return numbers


def as_vector(value: Any, length: int) -> NDArray[np.float64]:
    """Make an array of a vector.

    Raises:
        ValueError: It is not of this length, or has something else than finite numbers.
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
