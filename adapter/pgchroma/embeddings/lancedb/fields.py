"""The methods of LanceDB's functions that typed records use: fields, length, both directions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

if TYPE_CHECKING:
    from pgchroma.embeddings.protocol import Embeddings

__all__ = ("LanceDBMethods", "SourceMarker", "VectorMarker", "as_inputs")


class LanceDBMethods:
    """The methods of LanceDB's functions, for a class that has Chroma's methods."""

    _ndims: int | None = None

    def ndims(self) -> int:
        """Return the length of the embeddings. The first call embeds a text."""
        if self._ndims is None:
            self._ndims = len(self.compute_source_embeddings(["a"])[0])
        return self._ndims

    # Subclasses of `TextEmbeddingFunction` may return lists of floats.
    def generate_embeddings(self, texts: Any) -> Any:
        """Embed texts to store: one float32 array each, in their order."""
        return self.compute_source_embeddings(texts)

    def compute_source_embeddings(self, texts: Any, *args: Any, **kwargs: Any) -> Embeddings:
        """Embed documents to store: one, or a list, an array or a series of them."""
        embeddings: Embeddings = self(as_inputs(texts))  # type: ignore[operator]
        return embeddings

    def compute_query_embeddings(self, query: Any, *args: Any, **kwargs: Any) -> Embeddings:
        """Embed one query or several."""
        embeddings: Embeddings = self.embed_query(as_inputs(query))  # type: ignore[attr-defined]
        return embeddings

    def SourceField(self, **kwargs: Any) -> Any:  # noqa: N802
        """Declare the field of a pydantic model to embed. Arguments are those of `Field`."""
        return _field(SourceMarker(self), kwargs)

    def VectorField(self, **kwargs: Any) -> Any:  # noqa: N802
        """Declare the field for the embedding, which is `None` until the record is stored."""
        return _field(VectorMarker(self), {"default": None, **kwargs})


class _FieldMarker:
    """Connects a field of a model with a function. Pydantic stores it as the schema extra."""

    kind: ClassVar[str]

    def __init__(self, function: Any) -> None:
        self.function = function

    def __call__(self, schema: dict[str, Any]) -> None:
        """Add the purpose of the field to the model's JSON schema."""
        schema["pgchroma"] = self.kind


class SourceMarker(_FieldMarker):
    """Marks the field to embed."""

    kind = "source"


class VectorMarker(_FieldMarker):
    """Marks the field for the embedding."""

    kind = "vector"


def as_inputs(value: Any) -> list[Any]:
    """Return one input, or a column of inputs from pandas, pyarrow or numpy, as a list."""
    if isinstance(value, str | bytes):
        return [value]
    if isinstance(value, np.ndarray) and value.dtype.kind not in "OUS":
        # One image. Several images are a list.
        return [value]
    if hasattr(value, "to_pylist"):
        return list(value.to_pylist())
    if hasattr(value, "tolist"):
        return list(value.tolist())
    return list(value) if isinstance(value, Sequence) else [value]


def _field(marker: _FieldMarker, settings: dict[str, Any]) -> Any:
    from pydantic import Field  # noqa: PLC0415

    return Field(json_schema_extra=marker, **settings)
