"""All the conditions of a request as one SQL condition, and a bound on the time it may take."""

from __future__ import annotations

from psycopg import sql

from pgchroma.errors import InvalidArgumentError
from pgchroma.model.filters import Filter
from pgchroma.store.filters import Parameters, compile_filter, has_regex
from pgchroma.store.locations import Environment
from pgchroma.store.statement import Rendered, Statement, Step, render

__all__ = ("BY_IDS", "bounded", "compile_conditions")

BY_IDS = Rendered(b"r.id = any(%(ids)b::text[])")
"""Holds for the records whose id is in the parameter ``ids``."""

MOST_PARAMETERS = 60_000
"""PostgreSQL's protocol counts them in 16 bits, and a statement has some besides its filter."""

_ALL = Rendered(b"true")


def compile_conditions(
    ids: list[str] | None, filter: Filter | None
) -> tuple[Parameters, sql.Composable]:
    """Compile all conditions on records to one, on the table named ``r``.

    Raises:
        InvalidArgumentError: The filter compares with more values than a statement can carry.
    """
    parameters = Parameters()
    conditions: list[sql.Composable] = []
    if ids is not None:
        parameters["ids"] = ids
        conditions.append(BY_IDS)
    if filter is not None:
        conditions.append(compile_filter(filter, parameters))
    if len(parameters) > MOST_PARAMETERS:
        raise InvalidArgumentError(
            f"the filter has {len(parameters)} operands, more than the {MOST_PARAMETERS} that one "
            "request can carry; use $in for alternatives of one key"
        )
    return parameters, sql.SQL(" and ").join(conditions) if conditions else _ALL


def bounded(
    statements: tuple[Statement, ...], filter: Filter | None, environment: Environment
) -> Step:
    """Bound the time of statements whose filter has a regular expression."""
    if environment.regex_timeout_ms is None or not has_regex(filter):
        return statements if len(statements) > 1 else statements[0]
    timeout = sql.Literal(environment.regex_timeout_ms)
    return Statement(render("set local statement_timeout = {ms}", ms=timeout)), *statements
