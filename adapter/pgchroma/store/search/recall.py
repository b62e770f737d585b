"""The handler that measures recall: the share of the exact neighbours that queries find."""

from __future__ import annotations

import statistics
import time
from typing import LiteralString

import numpy as np

from pgchroma.model.inspection import Recall
from pgchroma.model.operations import MeasureRecall, QueryRecords
from pgchroma.store.conditions.condition import Condition, resolve_where
from pgchroma.store.context import StoreContext
from pgchroma.store.encoding.vectors import unpack_vectors
from pgchroma.store.handlers import handles
from pgchroma.store.resolved import ResolvedCollection
from pgchroma.store.running.steps import Statement, Steps, render
from pgchroma.store.search.planner import prepare_query
from pgchroma.store.search.proposed import prepare_proposed
from pgchroma.store.search.statements import ids_of

__all__ = ("measure_recall",)


@handles(MeasureRecall)
def measure_recall(operation: MeasureRecall, context: StoreContext) -> Steps[Recall]:
    """Search for the neighbours of some embeddings twice, by index and exactly, and compare.

    A measurement is an inspection: it does not count as demand for a missing index.
    """
    resolved, condition = yield from resolve_where(
        operation.collection, context, None, operation.filter
    )
    sample = np.empty((0, 0), dtype=np.float32)
    if resolved.dimension is not None:
        text = render(_SAMPLE, records=resolved.tables.records, vectors=resolved.tables.vectors)
        rows = yield Statement(text, {"sample": operation.sample})
        sample = unpack_vectors([row[0] for row in rows], resolved.dimension)
    n_found, n_expected, times, exact_times = 0, 0, [], []
    for embedding in sample:
        query = QueryRecords(
            operation.collection,
            embedding.reshape(1, -1),
            operation.n_results,
            frozenset(),
            None,
            operation.filter,
        )
        start = time.perf_counter()
        ids = yield from _ids(query, resolved, condition, context, force_exact=False)
        middle = time.perf_counter()
        exact_ids = yield from _ids(query, resolved, condition, context, force_exact=True)
        times.append(middle - start)
        exact_times.append(time.perf_counter() - middle)
        n_found += len(set(ids) & set(exact_ids))
        n_expected += len(exact_ids)
    return Recall(
        n_found / n_expected if n_expected else 1.0,
        len(sample),
        operation.n_results,
        statistics.median(times) * 1000 if times else 0.0,
        statistics.median(exact_times) * 1000 if exact_times else 0.0,
    )


def _ids(
    query: QueryRecords,
    resolved: ResolvedCollection,
    condition: Condition,
    context: StoreContext,
    *,
    force_exact: bool,
) -> Steps[list[str]]:
    if not force_exact:
        proposed = prepare_proposed(query, resolved, condition, context)
        if proposed is not None:
            rows = yield proposed.step
            if proposed.has_all_matches(rows):
                return ids_of(rows)
    prepared = prepare_query(query, resolved, condition, context, force_exact=force_exact)
    rows = yield prepared.step
    if not prepared.has_all_matches(rows):
        return (yield from _ids(query, resolved, condition, context, force_exact=True))
    return ids_of(rows)


_SAMPLE: LiteralString = """
select vector_send(v.embedding)
from {vectors} as v
where exists (select from {records} as r where r.seq = v.seq and r.pos = v.pos)
order by random()
limit %(sample)s
"""
