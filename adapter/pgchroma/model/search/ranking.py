"""Rank expressions as they are executed, checked when they are parsed.

`pgchroma.model.search.rank` has the expressions that users build. These here are parsed from the
form that is sent, in which nothing is known to be valid.

Numbers are float32. Each constant is rounded when it is read, and each result when it is computed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray

from pgchroma.errors import InvalidArgumentError, MalformedRequestError
from pgchroma.model.fields import DOCUMENT, EMBEDDING
from pgchroma.model.limits import MAX_DIMENSION
from pgchroma.model.plain import below, brief, plain_scalar, shown
from pgchroma.model.search.values import boolean, count, field, float32, invalid_type, name
from pgchroma.model.sparse import SPARSE_VECTOR_TYPE, TYPE_KEY, SparseVector
from pgchroma.model.text import check_text
from pgchroma.model.words import MAX_WORDS_CHARACTERS, Words

__all__ = (
    "MAX_DEPTH",
    "MAX_NODES",
    "BinaryOperator",
    "Calculation",
    "Constant",
    "FoldOperator",
    "Nearest",
    "Ranking",
    "UnaryOperator",
    "encode_ranking",
    "nearest_of",
    "parse_ranking",
)

MAX_DEPTH: Final = 64
"""Maximum nesting of a rank expression."""
MAX_NODES: Final = 1_000
"""Maximum number of constants, searches and operators of a rank expression. Each is a column of the
statement that computes it."""

UnaryOperator: TypeAlias = Literal["$abs", "$exp", "$log"]
BinaryOperator: TypeAlias = Literal["$sub", "$div"]
FoldOperator: TypeAlias = Literal["$sum", "$mul", "$max", "$min"]

_TOO_LARGE: Final = 1e39

_UNARY: Final = ("$abs", "$exp", "$log")
_BINARY: Final = ("$sub", "$div")
_FOLDS: Final = ("$sum", "$mul", "$max", "$min")


@dataclass(frozen=True, slots=True)
class Constant:
    """A number, which every record has."""

    value: float


@dataclass(frozen=True, slots=True, eq=False)
class Nearest:
    """A search by a vector or by words: the distance to it, for the records nearest to it.

    Attributes:
        query: A vector of shape ``(dimension,)``, a sparse vector, or words.
        key: The metadata key of the sparse vectors to compare with. A dense vector is compared with
            the embeddings and words with the documents, whatever the key is.
        limit: How many records have a value.
        default: The value of every other record that another part of the expression finds; `None`
            leaves these out.
        returns_rank: Whether the value is the record's position, from 0, instead of the distance.
    """

    query: NDArray[np.float32] | SparseVector | Words
    key: str
    limit: int
    default: float | None
    returns_rank: bool


@dataclass(frozen=True, slots=True)
class Calculation:
    """An operator and its operands: one, two, or for a `FoldOperator` any number."""

    operator: UnaryOperator | BinaryOperator | FoldOperator
    operands: tuple[Ranking, ...]


Ranking: TypeAlias = Constant | Nearest | Calculation


def parse_ranking(expression: Any, path: str) -> Ranking:
    """Parse a rank expression.

    Args:
        expression: What `Rank.to_dict` returns.
        path: Where it is in the request, for messages.

    Raises:
        MalformedRequestError: It has an unknown operator, or a part of a wrong type.
        InvalidArgumentError: It is too large, or a sparse vector is not valid.
    """
    return _Parser().parse(expression, path)


def encode_ranking(ranking: Ranking) -> dict[str, Any]:
    """Return the form that is sent. `parse_ranking` is its inverse."""
    match ranking:
        case Constant(value):
            # JSON has no infinity. A number that is too large for float32 is read as one.
            return {"$val": max(-_TOO_LARGE, min(value, _TOO_LARGE))}
        case Nearest(query=Words(text)):
            return {"$text": {"query": text, **_encode_values(ranking)}}
        case Nearest(query=query):
            written = query.to_dict() if isinstance(query, SparseVector) else query
            return {"$knn": {"query": written, "key": ranking.key, **_encode_values(ranking)}}
        case Calculation(operator, operands) if operator in _UNARY:
            return {operator: encode_ranking(operands[0])}
        case Calculation(operator, operands) if operator in _BINARY:
            left, right = map(encode_ranking, operands)
            return {operator: {"left": left, "right": right}}
        case Calculation(operator, operands):
            return {operator: [encode_ranking(operand) for operand in operands]}


def nearest_of(ranking: Ranking | None) -> Iterator[Nearest]:
    """Yield the searches of an expression, in the order in which they are written."""
    if isinstance(ranking, Nearest):
        yield ranking
    elif isinstance(ranking, Calculation):
        for operand in ranking.operands:
            yield from nearest_of(operand)


class _Parser:
    """Parses one expression, and counts its nodes before it goes into them."""

    def __init__(self) -> None:
        self._nodes = 0

    def parse(self, expression: Any, path: str, depth: int = 1) -> Ranking:
        self._count(path, depth)
        if not isinstance(expression, Mapping) or len(expression) != 1:
            raise InvalidArgumentError(
                f"{path}: expected an object with exactly one operator, got {shown(expression)}"
            )
        ((operator, operand),) = expression.items()
        if operator not in _OPERATORS:
            expected = ", ".join(f"`{each}`" for each in _OPERATORS)
            raise MalformedRequestError(
                f"{path}: unknown variant `{brief(operator)}`, expected one of {expected}"
            )
        path = below(path, f".{operator}")
        if operator == "$val":
            return Constant(float32(operand, path))
        if operator in ("$knn", "$text"):
            return _parse_nearest(operator, operand, path)
        if operator in _UNARY:
            operands = [(operand, path)]
        elif operator in _BINARY:
            operands = [(field(operand, side, path), f"{path}.{side}") for side in _SIDES]
        elif isinstance(operand, list | tuple):
            operands = [(each, f"{path}[{index}]") for index, each in enumerate(operand)]
        else:
            raise invalid_type(path, operand, "a sequence")
        parsed = (self.parse(each, below("", at), depth + 1) for each, at in operands)
        return Calculation(cast("Any", operator), tuple(parsed))

    def _count(self, path: str, depth: int) -> None:
        if depth > MAX_DEPTH:
            raise InvalidArgumentError(
                f"{path}: the rank expression nests deeper than {MAX_DEPTH} levels"
            )
        self._nodes += 1
        if self._nodes > MAX_NODES:
            raise InvalidArgumentError(
                f"{path}: the rank expression has more than {MAX_NODES} operators and operands"
            )


_SIDES: Final = ("left", "right")
_OPERATORS: Final = sorted(("$val", "$knn", "$text", *_UNARY, *_BINARY, *_FOLDS))


def _parse_nearest(operator: str, operand: Any, path: str) -> Nearest:
    default = operand.get("default") if isinstance(operand, Mapping) else None
    parse = _parse_words if operator == "$text" else _parse_query
    return Nearest(
        parse(field(operand, "query", path), f"{path}.query"),
        DOCUMENT if operator == "$text" else name(operand.get("key", EMBEDDING), f"{path}.key"),
        count(operand.get("limit", 16), f"{path}.limit"),
        None if default is None else float32(default, f"{path}.default"),
        boolean(operand.get("return_rank", False), f"{path}.return_rank"),
    )


def _encode_values(nearest: Nearest) -> dict[str, Any]:
    encoded: dict[str, Any] = {"limit": nearest.limit}
    if nearest.default is not None:
        encoded["default"] = max(-_TOO_LARGE, min(nearest.default, _TOO_LARGE))
    if nearest.returns_rank:
        encoded["return_rank"] = True
    return encoded


def _parse_words(query: Any, path: str) -> Words:
    text = plain_scalar(query)
    if not isinstance(text, str):
        raise invalid_type(path, query, "a string")
    check_text(text, path)
    if len(text) > MAX_WORDS_CHARACTERS:
        raise InvalidArgumentError(
            f"{path}: expected at most {MAX_WORDS_CHARACTERS} characters, got {len(text)}"
        )
    return Words(text)


def _parse_query(query: Any, path: str) -> NDArray[np.float32] | SparseVector:
    if isinstance(query, Mapping):
        return _parse_sparse_query(query, path)
    if not isinstance(query, list | tuple | np.ndarray):
        raise _not_a_query(path)
    if len(query) > MAX_DIMENSION:
        raise InvalidArgumentError(
            f"{path}: expected at most {MAX_DIMENSION} numbers, got {len(query)}"
        )
    try:
        with np.errstate(over="ignore"):
            vector = np.asarray(query, dtype=np.float32)
    except (TypeError, ValueError, OverflowError):
        raise _not_a_query(path) from None
    if vector.ndim != 1 or _has_texts(query):
        raise _not_a_query(path)
    if not np.isfinite(vector).all():
        raise InvalidArgumentError(f"{path}: expected finite numbers of 32 bits")
    return vector


def _has_texts(query: Any) -> bool:
    # numpy would convert these to numbers.
    return isinstance(query, list | tuple) and any(
        isinstance(number, str | bool) or number is None for number in query
    )


def _parse_sparse_query(query: Mapping[str, Any], path: str) -> SparseVector:
    try:
        return SparseVector.from_dict({TYPE_KEY: SPARSE_VECTOR_TYPE, **query})
    except ValueError as error:
        where = path.partition(".$")[0]
        raise InvalidArgumentError(
            f"Validation error: {where}: Invalid sparse vector in KNN query: {error}"
        ) from error


def _not_a_query(path: str) -> MalformedRequestError:
    return MalformedRequestError(
        f"{path}: data did not match any variant of untagged enum QueryVector"
    )
