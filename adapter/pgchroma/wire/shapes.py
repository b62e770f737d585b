"""Shapes that several requests and answers share, and the empty answer."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal, TypeAlias, cast

from msgspec import Meta, Struct

from pgchroma.model.limits import MAX_COUNT
from pgchroma.wire.route import Request

__all__ = (
    "PLAIN_COLUMNS",
    "Column",
    "Count",
    "Embedding",
    "Empty",
    "Generation",
    "Page",
    "Position",
    "Scalar",
    "Value",
    "clamp",
    "empty_response",
    "ignore_response",
    "sorted_columns",
)

Count: TypeAlias = Annotated[int, Meta(ge=0, le=MAX_COUNT)]
Position: TypeAlias = Annotated[int, Meta(ge=0, le=2**63 - 1)]
Generation: TypeAlias = Position
Scalar: TypeAlias = str | bool | int | float
SparseVector: TypeAlias = dict[str, Any]
Value: TypeAlias = Scalar | list[Scalar] | SparseVector
Embedding: TypeAlias = str | list[float]
Column: TypeAlias = Literal["distances", "documents", "embeddings", "metadatas", "uris"]

PLAIN_COLUMNS: Final = ("documents", "uris", "metadatas")
"""Columns of records whose values are JSON as they are, in the order in which they are sent."""


class Page(Struct):
    """A part of a list."""

    limit: Count | None = None
    offset: Count | None = None


class Empty(Struct):
    """An empty object."""


def clamp(count: int | None) -> int | None:
    """Return a limit or an offset, or the largest that can be sent, which has the same effect."""
    return None if count is None else min(count, MAX_COUNT)


def sorted_columns(include: frozenset[str]) -> list[Column]:
    """Return the names of columns in a fixed order."""
    return cast("list[Column]", sorted(include))


def empty_response(request: Request, answer: None) -> Any:
    """Return an empty object."""
    return {}


def ignore_response(operation: Any, body: Any) -> None:
    """Return nothing, for an answer whose body contains no information."""
