"""Filters as Python expressions: ``(K("year") > 2020) & K("tags").contains("sql")``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Final

from pgchroma.model.fields import DOCUMENT, EMBEDDING, METADATA, SCORE
from pgchroma.model.types import MetadataListValue, Scalar

__all__ = (
    "And",
    "Contains",
    "Eq",
    "Gt",
    "Gte",
    "In",
    "K",
    "Key",
    "Lt",
    "Lte",
    "Matches",
    "Ne",
    "Nin",
    "NotContains",
    "NotMatches",
    "NotRegex",
    "Or",
    "Regex",
    "Where",
)


class Where:
    """A filter. ``&`` and ``|`` combine filters."""

    def to_dict(self) -> dict[str, Any]:
        """Return the filter as the dictionary that `collection.get` takes as ``where``."""
        raise NotImplementedError("Subclasses must implement to_dict()")

    @staticmethod
    def from_dict(data: Mapping[str, Any]) -> Where:
        """Read a filter from a dictionary such as ``{"year": {"$gt": 2020}}``.

        Raises:
            TypeError: A part has the wrong type.
            ValueError: A part is missing, unknown or one too many.
        """
        if not isinstance(data, Mapping):
            raise TypeError(f"Expected dict for Where, got {type(data).__name__}")
        if not data:
            raise ValueError("Where dict cannot be empty")
        for operator, junction in (("$and", And), ("$or", Or)):
            if operator in data:
                return _junction(operator, junction, data)
        return _comparison(data)

    def __and__(self, other: Where) -> And:
        return And([*_members(And, self), *_members(And, other)])

    def __or__(self, other: Where) -> Or:
        return Or([*_members(Or, self), *_members(Or, other)])


@dataclass
class And(Where):
    """Every condition has to match."""

    conditions: list[Where]

    def to_dict(self) -> dict[str, Any]:
        """Return ``{"$and": […]}``."""
        return {"$and": [condition.to_dict() for condition in self.conditions]}


@dataclass
class Or(Where):
    """At least one condition has to match."""

    conditions: list[Where]

    def to_dict(self) -> dict[str, Any]:
        """Return ``{"$or": […]}``."""
        return {"$or": [condition.to_dict() for condition in self.conditions]}


@dataclass
class _Comparison(Where):
    key: str
    value: Any

    _operator: ClassVar[str]

    def to_dict(self) -> dict[str, Any]:
        """Return ``{key: {operator: value}}``."""
        return {self.key: {self._operator: self.value}}


class Eq(_Comparison):
    """The value is equal."""

    _operator = "$eq"


class Ne(_Comparison):
    """The value differs, or the key is missing."""

    _operator = "$ne"


class Gt(_Comparison):
    """The number is greater."""

    _operator = "$gt"


class Gte(_Comparison):
    """The number is greater or equal."""

    _operator = "$gte"


class Lt(_Comparison):
    """The number is less."""

    _operator = "$lt"


class Lte(_Comparison):
    """The number is less or equal."""

    _operator = "$lte"


class Contains(_Comparison):
    """The list contains the value, or the document the text."""

    _operator = "$contains"


class NotContains(_Comparison):
    """The list does not contain the value, nor the document the text."""

    _operator = "$not_contains"


@dataclass
class In(Where):
    """The value is one of several."""

    key: str
    values: list[Any]

    def to_dict(self) -> dict[str, Any]:
        """Return ``{key: {"$in": values}}``."""
        return {self.key: {"$in": self.values}}


@dataclass
class Nin(Where):
    """The value is none of several, or the key is missing."""

    key: str
    values: list[Any]

    def to_dict(self) -> dict[str, Any]:
        """Return ``{key: {"$nin": values}}``."""
        return {self.key: {"$nin": self.values}}


@dataclass
class Regex(Where):
    """The document matches the pattern."""

    key: str
    pattern: str

    def to_dict(self) -> dict[str, Any]:
        """Return ``{key: {"$regex": pattern}}``."""
        return {self.key: {"$regex": self.pattern}}


@dataclass
class NotRegex(Where):
    """The document does not match the pattern."""

    key: str
    pattern: str

    def to_dict(self) -> dict[str, Any]:
        """Return ``{key: {"$not_regex": pattern}}``."""
        return {self.key: {"$not_regex": self.pattern}}


@dataclass
class Matches(Where):
    """The document has the words; see `Key.matches`."""

    key: str
    text: str

    def to_dict(self) -> dict[str, Any]:
        """Return ``{key: {"$matches": text}}``."""
        return {self.key: {"$matches": self.text}}


@dataclass
class NotMatches(Where):
    """The document does not match the words, or there is none."""

    key: str
    text: str

    def to_dict(self) -> dict[str, Any]:
        """Return ``{key: {"$not_matches": text}}``."""
        return {self.key: {"$not_matches": self.text}}


class Key:
    """A metadata key, or one of the special fields, which begin with ``#``.

    Comparing it makes a filter: ``K("year") >= 2020``. `K` is another name of this class.
    """

    ID: ClassVar[Key]
    DOCUMENT: ClassVar[Key]
    EMBEDDING: ClassVar[Key]
    METADATA: ClassVar[Key]
    SCORE: ClassVar[Key]

    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return f"Key({self.name!r})"

    def __hash__(self) -> int:
        return hash(self.name)

    def __eq__(self, value: object) -> Eq:  # type: ignore[override]
        return Eq(self.name, value)

    def __ne__(self, value: object) -> Ne:  # type: ignore[override]
        return Ne(self.name, value)

    def __gt__(self, value: Scalar) -> Gt:
        return Gt(self.name, value)

    def __ge__(self, value: Scalar) -> Gte:
        return Gte(self.name, value)

    def __lt__(self, value: Scalar) -> Lt:
        return Lt(self.name, value)

    def __le__(self, value: Scalar) -> Lte:
        return Lte(self.name, value)

    def is_in(self, values: MetadataListValue) -> In:
        """Match any of the values."""
        return In(self.name, values)

    def not_in(self, values: MetadataListValue) -> Nin:
        """Match none of the values."""
        return Nin(self.name, values)

    def regex(self, pattern: str) -> Regex:
        """Match a pattern; only for `Key.DOCUMENT`."""
        return Regex(self.name, pattern)

    def not_regex(self, pattern: str) -> NotRegex:
        """Match no such pattern; only for `Key.DOCUMENT`."""
        return NotRegex(self.name, pattern)

    def matches(self, text: str) -> Matches:
        """Match words in the syntax of web searches; only for `Key.DOCUMENT`.

        The collection needs a full-text index. Chroma does not have this.
        """
        return Matches(self.name, text)

    def not_matches(self, text: str) -> NotMatches:
        """Match what `matches` does not."""
        return NotMatches(self.name, text)

    def contains(self, value: Scalar) -> Contains:
        """Match a list that contains the value; a text in it for `Key.DOCUMENT`."""
        self._check_text("$contains", value)
        return Contains(self.name, value)

    def not_contains(self, value: Scalar) -> NotContains:
        """Match what `contains` does not."""
        self._check_text("$not_contains", value)
        return NotContains(self.name, value)

    def _check_text(self, operator: str, value: Any) -> None:
        if self.name == DOCUMENT and not isinstance(value, str):
            raise TypeError(f"{operator} on #document requires a string pattern")


Key.ID = Key("#id")
Key.DOCUMENT = Key(DOCUMENT)
Key.EMBEDDING = Key(EMBEDDING)
Key.METADATA = Key(METADATA)
Key.SCORE = Key(SCORE)

K = Key

_ANY: Final = (object, "")
_LIST: Final = (list, "a list")
_SCALAR: Final = ((str, int, float, bool), "a str, int, float, or bool")
_TEXT: Final = (str, "a string pattern")

_READERS: Final[dict[str, tuple[Callable[[Key, Any], Where], tuple[Any, str]]]] = {
    "$eq": (Key.__eq__, _ANY),
    "$ne": (Key.__ne__, _ANY),
    "$gt": (Key.__gt__, _ANY),
    "$gte": (Key.__ge__, _ANY),
    "$lt": (Key.__lt__, _ANY),
    "$lte": (Key.__le__, _ANY),
    "$in": (Key.is_in, _LIST),
    "$nin": (Key.not_in, _LIST),
    "$contains": (Key.contains, _SCALAR),
    "$not_contains": (Key.not_contains, _SCALAR),
    "$regex": (Key.regex, _TEXT),
    "$not_regex": (Key.not_regex, _TEXT),
    "$matches": (Key.matches, _TEXT),
    "$not_matches": (Key.not_matches, _TEXT),
}


def _members(kind: type[And | Or], where: Where) -> list[Where]:
    return where.conditions if isinstance(where, And | Or) and type(where) is kind else [where]


def _junction(operator: str, kind: type[And | Or], data: Mapping[str, Any]) -> Where:
    clauses = data[operator]
    if not isinstance(clauses, list):
        raise TypeError(f"{operator} must be a list, got {type(clauses).__name__}")
    if not clauses:
        raise ValueError(f"{operator} requires at least one condition")
    if len(data) > 1:
        raise ValueError(f"{operator} cannot be combined with other fields in the same dict")
    first, *others = [Where.from_dict(clause) for clause in clauses]
    if not others:
        return first
    return kind([member for each in (first, *others) for member in _members(kind, each)])


def _comparison(data: Mapping[str, Any]) -> Where:
    if len(data) != 1:
        raise ValueError(f"Where dict must contain exactly one field, got {len(data)}")
    ((field, condition),) = data.items()
    if not isinstance(field, str):
        raise TypeError(f"Field name must be a string, got {type(field).__name__}")
    if not isinstance(condition, Mapping):
        return Eq(field, condition)
    if not condition:
        raise ValueError(f"Operator dict for field '{field}' cannot be empty")
    if len(condition) != 1:
        raise ValueError(f"Operator dict for field '{field}' must contain exactly one operator")
    ((operator, value),) = condition.items()
    if operator not in _READERS:
        raise ValueError(f"Unknown operator: {operator}")
    read, (kind, expected) = _READERS[operator]
    if not isinstance(value, kind):
        raise TypeError(f"{operator} requires {expected}, got {type(value).__name__}")
    made: Where = read(Key(field), value)
    return made
