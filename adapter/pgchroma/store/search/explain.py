"""The handlers that tell how far indexes are, how a query runs and what it finds."""

from __future__ import annotations

import re
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, Final, LiteralString

import numpy as np
import orjson
from psycopg import sql

from pgchroma.errors import InvalidArgumentError
from pgchroma.model.configuration import clamped
from pgchroma.model.inspection import IndexingStatus, QueryPlan, Recall, SegmentUse
from pgchroma.model.operations import (
    ExplainQuery,
    GetIndexingStatus,
    MeasureRecall,
    QueryRecords,
)
from pgchroma.store.conditions.condition import reading
from pgchroma.store.handlers import handles
from pgchroma.store.layout.segments import Segment, needs_index, ranges_without, within
from pgchroma.store.locations import ResolvedCollection, StoreContext, resolve
from pgchroma.store.records.vectors import unpack_vectors
from pgchroma.store.running.steps import Statement, Steps, render, text_of
from pgchroma.store.search.queries import PreparedQuery, locate_query, prepare_query
from pgchroma.store.waits import compactor_blockers

__all__ = ("explain_query", "get_indexing_status", "measure_recall")


@handles(GetIndexingStatus)
def get_indexing_status(
    operation: GetIndexingStatus, context: StoreContext
) -> Steps[IndexingStatus]:
    """Count the embeddings that wait for an index, and look how far a build is."""
    context.forget_location(operation.collection)
    resolved = yield from resolve(operation.collection, context, is_fresh=True)
    if resolved.dimension is None:
        records = (yield Statement(text_of(resolved.tables.record_count)))[0][0]
        return IndexingStatus(records, 0, records, 1.0)
    ranges = [within("pos", *bounds) for bounds in ranges_without(resolved.indexes.segments)]
    text = render(
        _STATUS,
        count=resolved.tables.record_count,
        vectors=resolved.tables.vectors,
        ranges=sql.SQL(" or ").join(ranges),
    )
    named = {"id": resolved.tables.id, "vectors": resolved.tables.vectors.as_string(None)}
    rows = yield Statement(text, named)
    records, tail, stored_threshold, error, built = rows[0]
    sync_threshold = clamped("sync_threshold", int(stored_threshold))
    waiting = (
        tail if needs_index(tail, resolved.dimension, sync_threshold, context.segment_bytes) else 0
    )
    if waiting and error is None:
        # It may be another collection's build that cannot end, and this one's comes after it.
        others = yield from compactor_blockers()
        error = f"building indexes waits for {others[0]}" if others else None
    total = max(records, waiting)
    done = total - waiting + min(built or 0, waiting)
    return IndexingStatus(total - waiting, waiting, total, done / total if total else 1.0, error)


@handles(ExplainQuery)
def explain_query(operation: ExplainQuery, context: StoreContext) -> Steps[QueryPlan]:
    """Run a query's statement and read PostgreSQL's account of it; of the second run, too."""
    query = operation.query
    if not len(query.embeddings):
        raise InvalidArgumentError("there is no query to explain: give at least one")
    resolved = yield from locate_query(query, context)
    if resolved.dimension is None or query.n_results == 0:
        return QueryPlan("exact", None, (), 0, 0, 0.0, 0.0)
    prepared = prepare_query(query, resolved, context)
    plan = yield from _explain(prepared)
    # PostgreSQL's account does not have the rows, by which a query decides whether to run again.
    if prepared.has_all_matches((yield reading(prepared.statement, prepared.settings))):
        return plan
    again = prepare_query(query, resolved, context, force_exact=True)
    return replace(plan, again=(yield from _explain(again)))


@handles(MeasureRecall)
def measure_recall(operation: MeasureRecall, context: StoreContext) -> Steps[Recall]:
    """Ask for the neighbours of some embeddings twice, and compare."""
    resolved = yield from resolve(operation.collection, context, is_fresh=True)
    resolved.indexed.check(operation.filter)
    sample = np.empty((0, 0), dtype=np.float32)
    if resolved.dimension is not None:
        text = render(_SAMPLE, records=resolved.tables.records, vectors=resolved.tables.vectors)
        rows = yield Statement(text, {"sample": operation.sample})
        sample = unpack_vectors([row[0] for row in rows], resolved.dimension)
    found, expected, times, exact_times = 0, 0, [], []
    for embedding in sample:
        query = QueryRecords(
            operation.collection,
            embedding.reshape(1, -1),
            operation.n_results,
            frozenset(),
            None,
            operation.filter,
        )
        begin = time.perf_counter()
        ids = yield from _ids(query, resolved, context, force_exact=False)
        middle = time.perf_counter()
        truth = yield from _ids(query, resolved, context, force_exact=True)
        times.append(middle - begin)
        exact_times.append(time.perf_counter() - middle)
        found += len(set(ids) & set(truth))
        expected += len(truth)
    return Recall(
        found / expected if expected else 1.0,
        len(sample),
        operation.n_results,
        statistics.median(times) * 1000 if times else 0.0,
        statistics.median(exact_times) * 1000 if exact_times else 0.0,
    )


def _explain(prepared: PreparedQuery) -> Steps[QueryPlan]:
    explained = Statement(
        b"explain (analyze, buffers, format json) " + prepared.statement.text,
        prepared.statement.parameters,
    )
    rows = yield reading(explained, prepared.settings)
    found = rows[0][0]
    return _plan(prepared, orjson.loads(found) if isinstance(found, str) else found)


def _ids(
    query: QueryRecords, resolved: ResolvedCollection, context: StoreContext, *, force_exact: bool
) -> Steps[list[str]]:
    prepared = prepare_query(query, resolved, context, force_exact=force_exact)
    rows = yield reading(prepared.statement, prepared.settings)
    if not prepared.has_all_matches(rows):
        return (yield from _ids(query, resolved, context, force_exact=True))
    return prepared.ids(rows)


def _plan(prepared: PreparedQuery, explained: Any) -> QueryPlan:
    root = explained[0]
    nodes = list(_nodes(root["Plan"]))
    segments = tuple(_use(segment, nodes) for segment in prepared.segments)
    matches = next(
        (_rows(node) for node in nodes if node.get("Subplan Name") == "CTE matching"), None
    )
    is_searched = any(
        node.get("Index Name") in {each.index_name for each in segments} and _runs(node)
        for node in nodes
    )
    scans = [node for node in nodes if "Relation Name" in node and _runs(node)]
    tails = [_bounds(range) for range in ranges_without(prepared.segments)]
    settings = dict(_setting(statement) for statement in prepared.settings)
    return QueryPlan(
        "index" if is_searched else "exact",
        matches,
        segments if is_searched else (),
        sum(_tail_rows(node, tails) for node in scans) if is_searched else 0,
        sum(_read(node) for node in scans),
        root["Planning Time"],
        root["Execution Time"],
        settings,
        prepared.statement.text.decode().strip(),
        orjson.dumps(explained, option=orjson.OPT_INDENT_2).decode(),
    )


def _use(segment: Segment, nodes: list[dict[str, Any]]) -> SegmentUse:
    rows = sum(_read(node) for node in nodes if node.get("Index Name") == segment.index_name)
    return SegmentUse(segment.index_name, segment.first_pos, segment.end_pos, rows)


def _bounds(range: tuple[int | None, int | None]) -> set[tuple[str, int]]:
    first, end = range
    found = {(">=", first), ("<", end)}
    return {(symbol, bound) for symbol, bound in found if bound is not None}


def _tail_rows(node: dict[str, Any], tails: Sequence[set[tuple[str, int]]]) -> int:
    """Rows of the log that were read, for each query, since no segment has them."""
    if not node["Relation Name"].startswith("vectors_"):
        return 0
    conditions = " ".join(str(node.get(name, "")) for name in _CONDITIONS)
    bounds = {(symbol, int(bound)) for symbol, bound in _BOUND.findall(conditions)}
    rows: float = node["Actual Rows"]
    return round(rows) if bounds in tails else 0


def _nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for child in plan.get("Plans", ()):
        yield from _nodes(child)


def _runs(node: dict[str, Any]) -> bool:
    return bool(node["Actual Loops"])


def _rows(node: dict[str, Any]) -> int:
    rows: float = node["Actual Rows"] * node["Actual Loops"]
    return round(rows)


def _read(node: dict[str, Any]) -> int:
    removed: float = node.get("Rows Removed by Filter", 0)
    removed += node.get("Rows Removed by Index Recheck", 0)
    removed *= node["Actual Loops"]
    return _rows(node) + round(removed)


def _setting(statement: Statement) -> tuple[str, str]:
    name, _, value = statement.text.decode().removeprefix("set local ").partition(" = ")
    return name, value


_CONDITIONS: Final = ("Index Cond", "Recheck Cond", "Filter")
_BOUND: Final = re.compile(r"\bpos (>=|<) '?(\d+)")

_STATUS: LiteralString = """
select
    ({count}),
    (select count(*) from {vectors} where {ranges}),
    c.configuration -> 'hnsw' ->> 'sync_threshold',
    c.index_error,
    (
        select sum(p.tuples_done)::bigint
        from pg_catalog.pg_stat_progress_create_index as p
        where p.relid = to_regclass(%(vectors)s)
    )
from pgchroma.collections as c
where c.id = %(id)s
"""

_SAMPLE: LiteralString = """
select vector_send(v.embedding)
from {vectors} as v
where exists (select from {records} as r where r.seq = v.seq and r.pos = v.pos)
order by random()
limit %(sample)s
"""
