"""All the conditions of a request as one SQL condition, and a bound on the time it may take."""

from __future__ import annotations

from collections.abc import Set

from psycopg import sql

from pgchroma.model.filters import Comparison, Filter, Junction
from pgchroma.store.conditions.filters import Parameters, compile_filter, has_regex
from pgchroma.store.layout.secondary import SecondaryIndex, candidate_indexes
from pgchroma.store.locations import StoreContext
from pgchroma.store.running.steps import ComposedSQL, Statement, Step, WithSettings, render

__all__ = ("BY_IDS", "can_reuse_plan", "compile_conditions", "reading", "time_bound")

BY_IDS = ComposedSQL(b"r.id = any(%(ids)b::text[])")
"""Holds for the records whose id is in the parameter ``ids``."""

LONG_LIST = 8
"""Values of a list from the next on which PostgreSQL looks them up by their hashes."""

_ALL = ComposedSQL(b"true")


def compile_conditions(
    ids: list[str] | None, filter: Filter | None, secondary: Set[SecondaryIndex] = frozenset()
) -> tuple[Parameters, sql.Composable]:
    """Compile all conditions on records to one, on the table named ``r``.

    Args:
        ids: The ids to be among; None for any.
        filter: What else holds.
        secondary: The indexes that are there to be used.
    """
    parameters = Parameters()
    conditions: list[sql.Composable] = []
    if ids is not None:
        parameters["ids"] = ids
        conditions.append(BY_IDS)
    if filter is not None:
        conditions.append(compile_filter(filter, parameters, secondary))
    return parameters, sql.SQL(" and ").join(conditions) if conditions else _ALL


def can_reuse_plan(filter: Filter | None, secondary: Set[SecondaryIndex]) -> bool:
    """Whether one plan of a statement with this filter does for all values.

    How many records a range or a text has decides whether its index is of use. And only a list
    that PostgreSQL plans with it makes a hash table of: else each record is compared with all of
    it, which took fifty times as long with 500 values.
    """
    return not (candidate_indexes(filter) & secondary or _has_long_list(filter))


def _has_long_list(filter: Filter | None) -> bool:
    match filter:
        case Junction(_, clauses):
            return any(_has_long_list(clause) for clause in clauses)
        case Comparison(_, _, operand):
            return isinstance(operand, tuple) and len(operand) > LONG_LIST
        case _:
            return False


def time_bound(filter: Filter | None, context: StoreContext) -> tuple[Statement, ...]:
    """Bound the time of a transaction whose filter has a regular expression."""
    if context.regex_timeout_ms is None or not has_regex(filter):
        return ()
    timeout = sql.Literal(context.regex_timeout_ms)
    return (Statement(render("set local statement_timeout = {ms}", ms=timeout)),)


def reading(statement: Statement, settings: tuple[Statement, ...]) -> Step:
    """Run a statement that only reads, with its settings if it has any."""
    return WithSettings(settings, statement) if settings else statement
