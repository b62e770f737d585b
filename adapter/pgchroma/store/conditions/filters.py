"""Compiling filters to SQL. Every value is a bound parameter, as is every key without an index.

A negative operator is the complement of the positive one: it also matches records that lack the
key. The grammar has no other negation, so a condition may be null instead of false.

The existing indexes determine how a condition is written, never which records it matches.
"""

from __future__ import annotations

import re
from collections.abc import Set
from typing import Any, LiteralString, assert_never

import orjson
from psycopg import sql

from pgchroma.model.filterable import FilterableKeys
from pgchroma.model.filters import WORD_OPERATORS, Comparison, Filter, Junction, TextMatch
from pgchroma.model.regex import required_text, translate_regex
from pgchroma.model.words import Alternative, parse_words
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

__all__ = ("LEXEMES", "TRIGRAMS", "FilterCompiler", "Parameters", "requires_ids")

LONG_LIST = 8
"""For lists with more values than this, PostgreSQL uses a hash table."""

_COLUMN_KEYS = {"#id": "id", "chroma:document": "document", "chroma:uri": "uri"}
"""Keys that name a column of the record, not a key of its metadata."""

TRIGRAMS = SecondaryIndex("trigrams")
"""The index of documents."""

LEXEMES = SecondaryIndex("lexemes")
"""The index of the words of documents."""

_NEVER = sql.SQL("false")
_ALWAYS = sql.SQL("true")


class Parameters(dict[str, Any]):
    """Values to bind, by generated names."""

    def bind(self, value: Any) -> sql.Placeholder:
        """Add a value and return its placeholder."""
        name = f"f{len(self)}"
        self[name] = value
        return sql.Placeholder(name)


class FilterCompiler:
    """Compiles filters, and collects the properties that their statement depends on, in one pass.

    Args:
        filterable: The keys that the collection may be filtered by.
        secondary: The indexes that are ready.

    Attributes:
        parameters: The values to bind.
        candidates: The indexes that would serve the filters if they existed.
        has_regex: Whether there is a regular expression, whose execution time may depend on the
            pattern more than on the data.
        has_long_list: Whether there is a list of more than `LONG_LIST` values.
        has_ids: Whether there is a comparison that ids are equal to.
    """

    def __init__(self, filterable: FilterableKeys, secondary: Set[SecondaryIndex]) -> None:
        self.parameters = Parameters()
        self.candidates: set[SecondaryIndex] = set()
        self.has_regex = False
        self.has_long_list = False
        self.has_ids = False
        self._filterable = filterable
        self._secondary = secondary

    def compile(self, filter: Filter) -> sql.Composable:
        """Compile a filter to a condition on the records table named ``r``.

        Raises:
            InvalidArgumentError: The collection cannot be filtered by a key, which the message
                names.
        """
        if isinstance(filter, Junction):
            return _join(filter.operator, [self.compile(clause) for clause in filter.clauses])
        self._filterable.check(filter)
        self._collect(filter)
        match filter:
            case TextMatch(operator, text) if operator in WORD_OPERATORS:
                language = self._filterable.check_text().language
                has_index = LEXEMES in self._secondary
                positive = _compile_words(text, language, self.parameters, has_index)
                return positive if operator == "$matches" else _complement(positive)
            case TextMatch(operator, text):
                return _compile_text(operator, text, self.parameters, TRIGRAMS in self._secondary)
            case Comparison(key, operator, operand) if key in _COLUMN_KEYS:
                return _compile_column(_COLUMN_KEYS[key], operator, operand, self.parameters)
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
            return
        self.has_ids |= leaf.key == "#id" and leaf.operator in ("$eq", "$in")
        if isinstance(leaf.operand, tuple):
            self.has_long_list |= len(leaf.operand) > LONG_LIST


def requires_ids(filter: Filter) -> bool:
    """Whether a filter matches only records whose ids it lists."""
    match filter:
        case Junction("$and", clauses):
            return any(map(requires_ids, clauses))
        case Junction(_, clauses):
            return bool(clauses) and all(map(requires_ids, clauses))
        case Comparison("#id", "$eq" | "$in"):
            return True
        case _:
            return False


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
    # Without an index, strpos takes three quarters of the time of like.
    return sql.SQL("strpos(r.document, {}) > 0").format(parameters.bind(text))


def _compile_regex(pattern: str, parameters: Parameters, has_trigrams: bool) -> sql.Composable:
    matching = sql.SQL("r.document ~ {}").format(parameters.bind(translate_regex(pattern)))
    literal = required_text(pattern)
    if len(literal) < MIN_LITERAL_CHARACTERS:
        return matching
    # A case expression fixes the order. PostgreSQL estimates the same cost for both tests and would
    # evaluate the pattern first.
    cased = sql.SQL("case when strpos(r.document, {}) > 0 then {} else false end").format(
        parameters.bind(literal), matching
    )
    if not has_trigrams:
        return cased
    return sql.SQL("({} and {})").format(_compile_contains(literal, parameters, True), cased)


def _compile_words(
    text: str, language: str, parameters: Parameters, has_index: bool
) -> sql.Composable:
    config = sql.SQL("{}::regconfig").format(sql.Literal(language))
    queries = (_compile_alternative(each, config, parameters) for each in parse_words(text))
    query = sql.SQL(" || ").join(queries)
    # With an index, PostgreSQL plans with the words. Without one, it parses them only once.
    template: LiteralString = "r.lexemes @@ ({})" if has_index else "r.lexemes @@ (select {})"
    return sql.SQL(template).format(query)


def _compile_alternative(
    alternative: Alternative, config: sql.Composable, parameters: Parameters
) -> sql.Composable:
    parts = [
        sql.SQL("websearch_to_tsquery({}, {})").format(config, parameters.bind(alternative.text))
    ]
    for prefix in alternative.prefixes:
        quoted = prefix.text.replace("\\", r"\\").replace("'", "''")
        exclusion: LiteralString = "!!" if prefix.is_excluded else ""
        quoted_prefix = parameters.bind(f"'{quoted}':*")
        parts.append(sql.SQL(exclusion + "to_tsquery({}, {})").format(config, quoted_prefix))
    return sql.SQL("({})").format(sql.SQL(" && ").join(parts))


def _compile_column(
    column: str, operator: str, operand: Any, parameters: Parameters
) -> sql.Composable:
    operands = operand if isinstance(operand, tuple) else (operand,)
    texts = [value for value in operands if isinstance(value, str)]
    is_negative = operator in ("$ne", "$nin", "$not_contains")
    if operator not in ("$eq", "$ne", "$in", "$nin"):
        # A column is a single text: comparisons of order and of elements do not apply.
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
        return _compile_element(key, operand, parameters)
    index = SecondaryIndex(kind_for(operand), key)
    if index in secondary:
        return _INDEXED_COMPILERS[index.kind](key, operator, operand, parameters)
    if operator in _SYMBOLS:
        return _compile_order(key, operator, operand, parameters)
    if operator == "$eq":
        return _compile_equality(key, operand, parameters)
    return _compile_membership(key, operand, parameters)


def _compile_equality(key: str, operand: Any, parameters: Parameters) -> sql.Composable:
    # Containment distinguishes 1 from "1" and from true, and treats 1 and 1.0 as equal.
    document = parameters.bind(orjson.dumps({key: operand}).decode())
    return sql.SQL("r.metadata @> {}::jsonb").format(document)


def _compile_membership(key: str, operands: Any, parameters: Parameters) -> sql.Composable:
    values = parameters.bind([orjson.dumps(operand).decode() for operand in operands])
    return sql.SQL("{} = any({}::jsonb[])").format(_metadata_value(key, parameters), values)


def _compile_indexed_value(
    key: str, operator: str, operand: Any, parameters: Parameters
) -> sql.Composable:
    """Compare a key's text or boolean with the expression that its index stores.

    The index truncates long texts, so these are also compared in full.
    """
    indexed = value_of("r.metadata", key)
    if operator == "$eq":
        condition = sql.SQL("{} = {}").format(indexed, parameters.bind(indexed_value(operand)))
        operands = (operand,)
    else:
        values = parameters.bind([indexed_value(value) for value in operand])
        condition = sql.SQL("{} = any({}::text[])").format(indexed, values)
        operands = operand
    if not any(is_truncated(value) for value in operands):
        return condition
    return sql.SQL("({} and {})").format(condition, _compile_membership(key, operands, parameters))


def _compile_indexed_number(
    key: str, operator: str, operand: Any, parameters: Parameters
) -> sql.Composable:
    """Compare a key's number with the expression that its index stores."""
    number = number_of("r.metadata", key)
    if operator == "$in":
        numbers = parameters.bind([orjson.dumps(value).decode() for value in operand])
        return sql.SQL("{} = any({}::numeric[])").format(number, numbers)
    template: LiteralString = "{} " + _SYMBOLS.get(operator, "=") + " {}::numeric"
    return sql.SQL(template).format(number, parameters.bind(orjson.dumps(operand).decode()))


def _compile_order(key: str, operator: str, operand: Any, parameters: Parameters) -> sql.Composable:
    # jsonb orders values of different types (true > 1 > "a"), so only numbers are compared.
    template: LiteralString = (
        "(jsonb_typeof({0}) = 'number' and {0} " + _SYMBOLS[operator] + " {1}::jsonb)"
    )
    number = parameters.bind(orjson.dumps(operand).decode())
    return sql.SQL(template).format(_metadata_value(key, parameters), number)


def _compile_element(key: str, operand: Any, parameters: Parameters) -> sql.Composable:
    document = parameters.bind(orjson.dumps({key: [operand]}).decode())
    positive = sql.SQL("r.metadata @> {}::jsonb").format(document)
    if isinstance(operand, bool | str):
        return positive
    # A list has either ints or floats, and 1 is not an element of [1.0]. jsonb keeps the decimal
    # point, which distinguishes the two.
    first = sql.SQL("({} ->> 0)").format(_metadata_value(key, parameters))
    test: LiteralString = "> 0" if isinstance(operand, float) else "= 0"
    return sql.SQL("({} and strpos({}, '.') " + test + ")").format(positive, first)


def _metadata_value(key: str, parameters: Parameters) -> sql.Composable:
    return sql.SQL("(r.metadata -> {}::text)").format(parameters.bind(key))


def _complement(condition: sql.Composable) -> sql.Composable:
    return sql.SQL("({}) is not true").format(condition)


_NEGATIVES = {"$ne": "$eq", "$nin": "$in", "$not_contains": "$contains"}

_SYMBOLS: dict[str, LiteralString] = {"$gt": ">", "$gte": ">=", "$lt": "<", "$lte": "<="}

_INDEXED_COMPILERS = {"value": _compile_indexed_value, "number": _compile_indexed_number}

_LIKE_SPECIAL = re.compile(r"[\\%_]")
_ESCAPED = r"\\\g<0>"
