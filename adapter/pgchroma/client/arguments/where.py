"""The checks of filters in Chroma's client, with its messages.

This is not the grammar: `pgchroma.model.filters` then parses the filter, refuses more and names
the path.
"""

from __future__ import annotations

from typing import Any

from pgchroma.model.fields import DOCUMENT
from pgchroma.model.filters import MAX_DEPTH, WORD_OPERATORS
from pgchroma.model.plain import brief, plain_operand, plain_scalar

__all__ = ("check_where", "check_where_document")

_JUNCTIONS = ("$and", "$or")
_ORDERING = ("$gt", "$gte", "$lt", "$lte")
_LISTING = ("$in", "$nin")
_CONTAINMENT = ("$contains", "$not_contains")
_OPERATORS = (*_ORDERING, "$ne", "$eq", *_LISTING, *_CONTAINMENT)
_TEXT_OPERATORS = (*_CONTAINMENT, "$regex", "$not_regex", *WORD_OPERATORS)
_MIN_CLAUSES = 2


def check_where(where: Any, depth: int = 0) -> None:
    """Check a metadata filter, down to the maximum depth of the parser."""
    if depth > MAX_DEPTH:
        return
    if not isinstance(where, dict):
        raise ValueError(f"Expected where to be a dict, got {brief(where)}")
    if len(where) != 1:
        raise ValueError(f"Expected where to have exactly one operator, got {brief(where)}")
    ((key, value),) = where.items()
    key, value = plain_scalar(key), plain_operand(value)
    _check_key(key, value)
    if key in _JUNCTIONS:
        _check_clauses(value, depth)
    elif isinstance(value, dict):
        _check_expression(key, value)
    elif isinstance(value, int):
        _check_integer(value)


def check_where_document(where_document: Any, depth: int = 0) -> None:
    """Check a document filter, down to the maximum depth of the parser."""
    if depth > MAX_DEPTH:
        return
    if not isinstance(where_document, dict):
        raise ValueError(f"Expected where document to be a dictionary, got {brief(where_document)}")
    if len(where_document) != 1:
        raise ValueError(
            f"Expected where document to have exactly one operator, got {brief(where_document)}"
        )
    ((operator, operand),) = where_document.items()
    operator, operand = plain_scalar(operator), plain_scalar(operand)
    if operator in _JUNCTIONS:
        _check_document_clauses(operand, depth)
    elif operator not in _TEXT_OPERATORS:
        expected = ", ".join((*_TEXT_OPERATORS, *_JUNCTIONS))
        raise ValueError(
            f"Expected where document operator to be one of {expected}, got {brief(operator)}"
        )
    elif not isinstance(operand, str):
        raise ValueError(
            f"Expected where document operand value for operator {operator} to be a str, "
            f"got {brief(operand)}"
        )
    elif not operand:
        raise ValueError(
            f"Expected where document operand value for operator {operator} to be a non-empty str"
        )


def _check_key(key: Any, value: Any) -> None:
    if not isinstance(key, str):
        raise ValueError(f"Expected where key to be a str, got {brief(key)}")
    if key in _CONTAINMENT:
        raise ValueError(
            "Expected where key to be a metadata field name or a logical operator ($and, $or), "
            f"got {brief(key)}"
        )
    exempt = key in _JUNCTIONS or key in _LISTING
    if not exempt and not isinstance(value, str | int | float | dict):
        raise ValueError(
            "Expected where value to be a str, int, float, or operator expression, "
            f"got {brief(value)}"
        )


def _check_clauses(clauses: Any, depth: int) -> None:
    if not isinstance(clauses, list):
        raise ValueError(
            "Expected where value for $and or $or to be a list of where expressions, "
            f"got {brief(clauses)}"
        )
    if len(clauses) < _MIN_CLAUSES:
        raise ValueError(
            "Expected where value for $and or $or to be a list with at least two where "
            f"expressions, got {brief(clauses)}"
        )
    for clause in clauses:
        check_where(clause, depth + 1)


def _check_expression(key: str, expression: dict[Any, Any]) -> None:
    if len(expression) != 1:
        raise ValueError(
            f"Expected operator expression to have exactly one operator, got {brief(expression)}"
        )
    ((operator, operand),) = expression.items()
    operator, operand = plain_scalar(operator), plain_operand(operand)
    if operator in _ORDERING and not isinstance(operand, int | float):
        raise ValueError(
            f"Expected operand value to be an int or a float for operator {operator}, "
            f"got {brief(operand)}"
        )
    if operator in _LISTING and not isinstance(operand, list):
        raise ValueError(
            f"Expected operand value to be an list for operator {operator}, got {brief(operand)}"
        )
    if operator in _CONTAINMENT:
        _check_containment(key, operator, operand)
        return
    if operator not in _OPERATORS:
        raise ValueError(
            f"Expected where operator to be one of {', '.join(_OPERATORS)}, got {brief(operator)}"
        )
    _check_operand(operand)


def _check_containment(key: str, operator: str, operand: Any) -> None:
    if key == DOCUMENT and not isinstance(operand, str):
        raise ValueError(
            f"Expected operand value to be a str for operator {operator} on #document, "
            f"got {brief(operand)}"
        )
    if not isinstance(operand, str | int | float):
        raise ValueError(
            "Expected operand value to be a str, int, float, or bool for operator "
            f"{operator}, got {brief(operand)}"
        )


def _check_operand(operand: Any) -> None:
    if not isinstance(operand, str | int | float | list):
        raise ValueError(
            "Expected where operand value to be a str, int, float, bool, or list of those type, "
            f"got {brief(operand)}"
        )
    if isinstance(operand, list):
        first = type(plain_scalar(operand[0])) if operand else None
        if first is None or not all(isinstance(plain_scalar(value), first) for value in operand):
            raise ValueError(
                "Expected where operand value to be a non-empty list, and all values to be of "
                f"the same type got {brief(operand)}"
            )
    elif isinstance(operand, int):
        _check_integer(operand)


def _check_integer(value: int) -> None:
    if not -(2**63) <= value < 2**64:
        raise TypeError("Integer exceeds 64-bit range")


def _check_document_clauses(clauses: Any, depth: int) -> None:
    if not isinstance(clauses, list):
        raise ValueError(
            "Expected document value for $and or $or to be a list of where document expressions, "
            f"got {brief(clauses)}"
        )
    if len(clauses) < _MIN_CLAUSES:
        raise ValueError(
            "Expected document value for $and or $or to be a list with at least two where "
            f"document expressions, got {brief(clauses)}"
        )
    for clause in clauses:
        check_where_document(clause, depth + 1)
