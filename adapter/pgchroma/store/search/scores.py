"""Compiling rank expressions to SQL, in float32.

Each operator becomes one lateral column, so that nothing is written twice, however deep an
expression nests. A column is float8 and holds a float32: the exact result of an operator on two
float32 is rounded once. Where IEEE 754 has an infinity, a NaN or zero, PostgreSQL raises, so the
operands and results that would are handled before.

A value consists of a support, the records that have it, and a default for all other records, or
none. A default keeps a record that another operand has; it never adds one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any, Final

import numpy as np

from pgchroma.model.float32 import INFINITE_FROM, ZERO_UP_TO
from pgchroma.model.search.ranking import Calculation, Constant, Nearest, Ranking

__all__ = ("RankingSQL", "compile_ranking")


@dataclass(frozen=True, slots=True)
class RankingSQL:
    """The SQL of a rank expression.

    It refers to each search of the expression as ``k0``, ``k1`` and so on, with the columns
    ``seq``, ``value`` and ``place``, which are null for a record that the search did not find.

    Attributes:
        columns: The lateral joins that compute the operators.
        score: The value of the whole expression.
        support: The condition under which a record has a value. `None` means that none has.
    """

    columns: str
    score: str
    support: str | None


def compile_ranking(ranking: Ranking) -> tuple[RankingSQL, dict[str, float]]:
    """Compile a rank expression; return its SQL and the values of its placeholders."""
    compiler = _Compiler()
    value = compiler.compile(ranking)
    score = compiler.sql_of(value)
    return RankingSQL("\n".join(compiler.columns), score, value.support), compiler.constants


@dataclass(frozen=True, slots=True)
class _Value:
    """A part of an expression.

    Attributes:
        sql: Its value.
        support: The condition under which a record is in its support; `None` means never.
        has_default: Whether it has a value for all other records.
        constant: Its value, if it is the same for all records.
    """

    sql: str
    support: str | None
    has_default: bool
    constant: np.float32 | None = None


class _Compiler:
    def __init__(self) -> None:
        self.columns: list[str] = []
        self.constants: dict[str, float] = {}
        self._searches = 0

    def compile(self, ranking: Ranking) -> _Value:
        match ranking:
            case Constant(value):
                return _constant(np.float32(value))
            case Nearest():
                return self._search(ranking)
            case Calculation(operator, operands) if operator in _UNARY:
                return self._unary(operator, self.compile(operands[0]))
            case Calculation(operator, operands):
                values = map(self.compile, operands)
                if operator in _STARTS:
                    return reduce(
                        lambda a, b: self._binary(operator, a, b),
                        values,
                        _constant(_STARTS[operator]),
                    )
                left, right = values
                return self._binary(operator, left, right)

    def sql_of(self, value: _Value) -> str:
        """Return a value's SQL; a constant is bound to a placeholder."""
        if value.constant is None:
            return value.sql
        name = f"c{len(self.constants)}"
        self.constants[name] = float(value.constant)
        return f"%({name})b::float8"

    def _search(self, nearest: Nearest) -> _Value:
        name = f"k{self._searches}"
        self._searches += 1
        value = f"{name}.{'place' if nearest.returns_rank else 'value'}::float8"
        if nearest.default is not None:
            default = self.sql_of(_constant(np.float32(nearest.default)))
            value = f"coalesce({value}, {default})"
        return _Value(value, f"{name}.seq is not null", nearest.default is not None)

    def _unary(self, operator: str, operand: _Value) -> _Value:
        if operand.constant is not None:
            return _constant(_calculate(_UNARY_VALUES[operator], operand.constant))
        sql = self._column(_UNARY[operator].format(a=operand.sql))
        return _Value(sql, operand.support, operand.has_default)

    def _binary(self, operator: str, left: _Value, right: _Value) -> _Value:
        if left.constant is not None and right.constant is not None:
            function = _BINARY_VALUES[operator]
            return _constant(_calculate(function, left.constant, right.constant))
        if operator == "$mul" and left.constant == 1:
            return right
        template = _BINARY[operator]
        sql = self._column(template.format(a=self.sql_of(left), b=self.sql_of(right)))
        return _Value(sql, _merged_support(left, right), left.has_default and right.has_default)

    def _column(self, value: str) -> str:
        name = f"e{len(self.columns)}"
        self.columns.append(
            _COLUMN.format(
                value=value, name=name, infinite_from=INFINITE_FROM, zero_up_to=ZERO_UP_TO
            )
        )
        return f"{name}.v"


def _constant(value: np.float32) -> _Value:
    return _Value("", None, True, value)


def _merged_support(left: _Value, right: _Value) -> str | None:
    supports = [value.support for value in (left, right) if value.support is not None]
    if left.has_default and right.has_default:
        return _joined(" or ", supports)
    if left.has_default:
        return right.support
    if right.has_default:
        return left.support
    return _joined(" and ", supports) if len(supports) > 1 else None


def _joined(word: str, supports: Sequence[str]) -> str | None:
    distinct = list(dict.fromkeys(supports))
    return f"({word.join(distinct)})" if len(distinct) > 1 else next(iter(distinct), None)


def _calculate(function: Callable[..., Any], *operands: np.float32) -> np.float32:
    with np.errstate(all="ignore"):
        return np.float32(function(*operands))


_UNARY_VALUES: Final[dict[str, Callable[..., Any]]] = {
    "$abs": np.abs,
    "$exp": np.exp,
    "$log": np.log,
}
_BINARY_VALUES: Final[dict[str, Callable[..., Any]]] = {
    "$sum": np.add,
    "$sub": np.subtract,
    "$mul": np.multiply,
    "$div": np.divide,
    # These ignore a NaN, as Chroma does. Of equal operands, 0 and -0 too, they return the first.
    "$max": lambda a, b: b if np.isnan(a) or b > a else a,
    "$min": lambda a, b: b if np.isnan(a) or b < a else a,
}
_STARTS: Final = {
    "$sum": np.float32(0),
    "$mul": np.float32(1),
    "$max": np.finfo(np.float32).min,
    "$min": np.finfo(np.float32).max,
}
"""What the operands of an operator are combined with, from left to right."""

# `offset 0` keeps PostgreSQL from writing the inner expression wherever it is used.
_COLUMN: Final = """cross join lateral (
    select case
        when x.v is null or x.v = 'NaN' then x.v
        when abs(x.v) >= {infinite_from} then
            case when x.v > 0 then 'Infinity'::float8 else '-Infinity' end
        when abs(x.v) <= {zero_up_to} then
            case when x.v::text like '-%%' then '-0'::float8 else 0 end
        else x.v::real
    end::float8 as v
    from (select ({value})::float8 as v offset 0) as x
    offset 0
) as {name}"""

_UNARY: Final = {
    "$abs": "abs({a})",
    "$exp": (
        "case when {a} = 'NaN' then 'NaN'::float8 when {a} > 89 then 'Infinity' "
        "when {a} < -104 then 0 else exp({a}) end"
    ),
    "$log": (
        "case when {a} = 'NaN' or {a} < 0 then 'NaN'::float8 when {a} = 0 then '-Infinity' "
        "else ln({a}) end"
    ),
}
_BINARY: Final = {
    "$sum": "{a} + {b}",
    "$sub": "{a} - {b}",
    "$mul": "{a} * {b}",
    "$div": (
        "case when {b} <> 0 then {a} / {b} when {a} = 0 or {a} = 'NaN' then 'NaN'::float8 "
        "when ({a} > 0) = (({b})::text <> '-0') then 'Infinity' else '-Infinity' end"
    ),
    # PostgreSQL's greatest and least ignore a null, and do not ignore a NaN.
    "$max": (
        "case when {a} is null or {b} is null then null when {a} = 'NaN' then {b} "
        "when {b} = 'NaN' then {a} else greatest({a}, {b}) end"
    ),
    "$min": (
        "case when {a} is null or {b} is null then null when {a} = 'NaN' then {b} "
        "when {b} = 'NaN' then {a} else least({a}, {b}) end"
    ),
}
