"""`where` and `where_document`: from Chroma's dictionaries to a frozen tree.

Parsing may fail and then names the path of the fault. A tree that was parsed can always be
compiled, so nothing below this module validates again.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, cast

from pgchroma.errors import InvalidArgumentError
from pgchroma.model.metadata import fits_int64
from pgchroma.model.regex import translate_regex
from pgchroma.model.text import check_text

__all__ = (
    "MAX_DEPTH",
    "Comparison",
    "Filter",
    "Junction",
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
TextOperator: TypeAlias = Literal["$contains", "$not_contains", "$regex", "$not_regex"]

EQUALITY = ("$eq", "$ne")
ORDERING = ("$gt", "$gte", "$lt", "$lte")
LISTING = ("$in", "$nin")
CONTAINMENT = ("$contains", "$not_contains")
TEXT_OPERATORS = ("$contains", "$not_contains", "$regex", "$not_regex")
JUNCTIONS = ("$and", "$or")
MAX_DEPTH = 100
"""How deep filters may nest; far below what exhausts a stack, here or in PostgreSQL."""


@dataclass(frozen=True, slots=True)
class Junction:
    """All (``$and``) or any (``$or``) of the clauses; empty, it holds for all or for none."""

    operator: Literal["$and", "$or"]
    clauses: tuple[Filter, ...]


@dataclass(frozen=True, slots=True)
class Comparison:
    """One key compared with one operand, or with several for ``$in`` and ``$nin``.

    The keys ``#id``, ``chroma:document`` and ``chroma:uri`` mean the record's own columns.
    """

    key: str
    operator: Operator
    operand: Operand | tuple[Operand, ...]


@dataclass(frozen=True, slots=True)
class TextMatch:
    """The document compared with a text or with a pattern in Rust's regex dialect."""

    operator: TextOperator
    text: str


Filter: TypeAlias = Junction | Comparison | TextMatch


def combine(*filters: Filter | None) -> Filter | None:
    """Join with ``$and`` the filters that are there; None when none is."""
    given = tuple(clause for clause in filters if clause is not None)
    if len(given) > 1:
        return Junction("$and", given)
    return given[0] if given else None


def parse_where(where: Any) -> Filter | None:
    """Parse a metadata filter; None stays None.

    Raises:
        InvalidArgumentError: It breaks the grammar; the message names the path.
    """
    return None if where is None else _parse_node(where, "where", _WHERE, _parse_field)


def parse_where_document(where_document: Any) -> Filter | None:
    """Parse a document filter; None stays None.

    Raises:
        InvalidArgumentError: It breaks the grammar, or a pattern has no translation.
    """
    if where_document is None:
        return None
    return _parse_node(where_document, "where_document", _WHERE_DOCUMENT, _parse_text)


_WHERE = "Invalid where clause"
_WHERE_DOCUMENT = "Invalid where document clause"

_LeafParser: TypeAlias = Callable[[str, Any, str], Filter]


def _parse_node(node: Any, path: str, fault: str, leaf: _LeafParser, depth: int = 0) -> Filter:
    if depth > MAX_DEPTH:
        raise _refused(fault, path, f"filters nest deeper than {MAX_DEPTH} levels")
    key, value = _only_item(node, path, fault, "a key or an operator")
    path = f"{path}.{key}"
    if key not in JUNCTIONS:
        return leaf(key, value, path)
    if not isinstance(value, list | tuple):
        raise _refused(fault, path, f"expected a list of filters, got {_clip(value)}")
    clauses = (
        _parse_node(clause, f"{path}[{index}]", fault, leaf, depth + 1)
        for index, clause in enumerate(value)
    )
    return Junction(cast('Literal["$and", "$or"]', key), tuple(clauses))


def _only_item(node: Any, path: str, fault: str, kind: str) -> tuple[str, Any]:
    if not isinstance(node, dict):
        raise _refused(fault, path, f"expected a dict, got {_clip(node)}")
    if len(node) != 1:
        raise _refused(fault, path, f"expected exactly one entry, {kind}; got {_clip(node)}")
    ((key, value),) = node.items()
    if not isinstance(key, str):
        raise _refused(fault, path, f"expected a str as key, got {_clip(key)}")
    return key, value


def _parse_field(key: str, value: Any, path: str) -> Filter:
    if key.startswith("$"):
        raise _refused(_WHERE, path, "expected a key, $and or $or; this operator belongs to a key")
    check_text(key, f"{_WHERE}: key {_clip(key)}")
    if not isinstance(value, dict):
        return _metadata_leaf(key, "$eq", value, path)
    operator, operand = _only_item(value, path, _WHERE, "an operator")
    path = f"{path}.{operator}"
    if key == "#document" and operator in TEXT_OPERATORS:
        return _text_leaf(operator, operand, path, _WHERE)
    return _metadata_leaf(key, operator, operand, path)


def _metadata_leaf(key: str, operator: str, operand: Any, path: str) -> Comparison:
    if key == "#document" and operator in (*EQUALITY, *LISTING):
        raise InvalidArgumentError(
            "Cannot filter using metadata key '#document' with type 'Str' "
            "because indexing is disabled"
        )
    if operator in EQUALITY or operator in CONTAINMENT:
        value: Operand | tuple[Operand, ...] = _scalar(operand, path)
    elif operator in ORDERING:
        value = _number(operand, path)
    elif operator in LISTING:
        value = _list(operand, path)
    else:
        expected = ", ".join((*EQUALITY, *ORDERING, *LISTING, *CONTAINMENT))
        raise _refused(_WHERE, path, f"unknown operator; expected one of {expected}")
    return Comparison(key, cast("Operator", operator), value)


def _parse_text(operator: str, value: Any, path: str) -> Filter:
    if operator not in TEXT_OPERATORS:
        expected = ", ".join((*TEXT_OPERATORS, *JUNCTIONS))
        raise _refused(_WHERE_DOCUMENT, path, f"unknown operator; expected one of {expected}")
    return _text_leaf(operator, value, path, _WHERE_DOCUMENT)


def _text_leaf(operator: str, value: Any, path: str, fault: str) -> TextMatch:
    if not isinstance(value, str):
        raise _refused(fault, path, f"expected a str, got {_clip(value)}")
    check_text(value, f"{fault}: {path}")
    if operator in ("$regex", "$not_regex"):
        translate_regex(value)
    return TextMatch(cast("TextOperator", operator), value)


def _scalar(value: Any, path: str) -> Operand:
    if isinstance(value, str):
        check_text(value, f"{_WHERE}: {path}")
        return value
    if isinstance(value, bool):
        return value
    return _number(value, path, "a str, a bool or a number")


def _number(value: Any, path: str, expected: str = "a number") -> int | float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _refused(_WHERE, path, f"expected {expected}, got {_clip(value)}")
    if isinstance(value, int) and not fits_int64(value):
        raise _refused(_WHERE, path, f"{_clip(value)} does not fit 64 bits")
    if isinstance(value, float) and not math.isfinite(value):
        raise _refused(_WHERE, path, f"{value} is not a finite number")
    return float(value) if isinstance(value, float) else int(value)


def _list(value: Any, path: str) -> tuple[Operand, ...]:
    if not isinstance(value, list | tuple) or not value:
        raise _refused(_WHERE, path, f"expected a list with at least one value, got {_clip(value)}")
    operands = tuple(_scalar(item, f"{path}[{index}]") for index, item in enumerate(value))
    first = type(operands[0])
    # Chroma lets an int stand in a list of floats, not a float in a list of ints.
    allowed = (float, int) if first is float else (first,)
    for index, operand in enumerate(operands):
        if type(operand) not in allowed:
            kind = first.__name__
            raise _refused(_WHERE, f"{path}[{index}]", f"expected {kind}, got {_clip(operand)}")
    return operands


def _clip(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}…"  # noqa: PLR2004


def _refused(fault: str, path: str, reason: str) -> InvalidArgumentError:
    return InvalidArgumentError(f"{fault}: {path if len(path) <= 300 else path[-300:]}: {reason}")  # noqa: PLR2004
