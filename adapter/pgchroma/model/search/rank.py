"""Rank expressions: how a search scores records. Lower scores are better."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from pgchroma.model.fields import EMBEDDING
from pgchroma.model.search.where import Key
from pgchroma.model.sparse import SPARSE_VECTOR_TYPE, TYPE_KEY, SparseVector
from pgchroma.model.types import VectorLike

__all__ = (
    "Abs",
    "Div",
    "Exp",
    "Knn",
    "Log",
    "Max",
    "Min",
    "Mul",
    "Rank",
    "Rrf",
    "Sub",
    "Sum",
    "Text",
    "Val",
)


class Rank:
    """A rank expression. Arithmetic operators, `abs` and the methods here combine them."""

    def to_dict(self) -> dict[str, Any]:
        """Return the expression as it is sent."""
        raise NotImplementedError("Subclasses must implement to_dict()")

    @staticmethod
    def from_dict(data: Mapping[str, Any]) -> Rank:
        """Read an expression from what `to_dict` returns.

        Raises:
            TypeError: A part has the wrong type.
            ValueError: A part is missing, unknown or out of range.
        """
        if not isinstance(data, Mapping):
            raise TypeError(f"Expected dict for Rank, got {type(data).__name__}")
        if not data:
            raise ValueError("Rank dict cannot be empty")
        if len(data) != 1:
            raise ValueError(f"Rank dict must contain exactly one operator, got {len(data)}")
        ((operator, operand),) = data.items()
        kind = _KINDS.get(operator)
        if kind is None:
            raise ValueError(f"Unknown rank operator: {operator}")
        return kind._read(operator, operand)

    @classmethod
    def _read(cls, operator: str, operand: Any) -> Rank:
        raise NotImplementedError

    def __add__(self, other: Rank | float) -> Sum:
        return Sum(_operands(Sum, self, other))

    def __radd__(self, other: float) -> Sum:
        return Sum(_operands(Sum, other, self))

    def __sub__(self, other: Rank | float) -> Sub:
        return Sub(self, _rank(other))

    def __rsub__(self, other: float) -> Sub:
        return Sub(Val(other), self)

    def __mul__(self, other: Rank | float) -> Mul:
        return Mul(_operands(Mul, self, other))

    def __rmul__(self, other: float) -> Mul:
        return Mul(_operands(Mul, other, self))

    def __truediv__(self, other: Rank | float) -> Div:
        return Div(self, _rank(other))

    def __rtruediv__(self, other: float) -> Div:
        return Div(Val(other), self)

    def __neg__(self) -> Mul:
        return Mul([Val(-1), self])

    def __abs__(self) -> Abs:
        return Abs(self)

    def abs(self) -> Abs:
        """Return the absolute value."""
        return Abs(self)

    def exp(self) -> Exp:
        """Return e to the power of the value."""
        return Exp(self)

    def log(self) -> Log:
        """Return the natural logarithm."""
        return Log(self)

    def max(self, other: Rank | float) -> Max:
        """Return the greater of two values."""
        return Max(_operands(Max, self, other))

    def min(self, other: Rank | float) -> Min:
        """Return the lesser of two values."""
        return Min(_operands(Min, self, other))


@dataclass
class Val(Rank):
    """A constant."""

    value: float

    def to_dict(self) -> dict[str, Any]:
        """Return ``{"$val": value}``."""
        return {"$val": self.value}

    @classmethod
    def _read(cls, operator: str, operand: Any) -> Rank:
        if not isinstance(operand, int | float):
            raise TypeError(f"{operator} requires a number, got {type(operand).__name__}")
        return Val(operand)


@dataclass
class _Unary(Rank):
    rank: Rank

    _operator: ClassVar[str]

    def to_dict(self) -> dict[str, Any]:
        """Return ``{operator: rank}``."""
        return {self._operator: self.rank.to_dict()}

    @classmethod
    def _read(cls, operator: str, operand: Any) -> Rank:
        if not isinstance(operand, Mapping):
            raise TypeError(f"{operator} requires a rank dict, got {type(operand).__name__}")
        return cls(Rank.from_dict(operand))


class Abs(_Unary):
    """The absolute value."""

    _operator = "$abs"


class Exp(_Unary):
    """E to the power of the value."""

    _operator = "$exp"


class Log(_Unary):
    """The natural logarithm."""

    _operator = "$log"


@dataclass
class _Binary(Rank):
    left: Rank
    right: Rank

    _operator: ClassVar[str]

    def to_dict(self) -> dict[str, Any]:
        """Return ``{operator: {"left": …, "right": …}}``."""
        return {self._operator: {"left": self.left.to_dict(), "right": self.right.to_dict()}}

    @classmethod
    def _read(cls, operator: str, operand: Any) -> Rank:
        if not isinstance(operand, Mapping):
            raise TypeError(
                f"{operator} requires a dict with 'left' and 'right', got {type(operand).__name__}"
            )
        if not {"left", "right"} <= operand.keys():
            raise ValueError(f"{operator} requires 'left' and 'right' fields")
        return cls(Rank.from_dict(operand["left"]), Rank.from_dict(operand["right"]))


class Sub(_Binary):
    """A difference."""

    _operator = "$sub"


class Div(_Binary):
    """A quotient."""

    _operator = "$div"


@dataclass
class _Several(Rank):
    ranks: list[Rank]

    _operator: ClassVar[str]

    def to_dict(self) -> dict[str, Any]:
        """Return ``{operator: [rank, …]}``."""
        return {self._operator: [rank.to_dict() for rank in self.ranks]}

    @classmethod
    def _read(cls, operator: str, operand: Any) -> Rank:
        if not isinstance(operand, list | tuple):
            raise TypeError(f"{operator} requires a list, got {type(operand).__name__}")
        if len(operand) < 2:  # noqa: PLR2004
            raise ValueError(f"{operator} requires at least 2 ranks, got {len(operand)}")
        return cls(_operands(cls, *map(Rank.from_dict, operand)))


class Sum(_Several):
    """A sum."""

    _operator = "$sum"


class Mul(_Several):
    """A product."""

    _operator = "$mul"


class Max(_Several):
    """The greatest value."""

    _operator = "$max"


class Min(_Several):
    """The least value."""

    _operator = "$min"


@dataclass
class Knn(Rank):
    """The distance to a query, for the records nearest to it.

    Attributes:
        query: A vector, a `SparseVector`, or a text to be embedded by the collection's function.
        key: ``#embedding``, or a metadata key with sparse vectors.
        limit: How many of the nearest records have a value.
        default: The value of every other record; None leaves them out.
        return_rank: Whether the value is the record's position, from 0, instead of the distance.
    """

    query: str | VectorLike | SparseVector
    key: Key | str = Key.EMBEDDING
    limit: int = 16
    default: float | None = None
    return_rank: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Return ``{"$knn": {…}}``; what is at its default is left out."""
        query: object = self.query
        if isinstance(query, SparseVector):
            query = query.to_dict()
        elif isinstance(query, np.ndarray):
            query = query.tolist()
        key = self.key.name if isinstance(self.key, Key) else self.key
        return {"$knn": {"query": query, "key": key, **_write_values(self)}}

    @classmethod
    def _read(cls, operator: str, operand: Any) -> Rank:
        query = _query_of(operator, operand)
        return Knn(
            _read_query(query),
            _checked(operator, operand.get("key", EMBEDDING), "key", str, "a string"),
            **_read_values(operator, operand),
        )


@dataclass
class Text(Rank):
    """The BM25 score of documents for the words of a text, of those with the best scores.

    The value is 1 minus the score, so lower is better. Only documents that have a word of the text
    have a value. The collection needs a full-text index, but no embedding function. Chroma does not
    have this expression.

    Attributes:
        query: The text. Its punctuation has no meaning.
        limit: How many of the best records have a value.
        default: The value of every other record; None leaves them out.
        return_rank: Whether the value is the record's position, from 0, instead of the distance.
    """

    query: str
    limit: int = 16
    default: float | None = None
    return_rank: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Return ``{"$text": {"query": query, …}}``."""
        return {"$text": {"query": self.query, **_write_values(self)}}

    @classmethod
    def _read(cls, operator: str, operand: Any) -> Rank:
        query = _checked(operator, _query_of(operator, operand), "query", str, "a string")
        return Text(query, **_read_values(operator, operand))


@dataclass
class Rrf(Rank):
    """Reciprocal rank fusion: minus the sum of ``weight / (k + rank)``.

    Attributes:
        ranks: What to fuse; each a `Knn` with ``return_rank=True`` or an expression of such.
        k: A greater number makes the first positions matter less.
        weights: One for each rank; None weighs all the same.
        normalize: Whether the weights are scaled so that they sum to 1.
    """

    ranks: Sequence[Rank]
    k: int = 60
    weights: Sequence[float] | None = None
    normalize: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Return the fusion as sums and quotients.

        Raises:
            ValueError: There is no rank, or `k` or the weights are out of range.
        """
        first, *others = [
            weight / (self.k + rank)
            for weight, rank in zip(self._weights(), self.ranks, strict=True)
        ]
        fused: Rank = first
        for term in others:
            fused = fused + term
        return (-fused).to_dict()

    def _weights(self) -> Sequence[float]:
        if not self.ranks:
            raise ValueError("RRF requires at least one rank")
        if self.k <= 0:
            raise ValueError(f"k must be positive, got {self.k}")
        weights = [1.0] * len(self.ranks) if self.weights is None else self.weights
        if len(weights) != len(self.ranks):
            raise ValueError(
                f"Number of weights ({len(weights)}) must match number of ranks ({len(self.ranks)})"
            )
        if any(weight < 0 for weight in weights):
            raise ValueError("All weights must be non-negative")
        if not self.normalize:
            return weights
        total = sum(weights)
        if total == 0:
            raise ValueError("Sum of weights must be positive when normalize=True")
        return [weight / total for weight in weights]


_KINDS: dict[str, type[Rank]] = {
    "$val": Val,
    "$knn": Knn,
    "$text": Text,
    **{kind._operator: kind for kind in (Abs, Exp, Log)},
    **{kind._operator: kind for kind in (Sub, Div)},
    **{kind._operator: kind for kind in (Sum, Mul, Max, Min)},
}


def _rank(value: Rank | float) -> Rank:
    return Val(value) if isinstance(value, int | float) else value


def _operands(kind: type[_Several], *values: Rank | float) -> list[Rank]:
    """List the operands; one that is of the same kind is replaced by its own operands."""
    operands: list[Rank] = []
    for rank in map(_rank, values):
        operands.extend(rank.ranks if isinstance(rank, _Several) and type(rank) is kind else [rank])
    return operands


def _checked(operator: str, value: Any, name: str, kind: type, expected: str) -> Any:
    if not isinstance(value, kind):
        raise TypeError(f"{operator} {name} must be {expected}, got {type(value).__name__}")
    return value


def _query_of(operator: str, operand: Any) -> Any:
    if not isinstance(operand, Mapping):
        raise TypeError(f"{operator} requires a dict, got {type(operand).__name__}")
    if "query" not in operand:
        raise ValueError(f"{operator} requires 'query' field")
    return operand["query"]


def _read_values(operator: str, operand: Mapping[str, Any]) -> dict[str, Any]:
    """Read which records have a value, and which one."""
    limit: int = _checked(operator, operand.get("limit", 16), "limit", int, "an integer")
    if limit <= 0:
        raise ValueError(f"{operator} limit must be positive, got {limit}")
    returns_rank = operand.get("return_rank", False)
    return {
        "limit": limit,
        "default": operand.get("default"),
        "return_rank": _checked(operator, returns_rank, "return_rank", bool, "a boolean"),
    }


def _write_values(rank: Knn | Text) -> dict[str, Any]:
    """Write what `_read_values` reads; what is at its default is left out."""
    written: dict[str, Any] = {"limit": rank.limit}
    if rank.default is not None:
        written["default"] = rank.default
    if rank.return_rank:
        written["return_rank"] = True
    return written


def _read_query(query: Any) -> Any:
    if isinstance(query, Mapping):
        if query.get(TYPE_KEY) != SPARSE_VECTOR_TYPE:
            raise ValueError(
                f"Expected dict with {TYPE_KEY}='{SPARSE_VECTOR_TYPE}', got {query!r:.100}"
            )
        return SparseVector.from_dict(query)
    if not isinstance(query, list | tuple | np.ndarray):
        raise TypeError(
            "$knn query must be a list, numpy array, or SparseVector dict, got "
            f"{type(query).__name__}"
        )
    vector = np.asarray(query, dtype=np.float32)
    if vector.ndim == 2 and len(vector) == 1:  # noqa: PLR2004
        (vector,) = vector
    if vector.ndim != 1 or not vector.size:
        raise ValueError("$knn requires exactly one query embedding")
    return vector
