"""All the conditions of a request as one SQL condition, and a bound on the time it may take."""

from __future__ import annotations

from psycopg import sql

from pgchroma.model.filters import Filter
from pgchroma.store.filters import Parameters, compile_filter, has_regex
from pgchroma.store.locations import Environment
from pgchroma.store.statement import Rendered, Statement, Step, render

__all__ = ("bounded", "compile_conditions")


def compile_conditions(
    ids: list[str] | None, filter: Filter | None
) -> tuple[Parameters, sql.Composable]:
    """Compile all conditions on records to one, on the table named ``r``."""
    parameters = Parameters()
    conditions: list[sql.Composable] = []
    if ids is not None:
        parameters["ids"] = ids
        conditions.append(_IDS)
    if filter is not None:
        conditions.append(compile_filter(filter, parameters))
    return parameters, sql.SQL(" and ").join(conditions) if conditions else _ALL


def bounded(statement: Statement, filter: Filter | None, environment: Environment) -> Step:
    """Bound the time of a statement whose filter has a regular expression."""
    if not has_regex(filter):
        return statement
    timeout = sql.Literal(environment.regex_timeout_ms)
    return Statement(render("set local statement_timeout = {ms}", ms=timeout)), statement


_IDS = Rendered(b"r.id = any(%(ids)b::text[])")
_ALL = Rendered(b"true")
