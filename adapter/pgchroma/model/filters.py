"""`where` and `where_document`: from Chroma's dictionaries to a frozen tree.

Errors of parsing name the path in the filter. Every parsed tree can be compiled, so other modules
do not validate filters again.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias, cast

from pgchroma.errors import InvalidArgumentError
from pgchroma.model.fields import DOCUMENT
from pgchroma.model.metadata import fits_int64
from pgchroma.model.plain import below, plain_operand, plain_scalar, shown
from pgchroma.model.regex import MAX_CHARACTERS, translate_regex
from pgchroma.model.text import check_text
from pgchroma.model.words import MAX_WORDS_CHARACTERS, MAX_WORDS_PARTS, count_parts

__all__ = (
    "MAX_CLAUSES",
    "MAX_DEPTH",
    "MAX_OPERANDS",
    "WORD_OPERATORS",
    "Comparison",
    "Filter",
    "Junction",
    "NotFilterableError",
    "Operand",
    "Operator",
    "TextMatch",
    "combine",
    "parse_where",
    "parse_where_document",
)

Operand: TypeAlias = str | bool | int | float
Operator: TypeAlias = Literal[
    "$eq", "$ne", "$gt", "$gte", "$lt", "$lte", "$in", "$nin", "$contains", "$not_contains"
]
TextOperator: TypeAlias = Literal[
    "$contains", "$not_contains", "$regex", "$not_regex", "$matches", "$not_matches"
]

EQUALITY = ("$eq", "$ne")
ORDERING = ("$gt", "$gte", "$lt", "$lte")
LISTING = ("$in", "$nin")
CONTAINMENT = ("$contains", "$not_contains")
WORD_OPERATORS = ("$matches", "$not_matches")
TEXT_OPERATORS = ("$contains", "$not_contains", "$regex", "$not_regex", *WORD_OPERATORS)
JUNCTIONS = ("$and", "$or")
MAX_DEPTH = 100
"""Maximum nesting of filters; far below the stack limits of Python and PostgreSQL."""
MAX_CLAUSES: Final = 1_000
"""Maximum number of conditions of a filter, including `$and` and `$or`. Each is compared with every
record. Chroma has a similar limit."""
MAX_OPERANDS: Final = 250_000
"""Maximum number of values in all lists of a filter together."""


@dataclass(frozen=True, slots=True)
class Junction:
    """All (``$and``) or any (``$or``) of the clauses; if empty, it matches all or no records."""

    operator: Literal["$and", "$or"]
    clauses: tuple[Filter, ...]


@dataclass(frozen=True, slots=True)
class Comparison:
    """One key compared with one operand, or with several for ``$in`` and ``$nin``.

    The keys ``#id``, ``chroma:document`` and ``chroma:uri`` refer to columns of the record.
    """

    key: str
    operator: Operator
    operand: Operand | tuple[Operand, ...]


@dataclass(frozen=True, slots=True)
class TextMatch:
    """The document compared with a text, a pattern in Rust's regex dialect, or words.

    `pgchroma.model.words` has the syntax of words.
    """

    operator: TextOperator
    text: str


Filter: TypeAlias = Junction | Comparison | TextMatch


class NotFilterableError(InvalidArgumentError, name="InvalidArgumentError", status=400):
    """A filter is well formed, but uses what has no index for filters."""


def combine(*filters: Filter | None) -> Filter | None:
    """Combine the filters that are not `None` with ``$and``; return `None` if all are."""
    given = tuple(clause for clause in filters if clause is not None)
    if len(given) > 1:
        return Junction("$and", given)
    return given[0] if given else None


def parse_where(where: Any) -> Filter | None:
    """Parse a metadata filter; `None` stays `None`.

    Raises:
        InvalidArgumentError: It is malformed; the message names the path.
    """
    return None if where is None else _Parser(_WHERE, _parse_field).parse(where, "where")


def parse_where_document(where_document: Any) -> Filter | None:
    """Parse a document filter; `None` stays `None`.

    Raises:
        InvalidArgumentError: It is malformed, or PostgreSQL has no equivalent of a pattern.
    """
    if where_document is None:
        return None
    return _Parser(_WHERE_DOCUMENT, _parse_text).parse(where_document, "where_document")


_WHERE = "Invalid where clause"
_WHERE_DOCUMENT = "Invalid where document clause"


class _Parser:
    """Parses one filter and counts its parts before it processes them.

    Args:
        fault: What messages begin with.
        leaf: Parses a clause other than `$and` and `$or`.
    """

    def __init__(self, error: str, leaf: _LeafParser) -> None:
        self.error = error
        self._leaf = leaf
        self._clauses = 0
        self._operands = 0
        self._characters = 0

    def parse(self, node: Any, path: str, depth: int = 0) -> Filter:
        if depth > MAX_DEPTH:
            raise self.refused(path, f"filters nest deeper than {MAX_DEPTH} levels")
        self._count_clause(path)
        key, value = self.only_item(node, path, "a key or an operator")
        path = below(path, f".{key}")
        if key not in JUNCTIONS:
            return self._leaf(self, key, value, path)
        if not isinstance(value, list | tuple):
            raise self.refused(path, f"expected a list of filters, got {shown(value)}")
        clauses = (
            self.parse(clause, below(path, f"[{index}]"), depth + 1)
            for index, clause in enumerate(value)
        )
        return Junction(cast('Literal["$and", "$or"]', key), tuple(clauses))

    def only_item(self, node: Any, path: str, kind: str) -> tuple[str, Any]:
        if not isinstance(node, dict):
            raise self.refused(path, f"expected a dict, got {shown(node)}")
        if len(node) != 1:
            raise self.refused(path, f"expected exactly one entry, {kind}; got {shown(node)}")
        ((key, value),) = node.items()
        key = plain_scalar(key)
        if not isinstance(key, str):
            raise self.refused(path, f"expected a str as key, got {shown(key)}")
        return key, value

    def count_operands(self, count: int, path: str) -> None:
        self._operands += count
        if self._operands > MAX_OPERANDS:
            raise self.refused(path, f"the filter has more than {MAX_OPERANDS} values in lists")

    def count_pattern(self, pattern: str, path: str) -> None:
        self._characters += len(pattern)
        if self._characters > MAX_CHARACTERS:
            reason = f"the filter's patterns have more than {MAX_CHARACTERS} characters"
            raise self.refused(path, reason)

    def refused(self, path: str, reason: str) -> InvalidArgumentError:
        return InvalidArgumentError(f"{self.error}: {path}: {reason}")

    def _count_clause(self, path: str) -> None:
        self._clauses += 1
        if self._clauses > MAX_CLAUSES:
            reason = (
                f"the filter has more than {MAX_CLAUSES} conditions; "
                "use $in for alternatives of one key"
            )
            raise self.refused(path, reason)


_LeafParser: TypeAlias = Callable[[_Parser, str, Any, str], Filter]


def _parse_field(parser: _Parser, key: str, value: Any, path: str) -> Filter:
    if key.startswith("$"):
        raise parser.refused(path, "expected a key, $and or $or; this operator belongs to a key")
    check_text(key, f"{_WHERE}: key {shown(key)}")
    if not isinstance(value, dict):
        return _metadata_leaf(parser, key, "$eq", value, path)
    operator, operand = parser.only_item(value, path, "an operator")
    path = below(path, f".{operator}")
    if key == DOCUMENT and operator in TEXT_OPERATORS:
        return _text_leaf(parser, operator, operand, path)
    return _metadata_leaf(parser, key, operator, operand, path)


def _metadata_leaf(parser: _Parser, key: str, operator: str, operand: Any, path: str) -> Comparison:
    if key == DOCUMENT and operator in (*EQUALITY, *LISTING):
        raise NotFilterableError(
            "Cannot filter using metadata key '#document' with type 'Str' "
            "because indexing is disabled"
        )
    if operator in EQUALITY or operator in CONTAINMENT:
        value: Operand | tuple[Operand, ...] = _scalar(parser, operand, path)
    elif operator in ORDERING:
        value = _number(parser, plain_scalar(operand), path)
    elif operator in LISTING:
        value = _list(parser, plain_operand(operand), path)
    else:
        expected = ", ".join((*EQUALITY, *ORDERING, *LISTING, *CONTAINMENT))
        raise parser.refused(path, f"unknown operator; expected one of {expected}")
    return Comparison(key, cast("Operator", operator), value)


def _parse_text(parser: _Parser, operator: str, value: Any, path: str) -> Filter:
    if operator not in TEXT_OPERATORS:
        expected = ", ".join((*TEXT_OPERATORS, *JUNCTIONS))
        raise parser.refused(path, f"unknown operator; expected one of {expected}")
    return _text_leaf(parser, operator, value, path)


def _text_leaf(parser: _Parser, operator: str, value: Any, path: str) -> TextMatch:
    text = plain_scalar(value)
    if not isinstance(text, str):
        raise parser.refused(path, f"expected a str, got {shown(value)}")
    check_text(text, f"{parser.error}: {path}")
    if operator in ("$regex", "$not_regex"):
        parser.count_pattern(text, path)
        translate_regex(text)
    if operator in WORD_OPERATORS:
        _check_words(parser, text, path)
    return TextMatch(cast("TextOperator", operator), text)


def _check_words(parser: _Parser, text: str, path: str) -> None:
    if len(text) > MAX_WORDS_CHARACTERS:
        raise parser.refused(
            path, f"expected at most {MAX_WORDS_CHARACTERS} characters, got {len(text)}"
        )
    if count_parts(text) > MAX_WORDS_PARTS:
        raise parser.refused(path, f"expected at most {MAX_WORDS_PARTS} alternatives and prefixes")


def _scalar(parser: _Parser, operand: Any, path: str) -> Operand:
    value = plain_scalar(operand)
    if isinstance(value, str):
        check_text(value, f"{parser.error}: {path}")
        return value
    if isinstance(value, bool):
        return value
    return _number(parser, value, path, "a str, a bool or a number")


def _number(parser: _Parser, value: Any, path: str, expected: str = "a number") -> int | float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise parser.refused(path, f"expected {expected}, got {shown(value)}")
    if isinstance(value, int) and not fits_int64(value):
        raise parser.refused(path, f"{shown(value)} does not fit 64 bits")
    if isinstance(value, float) and not math.isfinite(value):
        raise parser.refused(path, f"{value} is not a finite number")
    return value


def _list(parser: _Parser, value: Any, path: str) -> tuple[Operand, ...]:
    if not isinstance(value, list | tuple) or not value:
        reason = f"expected a list with at least one value, got {shown(value)}"
        raise parser.refused(path, reason)
    parser.count_operands(len(value), path)
    operands = tuple(
        _scalar(parser, item, below(path, f"[{index}]")) for index, item in enumerate(value)
    )
    first = type(operands[0])
    # Chroma allows an int in a list of floats, but not a float in a list of ints.
    allowed = (float, int) if first is float else (first,)
    for index, operand in enumerate(operands):
        if type(operand) not in allowed:
            reason = f"expected {first.__name__}, got {shown(operand)}"
            raise parser.refused(below(path, f"[{index}]"), reason)
    return operands
