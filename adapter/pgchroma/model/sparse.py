"""Sparse vectors: the few dimensions that are not zero."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self, TypeAlias

from pgchroma.errors import UnimplementedError

__all__ = (
    "SPARSE_VECTOR_TYPE",
    "TYPE_KEY",
    "SparseVector",
    "SparseVectors",
    "is_sparse",
    "sparse_error",
)

TYPE_KEY = "#type"
SPARSE_VECTOR_TYPE = "sparse_vector"

_LAST_INDEX = 2**32 - 1
"""Chroma stores indices in 32 bits."""


@dataclass(frozen=True, slots=True)
class SparseVector:
    """A vector as parallel lists.

    Attributes:
        indices: The dimensions, strictly ascending.
        values: The values of these dimensions.
        labels: Their labels, such as tokens; `None` if they are unknown.

    Raises:
        ValueError: The lists have different lengths, an index is not an integer from 0 to
            2**32 - 1, the indices do not ascend, a value is not a finite number, or a label is not
            a string.
    """

    indices: list[int]
    values: list[float]
    labels: list[str] | None = None

    def __post_init__(self) -> None:
        self._check_lists()
        for position, index in enumerate(self.indices):
            self._check_index(index, position)
        for position, value in enumerate(self.values):
            _check_value(value, position)
        for position, label in enumerate(self.labels or ()):
            if not isinstance(label, str):
                raise _kind_error("labels must be strings", label, position)

    def _check_lists(self) -> None:
        lists: dict[str, Any] = {"indices": self.indices, "values": self.values}
        if self.labels is not None:
            lists["labels"] = self.labels
        for name, items in lists.items():
            if not isinstance(items, list):
                raise ValueError(
                    f"Expected SparseVector {name} to be a list, got {type(items).__name__}"
                )
        lengths = {name: len(items) for name, items in lists.items()}
        if len(set(lengths.values())) > 1:
            counted = ", ".join(f"{length} {name}" for name, length in lengths.items())
            raise ValueError(
                f"SparseVector {' and '.join(lists)} must have the same length, got {counted}"
            )

    def _check_index(self, index: object, position: int) -> None:
        if not isinstance(index, int) or isinstance(index, bool):
            raise _kind_error("indices must be integers", index, position)
        if index < 0:
            raise ValueError(
                f"SparseVector indices must be non-negative, got {index} at position {position}"
            )
        if index > _LAST_INDEX:
            raise ValueError(
                f"SparseVector indices must be at most {_LAST_INDEX}, got {index!r:.40} at "
                f"position {position}"
            )
        if position and index <= self.indices[position - 1]:
            raise ValueError(
                "SparseVector indices must be sorted in strictly ascending order, found "
                f"indices[{position}]={index} <= indices[{position - 1}]="
                f"{self.indices[position - 1]}"
            )

    def to_dict(self) -> dict[str, Any]:
        """Return the form that is sent, where labels are called tokens."""
        written = {TYPE_KEY: SPARSE_VECTOR_TYPE, "indices": self.indices, "values": self.values}
        return written if self.labels is None else {**written, "tokens": self.labels}

    @classmethod
    def from_dict(cls, d: Mapping[str, Any]) -> Self:
        """Parse the result of `to_dict`.

        Raises:
            ValueError: It is not the form of a sparse vector.
        """
        if d.get(TYPE_KEY) != SPARSE_VECTOR_TYPE:
            raise ValueError(
                f"Expected {TYPE_KEY}='{SPARSE_VECTOR_TYPE}', got {d.get(TYPE_KEY)!r:.100}"
            )
        if missing := {"indices", "values"} - d.keys():
            raise ValueError(f"Expected a sparse vector to have {', '.join(sorted(missing))}")
        return cls(d["indices"], d["values"], d.get("tokens"))


SparseVectors: TypeAlias = list[SparseVector]


def is_sparse(value: object) -> bool:
    """Whether a metadata value is a sparse vector or its dictionary form."""
    if isinstance(value, Mapping):
        return value.get(TYPE_KEY) == SPARSE_VECTOR_TYPE
    return isinstance(value, SparseVector)


def sparse_error(key: str) -> UnimplementedError:
    """Return the error of a record that has a sparse vector under a key of its metadata."""
    return UnimplementedError(
        f"Unimplemented: Sparse vector is not supported for local chroma: {key}"
    )


def _check_value(value: object, position: int) -> None:
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise _kind_error("values must be numbers", value, position)
    # JSON has no other numbers.
    if not _is_finite(value):
        raise ValueError(
            f"SparseVector values must be finite, got {value!r:.40} at position {position}"
        )


def _is_finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:
        return False


def _kind_error(rule: str, value: object, position: int) -> ValueError:
    return ValueError(f"SparseVector {rule}, got {type(value).__name__} at position {position}")
