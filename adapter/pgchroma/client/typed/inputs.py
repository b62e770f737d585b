"""The types of what a table's methods take: rows, ids and queries."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any, Protocol, TypeAlias, TypeVar
from uuid import UUID

from pydantic import BaseModel

from pgchroma.model.types import VectorLike

__all__ = ("IDLike", "IDsLike", "QueryLike", "RowsLike")

M = TypeVar("M", bound=BaseModel)


class _DataFrame(Protocol):
    """A DataFrame of pandas, which may not be installed."""

    def iterrows(self) -> Iterable[tuple[Any, Any]]: ...


class _ArrowTable(Protocol):
    """A table of pyarrow, which may not be installed."""

    def to_pylist(self) -> list[dict[str, Any]]: ...


class _Image(Protocol):
    """An image of Pillow, which may not be installed."""

    @property
    def __array_interface__(self) -> dict[str, Any]: ...


RowsLike: TypeAlias = (
    M | Mapping[str, Any] | Iterable[M | Mapping[str, Any]] | _DataFrame | _ArrowTable
)
IDLike: TypeAlias = str | int | UUID
IDsLike: TypeAlias = IDLike | Sequence[IDLike] | AbstractSet[IDLike]
QueryLike: TypeAlias = str | VectorLike | _Image | bytes
"""A text, a vector, or an image: an array, an image of Pillow, or the bytes of its file."""
