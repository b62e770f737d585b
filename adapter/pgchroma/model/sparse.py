"""Sparse vectors: the few dimensions that are not zero."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from operator import lt
from typing import Any, Self, TypeAlias

import numpy as np
import orjson
from numpy.typing import NDArray

from pgchroma.errors import InvalidArgumentError
from pgchroma.model.float32 import INFINITE_FROM
from pgchroma.model.text import check_text

__all__ = (
    "SPARSE_VECTOR_TYPE",
    "TYPE_KEY",
    "SparseVector",
    "SparseVectors",
    "is_sparse",
    "parse_sparse",
    "round_values",
    "shortest",
    "with_sparse_vectors",
)

TYPE_KEY = "#type"
SPARSE_VECTOR_TYPE = "sparse_vector"

_LAST_INDEX = 2**32 - 1
"""Chroma stores indices in 32 bits."""

_SCALARS = frozenset((str, int, float, bool, type(None), list))
"""Types that most metadata values have; asking whether they are mappings takes longer."""


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
        if not (_are_indices(self.indices) and _are_values(self.values)):
            self._raise_for_elements()
        for position, label in enumerate(self.labels or ()):
            if not isinstance(label, str):
                raise _kind_error("labels must be strings", label, position)

    def _raise_for_elements(self) -> None:
        """Raise the error of the first element that is not valid, if there is one."""
        for position, index in enumerate(self.indices):
            self._check_index(index, position)
        for position, value in enumerate(self.values):
            _check_value(value, position)

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
    """Whether a metadata value is a sparse vector or its dictionary form.

    As in Chroma, the type may be missing from a dictionary with indices and values.
    """
    if isinstance(value, SparseVector):
        return True
    if type(value) not in _SCALARS and isinstance(value, Mapping):
        kind = value.get(TYPE_KEY, SPARSE_VECTOR_TYPE)
        return kind == SPARSE_VECTOR_TYPE and {"indices", "values"} <= value.keys()
    return False


def parse_sparse(value: SparseVector | Mapping[str, Any], path: str) -> dict[str, Any]:
    """Return a sparse vector in its dictionary form.

    Its values are as they were given; they are rounded to float32 when they are stored.

    Args:
        value: What `is_sparse` accepts.
        path: The path in the request, for messages.

    Raises:
        InvalidArgumentError: It is not valid, or a value is too large for float32.
    """
    try:
        if isinstance(value, Mapping):
            value = SparseVector.from_dict({**value, TYPE_KEY: SPARSE_VECTOR_TYPE})
    except ValueError as error:
        raise InvalidArgumentError(f"{path}: {error}") from error
    for position, label in enumerate(value.labels or ()):
        check_text(label, f"{path}: labels[{position}]")
    values = value.values
    if values and (max(values) >= INFINITE_FROM or min(values) <= -INFINITE_FROM):
        too_large = next(at for at, value in enumerate(values) if abs(value) >= INFINITE_FROM)
        raise InvalidArgumentError(
            f"{path}: values[{too_large}] is too large for a float of 32 bits"
        )
    return value.to_dict()


def round_values(vector: Mapping[str, Any]) -> dict[str, Any]:
    """Return the dictionary form of a sparse vector with values rounded to float32."""
    return {**vector, "values": shortest(np.array(vector["values"], np.float32))}


def with_sparse_vectors(metadata: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    """Return a record's metadata with objects in the place of dictionary forms."""
    if metadata is None or dict not in map(type, metadata.values()):
        return metadata
    return {
        key: SparseVector.from_dict(value) if is_sparse(value) else value
        for key, value in metadata.items()
    }


def shortest(numbers: NDArray[np.float32]) -> list[float]:
    """Return the shortest decimal form of each float32, as Chroma returns them."""
    return orjson.loads(orjson.dumps(numbers, option=orjson.OPT_SERIALIZE_NUMPY))  # type: ignore[no-any-return]


def _are_indices(indices: list[int]) -> bool:
    """Whether these are the indices of a sparse vector, without finding out which one is not."""
    return not indices or (
        set(map(type, indices)) == {int}
        and indices[0] >= 0
        and indices[-1] <= _LAST_INDEX
        and all(map(lt, indices, islice(indices, 1, None)))
    )


def _are_values(values: list[float]) -> bool:
    """Whether these are the values of a sparse vector, without finding out which one is not."""
    return set(map(type, values)) <= {float} and all(map(math.isfinite, values))


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
