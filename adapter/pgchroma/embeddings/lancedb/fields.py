"""What typed records ask of an embedding function: its fields, its length, its two directions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

if TYPE_CHECKING:
    from pgchroma.embeddings.protocol import Embeddings

__all__ = ("LanceDBMethods", "SourceMarker", "VectorMarker", "as_inputs")


class LanceDBMethods:
    """Beside Chroma's methods those of LanceDB's functions, on top of ``__call__``."""

    _ndims: int | None = None

    def ndims(self) -> int:
        """The length of this function's embeddings; unless it is known, one is made."""
        if self._ndims is None:
            self._ndims = len(self.compute_source_embeddings(["a"])[0])
        return self._ndims

    def generate_embeddings(self, texts: Any) -> Embeddings:
        """Embed texts to be stored; one float32 array each, in their order."""
        return self.compute_source_embeddings(texts)

    def compute_source_embeddings(self, texts: Any, *args: Any, **kwargs: Any) -> Embeddings:
        """Embed what is to be stored: one input, or a list, an array or a series of them."""
        made: Embeddings = self(as_inputs(texts))  # type: ignore[operator]
        return made

    def compute_query_embeddings(self, query: Any, *args: Any, **kwargs: Any) -> Embeddings:
        """Embed what is searched for: one input, or several."""
        made: Embeddings = self.embed_query(as_inputs(query))  # type: ignore[attr-defined]
        return made

    def SourceField(self, **kwargs: Any) -> Any:  # noqa: N802
        """Declare the field of a pydantic model that is embedded; takes what `Field` takes."""
        return _field(SourceMarker(self), kwargs)

    def VectorField(self, **kwargs: Any) -> Any:  # noqa: N802
        """Declare the field that holds the embedding; None until the record is stored."""
        return _field(VectorMarker(self), {"default": None, **kwargs})


class _FieldOf:
    """Ties a field of a model to a function; pydantic keeps it as the field's schema extra."""

    kind: ClassVar[str]

    def __init__(self, function: Any) -> None:
        self.function = function

    def __call__(self, schema: dict[str, Any]) -> None:
        """Say in the model's JSON schema what the field is for."""
        schema["pgchroma"] = self.kind


class SourceMarker(_FieldOf):
    """Marks the field that is embedded."""

    kind = "source"


class VectorMarker(_FieldOf):
    """Marks the field that holds the embedding."""

    kind = "vector"


def as_inputs(given: Any) -> list[Any]:
    """Make a list of one input, or of a column of them: of pandas, pyarrow or numpy."""
    if isinstance(given, str | bytes):
        return [given]
    if isinstance(given, np.ndarray) and given.dtype.kind not in "OUS":
        # One image; a batch of them is a list.
        return [given]
    if hasattr(given, "to_pylist"):
        return list(given.to_pylist())
    if hasattr(given, "tolist"):
        return list(given.tolist())
    return list(given) if isinstance(given, Sequence) else [given]


def _field(mark: _FieldOf, settings: dict[str, Any]) -> Any:
    from pydantic import Field  # noqa: PLC0415

    return Field(json_schema_extra=mark, **settings)
