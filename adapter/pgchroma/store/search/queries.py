"""The handler of queries."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pgchroma.errors import InvalidArgumentError
from pgchroma.model.operations import QueryRecords
from pgchroma.model.plain import shown
from pgchroma.model.records import QueriedRecords
from pgchroma.store.conditions.condition import Condition, resolve_where
from pgchroma.store.context import StoreContext
from pgchroma.store.handlers import handles
from pgchroma.store.records.columns import columns_from_rows, columns_of
from pgchroma.store.resolved import ResolvedCollection
from pgchroma.store.resolving import resolve
from pgchroma.store.running.steps import Rows, Statement, Steps
from pgchroma.store.search.planner import prepare_query
from pgchroma.store.search.proposed import read_proposed
from pgchroma.store.search.statements import (
    DISTANCE,
    ID,
    MAX_LISTED_IDS,
    MISSING,
    QUERY,
    select_missing_ids,
)

__all__ = ("query_records",)


@handles(QueryRecords)
def query_records(operation: QueryRecords, context: StoreContext) -> Steps[list[QueriedRecords]]:
    """Find the nearest records to each query."""
    if not len(operation.embeddings):
        yield from resolve(operation.collection, context)
        return []
    resolved, condition = yield from resolve_where(
        operation.collection,
        context,
        operation.ids,
        operation.filter,
        dimension=operation.embeddings.shape[1],
        may_lag=True,
    )
    if resolved.dimension is None or operation.n_results == 0:
        yield from _check_ids(operation, resolved)
        return _results((), operation, resolved)
    rows, condition = yield from read_proposed(operation, resolved, condition, context)
    if rows is None:
        rows = yield from _find(operation, resolved, condition, context)
    if rows:
        _check_none_missing(rows[0][MISSING])
    else:
        yield from _check_ids(operation, resolved)
    return _results(rows, operation, resolved)


def _find(
    operation: QueryRecords,
    resolved: ResolvedCollection,
    condition: Condition,
    context: StoreContext,
) -> Steps[Rows]:
    """Execute a query until an answer is complete, and remember whether many records match."""
    # The hash of a long list of ids takes longer than counting them.
    remembers = operation.filter is not None and operation.ids is None
    is_frequent = condition.is_frequent(operation.n_results) if remembers else False
    query = prepare_query(operation, resolved, condition, context, counts_matches=not is_frequent)
    rows = yield from condition.read(query.step)
    if query.is_uncounted and not query.has_all_matches(rows):
        condition.record_frequent(operation.n_results, is_frequent=False)
        query = prepare_query(operation, resolved, condition, context)
        rows = yield query.step
    elif is_frequent is None and query.has_all_matches(rows) and query.is_frequent(rows):
        condition.record_frequent(operation.n_results, is_frequent=True)
    if not query.has_all_matches(rows):
        exact_query = prepare_query(operation, resolved, condition, context, force_exact=True)
        rows = yield exact_query.step
    return rows


def _check_ids(operation: QueryRecords, resolved: ResolvedCollection) -> Steps[None]:
    """Look up the ids of a query whose answer has no row to list the missing ones."""
    if operation.ids:
        text = select_missing_ids(resolved.tables)
        rows = yield Statement(text, {"ids": operation.ids})
        _check_none_missing(rows[0][0])


def _check_none_missing(missing: Sequence[str] | None) -> None:
    if not missing:
        return
    listed = ", ".join(shown(id) for id in missing[:MAX_LISTED_IDS])
    more = " and others" if len(missing) > MAX_LISTED_IDS else ""
    raise InvalidArgumentError(
        f"Error finding id: the collection has no record {listed}{more}; "
        "pass only ids of existing records"
    )


def _results(
    rows: Rows, operation: QueryRecords, resolved: ResolvedCollection
) -> list[QueriedRecords]:
    columns = columns_of(operation.include, resolved)
    groups: list[list[Sequence[Any]]] = [[] for _ in operation.embeddings]
    for row in rows:
        if row[DISTANCE] is not None:
            groups[row[QUERY] - 1].append(row)
    return [
        QueriedRecords(
            columns_from_rows([row[ID:] for row in group], columns, operation.include, resolved),
            [row[DISTANCE] for row in group],
        )
        for group in groups
    ]
