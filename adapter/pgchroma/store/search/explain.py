"""The handler that explains a query: it executes the query with `explain` and reads the plan."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, Final

import orjson

from pgchroma.errors import InvalidArgumentError
from pgchroma.model.inspection import QueryPlan, SegmentUse
from pgchroma.model.operations import ExplainQuery
from pgchroma.store.conditions.condition import Condition, resolve_where
from pgchroma.store.context import StoreContext
from pgchroma.store.handlers import handles
from pgchroma.store.layout.segments import Segment, ranges_without
from pgchroma.store.running.steps import Statement, Steps
from pgchroma.store.search.planner import PreparedQuery, prepare_query

__all__ = ("explain_query",)


@handles(ExplainQuery)
def explain_query(operation: ExplainQuery, context: StoreContext) -> Steps[QueryPlan]:
    """Execute a query's statement with `explain`, and the exact one if the answer is short.

    An explanation is an inspection: it does not count as demand for a missing index.
    """
    query = operation.query
    if not len(query.embeddings):
        raise InvalidArgumentError("no query to explain; pass at least one query embedding")
    resolved, condition = yield from resolve_where(
        query.collection, context, query.ids, query.filter, dimension=query.embeddings.shape[1]
    )
    if resolved.dimension is None or query.n_results == 0:
        return QueryPlan("exact", None, (), 0, 0, 0.0, 0.0)
    prepared = prepare_query(query, resolved, condition, context)
    plan = yield from _explain(prepared, condition)
    # `explain` does not return the rows, which determine whether a query is executed again.
    if prepared.has_all_matches((yield prepared.step)):
        return plan
    exact_query = prepare_query(query, resolved, condition, context, force_exact=True)
    return replace(plan, again=(yield from _explain(exact_query, condition)))


def _explain(prepared: PreparedQuery, condition: Condition) -> Steps[QueryPlan]:
    explained = replace(
        prepared.statement,
        text=b"explain (analyze, buffers, format json) " + prepared.statement.text,
    )
    rows = yield replace(prepared, statement=explained).step
    output = rows[0][0]
    return _plan(prepared, orjson.loads(output) if isinstance(output, str) else output)


def _plan(prepared: PreparedQuery, explained: Any) -> QueryPlan:
    root = explained[0]
    nodes = list(_walk(root["Plan"]))
    segments = tuple(_segment_use(segment, nodes) for segment in prepared.segments)
    matches = next(
        (_rows_returned(node) for node in nodes if node.get("Subplan Name") == "CTE matching"), None
    )
    is_searched = any(
        node.get("Index Name") in {segment.index_name for segment in segments}
        and _is_executed(node)
        for node in nodes
    )
    scans = [node for node in nodes if "Relation Name" in node and _is_executed(node)]
    tails = [_bounds(range) for range in ranges_without(prepared.segments)]
    settings = dict(_setting(statement) for statement in prepared.settings)
    return QueryPlan(
        "index" if is_searched else "exact",
        matches,
        segments if is_searched else (),
        sum(_tail_rows(node, tails) for node in scans) if is_searched else 0,
        sum(_rows_read(node) for node in scans),
        root["Planning Time"],
        root["Execution Time"],
        settings,
        prepared.statement.text.decode().strip(),
        orjson.dumps(explained, option=orjson.OPT_INDENT_2).decode(),
    )


def _segment_use(segment: Segment, nodes: list[dict[str, Any]]) -> SegmentUse:
    rows = sum(_rows_read(node) for node in nodes if node.get("Index Name") == segment.index_name)
    return SegmentUse(segment.index_name, segment.first_pos, segment.end_pos, rows)


def _bounds(range: tuple[int | None, int | None]) -> set[tuple[str, int]]:
    first, end = range
    bounds = {(">=", first), ("<", end)}
    return {(symbol, bound) for symbol, bound in bounds if bound is not None}


def _tail_rows(node: dict[str, Any], tails: Sequence[set[tuple[str, int]]]) -> int:
    """Return how many rows of the tail a node read for each query."""
    if not node["Relation Name"].startswith("vectors_"):
        return 0
    conditions = " ".join(str(node.get(name, "")) for name in _CONDITIONS)
    bounds = {(symbol, int(bound)) for symbol, bound in _BOUND.findall(conditions)}
    rows: float = node["Actual Rows"]
    return round(rows) if bounds in tails else 0


def _walk(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for child in plan.get("Plans", ()):
        yield from _walk(child)


def _is_executed(node: dict[str, Any]) -> bool:
    return bool(node["Actual Loops"])


def _rows_returned(node: dict[str, Any]) -> int:
    rows: float = node["Actual Rows"] * node["Actual Loops"]
    return round(rows)


def _rows_read(node: dict[str, Any]) -> int:
    removed: float = node.get("Rows Removed by Filter", 0)
    removed += node.get("Rows Removed by Index Recheck", 0)
    removed *= node["Actual Loops"]
    return _rows_returned(node) + round(removed)


def _setting(statement: Statement) -> tuple[str, str]:
    name, _, value = statement.text.decode().removeprefix("set local ").partition(" = ")
    return name, value


_CONDITIONS: Final = ("Index Cond", "Recheck Cond", "Filter")
_BOUND: Final = re.compile(r"\bpos (>=|<) '?(\d+)")
