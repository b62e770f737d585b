"""Filters compiled to SQL: every key and every value is a bound parameter.

Compiling cannot fail. A negative operator is the complement of its positive one: it holds for
records that lack the key, too. The grammar negates nothing else, so null may stand for false.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, LiteralString, assert_never

import orjson
from psycopg import sql

from pgchroma.model.filters import Comparison, Filter, Junction, TextMatch
from pgchroma.model.regex import required_text, translate_regex

__all__ = ("Parameters", "compile_filter", "has_regex")

_COLUMNS = {"#id": "id", "chroma:document": "document", "chroma:uri": "uri"}
"""Keys that stand for a column of the record, not for its metadata."""

SHORTEST_LITERAL = 3
"""Shorter texts are in so many documents that looking for them first costs more than it saves."""

_NEVER = sql.SQL("false")
_ALWAYS = sql.SQL("true")


class Parameters(dict[str, Any]):
    """Values to bind, each under a name of its own."""

    def bind(self, value: Any) -> sql.Placeholder:
        """Keep a value and return what stands for it in the text."""
        name = f"f{len(self)}"
        self[name] = value
        return sql.Placeholder(name)


def compile_filter(filter: Filter, parameters: Parameters) -> sql.Composable:
    """Compile a filter to a condition on the records table named ``r``."""
    match filter:
        case Junction(operator, clauses):
            return _compile_junction(operator, clauses, parameters)
        case TextMatch(operator, text):
            return _compile_text(operator, text, parameters)
        case Comparison(key, operator, operand) if key in _COLUMNS:
            return _compile_column(_COLUMNS[key], operator, operand, parameters)
        case Comparison(key, operator, operand):
            return _METADATA[operator](key, operand, parameters)
        case _:
            assert_never(filter)


def has_regex(filter: Filter | None) -> bool:
    """Whether running the filter may take time that grows with a pattern, not with the data."""
    match filter:
        case Junction(_, clauses):
            return any(has_regex(clause) for clause in clauses)
        case TextMatch(operator, _):
            return operator in ("$regex", "$not_regex")
        case _:
            return False


def _compile_junction(
    operator: str, clauses: tuple[Filter, ...], parameters: Parameters
) -> sql.Composable:
    if not clauses:
        return _ALWAYS if operator == "$and" else _NEVER
    word: LiteralString = " and " if operator == "$and" else " or "
    compiled = [compile_filter(clause, parameters) for clause in clauses]
    return sql.SQL("({})").format(sql.SQL(word).join(compiled))


def _compile_text(operator: str, text: str, parameters: Parameters) -> sql.Composable:
    if operator.endswith("contains"):
        # Without an index strpos takes three quarters of the time of like.
        needle = parameters.bind(text)
        positive: sql.Composable = sql.SQL("strpos(r.document, {}) > 0").format(needle)
    else:
        positive = _compile_regex(text, parameters)
    return _complement(positive) if operator.startswith("$not") else positive


def _compile_regex(pattern: str, parameters: Parameters) -> sql.Composable:
    matching = sql.SQL("r.document ~ {}").format(parameters.bind(translate_regex(pattern)))
    literal = required_text(pattern)
    if len(literal) < SHORTEST_LITERAL:
        return matching
    # A case, since PostgreSQL would test the pattern first: it takes both for equally cheap.
    return sql.SQL("case when strpos(r.document, {}) > 0 then {} else false end").format(
        parameters.bind(literal), matching
    )


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


def _equal(key: str, operand: Any, parameters: Parameters) -> sql.Composable:
    # Containment tells 1 from "1" and from true, and takes 1 and 1.0 for one number.
    document = parameters.bind(orjson.dumps({key: operand}).decode())
    return sql.SQL("r.metadata @> {}::jsonb").format(document)


def _among(key: str, operands: Any, parameters: Parameters) -> sql.Composable:
    values = parameters.bind([orjson.dumps(operand).decode() for operand in operands])
    value = _value(key, parameters)
    return sql.SQL("{} = any({}::jsonb[])").format(value, values)


def _ordered(symbol: LiteralString) -> Callable[[str, Any, Parameters], sql.Composable]:
    # jsonb orders across types (true > 1 > "a"), so numbers are compared with numbers only.
    template: LiteralString = "(jsonb_typeof({0}) = 'number' and {0} " + symbol + " {1}::jsonb)"

    def compile_ordered(key: str, operand: Any, parameters: Parameters) -> sql.Composable:
        value = _value(key, parameters)
        number = parameters.bind(orjson.dumps(operand).decode())
        return sql.SQL(template).format(value, number)

    return compile_ordered


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


def _complemented(
    compile_positive: Callable[[str, Any, Parameters], sql.Composable],
) -> Callable[[str, Any, Parameters], sql.Composable]:
    def compile_negative(key: str, operand: Any, parameters: Parameters) -> sql.Composable:
        return _complement(compile_positive(key, operand, parameters))

    return compile_negative


def _complement(condition: sql.Composable) -> sql.Composable:
    return sql.SQL("({}) is not true").format(condition)


_METADATA: dict[str, Callable[[str, Any, Parameters], sql.Composable]] = {
    "$eq": _equal,
    "$ne": _complemented(_equal),
    "$in": _among,
    "$nin": _complemented(_among),
    "$gt": _ordered(">"),
    "$gte": _ordered(">="),
    "$lt": _ordered("<"),
    "$lte": _ordered("<="),
    "$contains": _has_element,
    "$not_contains": _complemented(_has_element),
}
