"""The filters: each matches a known part of all records, another part at each call."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from scale.dataset import Dataset
from workload import text_filters

KEYS = {0.1: "tenth", 0.01: "percent", 0.001: "permille"}
"""The part that has one value of a key, to the key."""


@dataclass(frozen=True)
class Condition:
    """A filter as Chroma takes it, and the numbers of the records that match it."""

    matching: np.ndarray
    where: dict[str, Any] | None = None
    where_document: dict[str, str] | None = None


Filter = Callable[[int], Condition]
"""Returns a condition of the same shape for any number."""


def metadata_filters(size: int) -> dict[str, Filter]:
    """Return equality and range at every part, by name."""
    filters: dict[str, Filter] = {}
    for part, key in KEYS.items():
        filters[f"equality {part * 100:g} %"] = _equality(size, key, round(1 / part))
        filters[f"range {part * 100:g} %"] = _range(size, max(1, round(size * part)))
    return filters


def document_filters(data: Dataset) -> dict[str, Filter]:
    """Return a rare and a common text and pattern, by name."""
    wheres = text_filters({"documents": data.documents})
    return {name: _document(where) for name, where in wheres.items()}


def contains_filters(data: Dataset) -> dict[str, Filter]:
    """Return the texts among them, with the records that have them."""
    wheres = text_filters({"documents": data.documents})
    filters: dict[str, Filter] = {}
    for name, where in wheres.items():
        if text := where.get("$contains"):
            having = np.array([n for n, document in enumerate(data.documents) if text in document])
            filters[name] = _document(where, having)
    return filters


def _equality(size: int, key: str, values: int) -> Filter:
    def condition(number: int) -> Condition:
        value = number * 7 % values
        return Condition(np.arange(value, size, values), where={key: value})

    return condition


def _range(size: int, width: int) -> Filter:
    def condition(number: int) -> Condition:
        first = number * 7_919 % (size - width + 1)
        bounds = [{"n": {"$gte": first}}, {"n": {"$lt": first + width}}]
        return Condition(np.arange(first, first + width), where={"$and": bounds})

    return condition


def _document(where: dict[str, str], matching: np.ndarray | None = None) -> Filter:
    numbers = np.arange(0) if matching is None else matching
    return lambda _: Condition(numbers, where_document=where)
