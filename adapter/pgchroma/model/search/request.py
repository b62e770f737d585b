"""`Search`: one search, as an expression that can be read, changed and sent."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Self, TypeVar

from pgchroma.model.search.rank import Rank
from pgchroma.model.search.shape import GroupBy, Limit, Select
from pgchroma.model.search.where import Key, Where

__all__ = ("Search",)

T = TypeVar("T")


class Search:
    """Which records to look for, how to score them, and what to return of them.

    Each argument is an expression or the dictionary that it is sent as. The methods return a new
    search with one part replaced, so they can be chained.

    Args:
        where: A filter.
        rank: How records are scored; without it they come in insertion order.
        group_by: How many records of a group are kept.
        limit: A `Limit`, or the most results to return.
        select: A `Select`, or a list of fields.

    Raises:
        TypeError: A part has the wrong type.
        ValueError: A part is malformed.
    """

    def __init__(
        self,
        where: Where | Mapping[str, Any] | None = None,
        rank: Rank | Mapping[str, Any] | None = None,
        group_by: GroupBy | Mapping[str, Any] | None = None,
        limit: Limit | Mapping[str, Any] | int | None = None,
        select: Select | Mapping[str, Any] | list[str] | set[str] | None = None,
    ) -> None:
        if isinstance(limit, int):
            limit = {"limit": limit}
        if isinstance(select, list | set):
            select = {"keys": list(select)}
        read = _read
        self._where = read("where", where, Where, Where.from_dict)
        self._rank = read("rank", rank, Rank, Rank.from_dict)
        self._group_by = read("group_by", group_by, GroupBy, GroupBy.from_dict) or GroupBy()
        self._limit = read("limit", limit, Limit, Limit.from_dict, "dict, int") or Limit()
        self._select = (
            read("select", select, Select, Select.from_dict, "dict, list, set") or Select()
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the search as it is sent."""
        return {
            "filter": None if self._where is None else self._where.to_dict(),
            "rank": None if self._rank is None else self._rank.to_dict(),
            "group_by": self._group_by.to_dict(),
            "limit": self._limit.to_dict(),
            "select": self._select.to_dict(),
        }

    def where(self, where: Where | Mapping[str, Any] | None) -> Self:
        """Replace the filter."""
        return self._with(where=where)

    def rank(self, rank_expr: Rank | Mapping[str, Any] | None) -> Self:
        """Replace the score."""
        return self._with(rank=rank_expr)

    def group_by(self, group_by: GroupBy | Mapping[str, Any] | None) -> Self:
        """Replace the grouping."""
        return self._with(group_by=group_by)

    def limit(self, limit: int, offset: int = 0) -> Self:
        """Replace the page."""
        return self._with(limit=Limit(offset, limit))

    def select(self, *keys: Key | str) -> Self:
        """Replace the fields to return."""
        return self._with(select=Select(set(keys)))

    def select_all(self) -> Self:
        """Return document, embedding, metadata and score."""
        return self.select(Key.DOCUMENT, Key.EMBEDDING, Key.METADATA, Key.SCORE)

    def _with(self, **parts: Any) -> Self:
        mine = {
            "where": self._where,
            "rank": self._rank,
            "group_by": self._group_by,
            "limit": self._limit,
            "select": self._select,
        }
        return type(self)(**{**mine, **parts})


def _read(
    name: str,
    value: Any,
    kind: type[T],
    from_dict: Callable[[Mapping[str, Any]], T],
    others: str = "dict",
) -> T | None:
    if value is None or isinstance(value, kind):
        return value
    if isinstance(value, Mapping):
        return from_dict(value)
    raise TypeError(
        f"{name} must be a {kind.__name__} object, {others}, or None, got {type(value).__name__}"
    )
