"""What a first pass over the records of a collection finds out before a second one writes them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from pgchroma.model.records import RecordBatch
from pgchroma.transfer.coordinates import Projection

__all__ = ("ColumnKind", "Profile")

ColumnKind: TypeAlias = Literal[
    "bool", "int", "float", "string", "bools", "ints", "floats", "strings", "json"
]
"""The type of a key's values: a scalar, a list of scalars, or several types as JSON."""

_KINDS: dict[type, ColumnKind] = {bool: "bool", int: "int", float: "float", str: "string"}
_LISTS: dict[type, ColumnKind] = {bool: "bools", int: "ints", float: "floats", str: "strings"}


@dataclass(slots=True)
class Profile:
    """The records of a collection in numbers.

    Attributes:
        count: How many there are.
        dimension: The length of their embeddings, if any has one.
        projection: Projects embeddings on a plane; `None` if that is not wanted.
    """

    count: int = 0
    dimension: int | None = None
    projection: Projection | None = None
    _kinds: dict[str, set[ColumnKind]] = field(default_factory=dict)
    _uses: Counter[str] = field(default_factory=Counter)

    def add(self, records: RecordBatch) -> None:
        """Take records into account."""
        self.count += len(records)
        if records.embeddings is not None:
            self.dimension = records.dimension
            if self.projection is not None:
                self.projection.add(records.embeddings)
        for metadata in records.metadatas or ():
            for key, value in (metadata or {}).items():
                self._uses[key] += 1
                self._kinds.setdefault(key, set()).add(_kind(value))

    def columns(self, limit: int) -> Mapping[str, ColumnKind]:
        """Return the most frequent keys, in order of their first occurrence, with their types.

        Sparse vectors have no column. A key with integers and floats has floats.
        """
        frequent = {key for key, _ in self._uses.most_common(limit)}
        columns: dict[str, ColumnKind] = {}
        for key, kinds in self._kinds.items():
            if key in frequent and kinds != {"json"}:
                columns[key] = _common(kinds)
        return columns


def _kind(value: Any) -> ColumnKind:
    if isinstance(value, list):
        return _LISTS[type(value[0])]
    return _KINDS.get(type(value), "json")


def _common(kinds: set[ColumnKind]) -> ColumnKind:
    if len(kinds) == 1:
        return next(iter(kinds))
    if kinds == {"int", "float"}:
        return "float"
    return "floats" if kinds == {"ints", "floats"} else "json"
