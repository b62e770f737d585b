"""What a search returns of the ranked records: which of them, and which of their fields."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from pgchroma.model.search.where import Key

__all__ = ("Aggregate", "GroupBy", "Limit", "MaxK", "MinK", "Select")


@dataclass
class Limit:
    """A page of the results.

    Attributes:
        offset: How many results to skip.
        limit: The most results to return; None for all.
    """

    offset: int = 0
    limit: int | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the page as it is sent."""
        page = {"offset": self.offset}
        return page if self.limit is None else {**page, "limit": self.limit}

    @staticmethod
    def from_dict(data: Mapping[str, Any]) -> Limit:
        """Read what `to_dict` returns.

        Raises:
            TypeError: A part has the wrong type.
            ValueError: A number is out of range, or a key is unknown.
        """
        _check_mapping("Limit", data)
        offset, limit = data.get("offset", 0), data.get("limit")
        _check_integer("Limit offset", offset)
        if offset < 0:
            raise ValueError(f"Limit offset must be non-negative, got {offset}")
        if limit is not None:
            _check_integer("Limit limit", limit)
            if limit <= 0:
                raise ValueError(f"Limit limit must be positive, got {limit}")
        _check_keys("Limit", data, {"offset", "limit"})
        return Limit(offset, limit)


@dataclass
class Select:
    """The fields to return: special ones of `Key`, and metadata keys."""

    keys: set[Key | str] = field(default_factory=set)

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as they are sent."""
        return {"keys": list(dict.fromkeys(_names(self.keys)))}

    @staticmethod
    def from_dict(data: Mapping[str, Any]) -> Select:
        """Read what `to_dict` returns.

        Raises:
            TypeError: A part has the wrong type.
            ValueError: A key of the dictionary is unknown.
        """
        _check_mapping("Select", data)
        keys = data.get("keys", [])
        if not isinstance(keys, list | tuple | set):
            raise TypeError(f"Select keys must be a list/tuple/set, got {type(keys).__name__}")
        for key in keys:
            if not isinstance(key, str):
                raise TypeError(f"Select key must be a string, got {type(key).__name__}")
        _check_keys("Select", data, {"keys"})
        return Select({Key(key) for key in keys})


@dataclass
class Aggregate:
    """Which records of a group are kept."""

    keys: Key | str | Sequence[Key | str]
    k: int

    _operator: ClassVar[str]

    def to_dict(self) -> dict[str, Any]:
        """Return ``{operator: {"keys": […], "k": …}}``."""
        keys = self.keys if isinstance(self.keys, list | tuple) else [self.keys]
        return {self._operator: {"keys": _names(keys), "k": self.k}}

    @staticmethod
    def from_dict(data: Mapping[str, Any]) -> Aggregate:
        """Read what `to_dict` returns.

        Raises:
            TypeError: A part has the wrong type.
            ValueError: A part is missing, unknown or out of range.
        """
        _check_mapping("Aggregate", data)
        if not data:
            raise ValueError("Aggregate dict cannot be empty")
        if len(data) != 1:
            raise ValueError(f"Aggregate dict must contain exactly one operator, got {len(data)}")
        ((operator, settings),) = data.items()
        for kind in (MinK, MaxK):
            if kind._operator == operator:
                return kind(*_read_aggregate(operator, settings))
        raise ValueError(f"Unknown aggregate operator: {operator}")


class MinK(Aggregate):
    """The `k` records of a group with the least values under the keys."""

    _operator = "$min_k"


class MaxK(Aggregate):
    """The `k` records of a group with the greatest values under the keys."""

    _operator = "$max_k"


@dataclass
class GroupBy:
    """Records grouped by metadata values; of each group, those that the aggregate keeps."""

    keys: Key | str | Sequence[Key | str] = field(default_factory=list)
    aggregate: Aggregate | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the grouping as it is sent; an empty dictionary without keys."""
        keys = self.keys if isinstance(self.keys, list | tuple) else [self.keys]
        if not keys or self.aggregate is None:
            return {}
        return {"keys": _names(keys), "aggregate": self.aggregate.to_dict()}

    @staticmethod
    def from_dict(data: Mapping[str, Any]) -> GroupBy:
        """Read what `to_dict` returns.

        Raises:
            TypeError: A part has the wrong type.
            ValueError: A part is missing or unknown.
        """
        _check_mapping("GroupBy", data)
        if not data:
            return GroupBy()
        for name in ("keys", "aggregate"):
            if name not in data:
                raise ValueError(f"GroupBy requires '{name}' field")
        keys, aggregate = data["keys"], data["aggregate"]
        _check_list("GroupBy", keys)
        if not isinstance(aggregate, Mapping):
            raise TypeError(f"GroupBy aggregate must be a dict, got {type(aggregate).__name__}")
        _check_keys("GroupBy", data, {"keys", "aggregate"})
        return GroupBy(_keys(keys), Aggregate.from_dict(aggregate))


def _read_aggregate(operator: str, settings: Any) -> tuple[list[Key | str], int]:
    if not isinstance(settings, Mapping):
        raise TypeError(f"{operator} requires a dict, got {type(settings).__name__}")
    for name in ("keys", "k"):
        if name not in settings:
            raise ValueError(f"{operator} requires '{name}' field")
    keys, k = settings["keys"], settings["k"]
    _check_list(operator, keys)
    _check_integer(f"{operator} k", k)
    if k <= 0:
        raise ValueError(f"{operator} k must be positive, got {k}")
    return _keys(keys), k


def _names(keys: Any) -> list[str]:
    return [key.name if isinstance(key, Key) else key for key in keys]


def _keys(names: Any) -> list[Key | str]:
    return [Key(name) if isinstance(name, str) else name for name in names]


def _check_mapping(what: str, data: Any) -> None:
    if not isinstance(data, Mapping):
        raise TypeError(f"Expected dict for {what}, got {type(data).__name__}")


def _check_list(what: str, keys: Any) -> None:
    if not isinstance(keys, list | tuple):
        raise TypeError(f"{what} keys must be a list, got {type(keys).__name__}")
    if not keys:
        raise ValueError(f"{what} keys cannot be empty")


def _check_integer(what: str, value: Any) -> None:
    if not isinstance(value, int):
        raise TypeError(f"{what} must be an integer, got {type(value).__name__}")


def _check_keys(what: str, data: Mapping[str, Any], allowed: set[str]) -> None:
    if unexpected := data.keys() - allowed:
        raise ValueError(f"Unexpected keys in {what} dict: {unexpected}")
