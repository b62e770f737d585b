"""How a collection appears in SQL."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

__all__ = ("CollectionView", "ColumnType")

ColumnType: TypeAlias = Literal["bigint", "double precision", "boolean", "text"]


@dataclass(frozen=True, slots=True)
class CollectionView:
    """The view of a collection in its database's schema.

    Attributes:
        schema: The schema's name.
        name: The view's name.
        dimension: The number of dimensions of the embeddings. None until one is written.
        keys: The metadata keys that have a column, each with the column's type, in their order.
    """

    schema: str
    name: str
    dimension: int | None
    keys: tuple[tuple[str, ColumnType], ...] = ()
