"""Filters compiled to SQL: every value is a bound parameter, and so is every key without an index.

A negative operator is the complement of its positive one: it also matches records that lack the
key. The grammar negates nothing else, so null may stand for false.

The indexes that exist decide how a condition is spelled, never which records it matches.
"""

from __future__ import annotations

import re
from collections.abc import Set
from typing import Any, LiteralString, assert_never

import orjson
from psycopg import sql

from pgchroma.model.filterable import FilterableKeys
from pgchroma.model.filters import Comparison, Filter, Junction, TextMatch
from pgchroma.model.regex import required_text, translate_regex
from pgchroma.store.layout.secondary import (
    MIN_LITERAL_CHARACTERS,
    SecondaryIndex,
    candidate_index,
    indexed_value,
    is_truncated,
    kind_for,
    number_of,
    value_of,
)

__all__ = ("FilterCompiler", "Parameters")

LONG_LIST = 8
"""From one more value on, PostgreSQL looks the values of a list up in a hash table."""

_COLUMNS = {"#id": "id", "chroma:document": "document", "chroma:uri": "uri"}
"""Keys that stand for a column of the record, not for its metadata."""

_TRIGRAMS = SecondaryIndex("trigrams")

_NEVER = sql.SQL("false")
_ALWAYS = sql.SQL("true")


class Parameters(dict[str, Any]):
    """Values to bind, each under its own name."""

    def bind(self, value: Any) -> sql.Placeholder:
        """Add a value, and return its placeholder."""
        name = f"f{len(self)}"
        self[name] = value
        return sql.Placeholder(name)


class FilterCompiler:
    """Compiles filters, and collects what a statement has to know of them, in one walk.

    Args:
        filterable: What the collection may be filtered by.
        secondary: The indexes that are ready.

    Attributes:
        parameters: The values to bind.
        candidates: The indexes that would serve the filters if they existed.
        has_regex: Whether execution may take a time that grows with a pattern, not with the data.
        has_long_list: Whether there is a list of more than `LONG_LIST` values.
    """

    def __init__(self, filterable: FilterableKeys, secondary: Set[SecondaryIndex]) -> None:
        self.parameters = Parameters()
        self.candidates: set[SecondaryIndex] = set()
        self.has_regex = False
        self.has_long_list = False
        self._filterable = filterable
        self._secondary = secondary

    def compile(self, filter: Filter) -> sql.Composable:
        """Compile a filter to a condition on the records table named ``r``.

        Raises:
            InvalidArgumentError: The collection may not be filtered so; the message names the key.
        """
        if isinstance(filter, Junction):
            return _join(filter.operator, [self.compile(clause) for clause in filter.clauses])
        self._filterable.check(filter)
        self._collect(filter)
        match filter:
            case TextMatch(operator, text):
                return _compile_text(operator, text, self.parameters, _TRIGRAMS in self._secondary)
            case Comparison(key, operator, operand) if key in _COLUMNS:
                return _compile_column(_COLUMNS[key], operator, operand, self.parameters)
            case Comparison(key, operator, operand):
                return _compile_metadata(key, operator, operand, self.parameters, self._secondary)
            case _:
                assert_never(filter)

    def _collect(self, leaf: Comparison | TextMatch) -> None:
        candidate = candidate_index(leaf)
        if candidate is not None:
            self.candidates.add(candidate)
        if isinstance(leaf, TextMatch):
            self.has_regex |= leaf.operator in ("$regex", "$not_regex")
        elif isinstance(leaf.operand, tuple):
            self.has_long_list |= len(leaf.operand) > LONG_LIST


def _join(operator: str, compiled: list[sql.Composable]) -> sql.Composable:
    if not compiled:
        return _ALWAYS if operator == "$and" else _NEVER
    word: LiteralString = " and " if operator == "$and" else " or "
    return sql.SQL("({})").format(sql.SQL(word).join(compiled))


def _compile_text(
    operator: str, text: str, parameters: Parameters, has_trigrams: bool
) -> sql.Composable:
    if operator.endswith("contains"):
        positive = _compile_contains(text, parameters, has_trigrams)
    else:
        positive = _compile_regex(text, parameters, has_trigrams)
    return _complement(positive) if operator.startswith("$not") else positive


def _compile_contains(text: str, parameters: Parameters, has_trigrams: bool) -> sql.Composable:
    if has_trigrams and len(text) >= MIN_LITERAL_CHARACTERS:
        pattern = parameters.bind(f"%{_LIKE_SPECIAL.sub(_ESCAPED, text)}%")
        return sql.SQL("r.document like {}").format(pattern)
    # Without an index strpos takes three quarters of the time of like.
    return sql.SQL("strpos(r.document, {}) > 0").format(parameters.bind(text))


def _compile_regex(pattern: str, parameters: Parameters, has_trigrams: bool) -> sql.Composable:
    matching = sql.SQL("r.document ~ {}").format(parameters.bind(translate_regex(pattern)))
    literal = required_text(pattern)
    if len(literal) < MIN_LITERAL_CHARACTERS:
        return matching
    # A case, since PostgreSQL would test the pattern first: it takes both for equally cheap.
    cased = sql.SQL("case when strpos(r.document, {}) > 0 then {} else false end").format(
        parameters.bind(literal), matching
    )
    if not has_trigrams:
        return cased
    return sql.SQL("({} and {})").format(_compile_contains(literal, parameters, True), cased)


def _compile_column(
    column: str, operator: str, operand: Any, parameters: Parameters
) -> sql.Composable:
    operands = operand if isinstance(operand, tuple) else (operand,)
    texts = [value for value in operands if isinstance(value, str)]
    is_negative = operator in ("$ne", "$nin", "$not_contains")
    if operator not in ("$eq", "$ne", "$in", "$nin"):
        # A column holds one text: it has no order here and no elements.
        return _ALWAYS if is_negative else _NEVER
    positive = sql.SQL("r.{} = any({}::text[])").format(
        sql.Identifier(column), parameters.bind(texts)
    )
    return _complement(positive) if is_negative else positive


def _compile_metadata(
    key: str,
    operator: str,
    operand: Any,
    parameters: Parameters,
    secondary: Set[SecondaryIndex],
) -> sql.Composable:
    if operator in _NEGATIVES:
        positive = _compile_metadata(key, _NEGATIVES[operator], operand, parameters, secondary)
        return _complement(positive)
    if operator == "$contains":
        return _has_element(key, operand, parameters)
    index = SecondaryIndex(kind_for(operand), key)
    if index in secondary:
        return _COMPILED_FOR[index.kind](key, operator, operand, parameters)
    if operator in _SYMBOLS:
        return _ordered(key, operator, operand, parameters)
    if operator == "$eq":
        return _equal(key, operand, parameters)
    return _among(key, operand, parameters)


def _equal(key: str, operand: Any, parameters: Parameters) -> sql.Composable:
    # Containment tells 1 from "1" and from true, and takes 1 and 1.0 for one number.
    document = parameters.bind(orjson.dumps({key: operand}).decode())
    return sql.SQL("r.metadata @> {}::jsonb").format(document)


def _among(key: str, operands: Any, parameters: Parameters) -> sql.Composable:
    values = parameters.bind([orjson.dumps(operand).decode() for operand in operands])
    return sql.SQL("{} = any({}::jsonb[])").format(_value(key, parameters), values)


def _valued(key: str, operator: str, operand: Any, parameters: Parameters) -> sql.Composable:
    """Compare a key's text or truth value as its index has it; a long text itself as well."""
    indexed = value_of("r.metadata", key)
    if operator == "$eq":
        found = sql.SQL("{} = {}").format(indexed, parameters.bind(indexed_value(operand)))
        operands = (operand,)
    else:
        values = parameters.bind([indexed_value(each) for each in operand])
        found = sql.SQL("{} = any({}::text[])").format(indexed, values)
        operands = operand
    if not any(is_truncated(each) for each in operands):
        return found
    return sql.SQL("({} and {})").format(found, _among(key, operands, parameters))


def _numbered(key: str, operator: str, operand: Any, parameters: Parameters) -> sql.Composable:
    """Compare a key's number."""
    number = number_of("r.metadata", key)
    if operator == "$in":
        several = parameters.bind([orjson.dumps(each).decode() for each in operand])
        return sql.SQL("{} = any({}::numeric[])").format(number, several)
    template: LiteralString = "{} " + _SYMBOLS.get(operator, "=") + " {}::numeric"
    return sql.SQL(template).format(number, parameters.bind(orjson.dumps(operand).decode()))


def _ordered(key: str, operator: str, operand: Any, parameters: Parameters) -> sql.Composable:
    # jsonb orders across types (true > 1 > "a"), so numbers are compared with numbers only.
    template: LiteralString = (
        "(jsonb_typeof({0}) = 'number' and {0} " + _SYMBOLS[operator] + " {1}::jsonb)"
    )
    number = parameters.bind(orjson.dumps(operand).decode())
    return sql.SQL(template).format(_value(key, parameters), number)


def _has_element(key: str, operand: Any, parameters: Parameters) -> sql.Composable:
    document = parameters.bind(orjson.dumps({key: [operand]}).decode())
    positive = sql.SQL("r.metadata @> {}::jsonb").format(document)
    if isinstance(operand, bool | str):
        return positive
    # A list holds ints or floats, and 1 is not an element of [1.0]; jsonb keeps the point.
    first = sql.SQL("({} ->> 0)").format(_value(key, parameters))
    test: LiteralString = "> 0" if isinstance(operand, float) else "= 0"
    return sql.SQL("({} and strpos({}, '.') " + test + ")").format(positive, first)


def _value(key: str, parameters: Parameters) -> sql.Composable:
    return sql.SQL("(r.metadata -> {}::text)").format(parameters.bind(key))


def _complement(condition: sql.Composable) -> sql.Composable:
    return sql.SQL("({}) is not true").format(condition)


_NEGATIVES = {"$ne": "$eq", "$nin": "$in", "$not_contains": "$contains"}

_SYMBOLS: dict[str, LiteralString] = {"$gt": ">", "$gte": ">=", "$lt": "<", "$lte": "<="}

_COMPILED_FOR = {"value": _valued, "number": _numbered}

_LIKE_SPECIAL = re.compile(r"[\\%_]")
_ESCAPED = r"\\\g<0>"
