"""Queries whose candidates are proposed by indexes in the memory of this process.

One statement computes the exact distances to the candidates, and to the rows that no segment
covers. It joins the records, so candidates that were deleted, that are of another tenant or that
do not match drop out. A segment without an index in memory is searched as in other queries, unless
there is a condition.

An answer is discarded, and the query is planned without indexes in memory, if an index is not the
database's, or has too few candidates left: others, farther away, may match.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import ceil
from typing import Any, Final

import numpy as np

from pgchroma.model.operations import QueryRecords
from pgchroma.store.conditions.condition import Condition
from pgchroma.store.context import StoreContext
from pgchroma.store.encoding.number_arrays import pack_numbers
from pgchroma.store.layout.segments import Segment
from pgchroma.store.proposers import Proposer, Proposers
from pgchroma.store.records.columns import columns_of
from pgchroma.store.resolved import ResolvedCollection
from pgchroma.store.running.steps import Rows, Statement, Steps, WithSettings, reading
from pgchroma.store.search.planner import NearestPlan, pack_queries, plan_nearest, search_settings
from pgchroma.store.search.proposed_statements import LEFT, ProposedShape
from pgchroma.store.search.statements import least_found

__all__ = ("ProposedQuery", "prepare_proposed", "read_proposed")

MAX_RESULTS: Final = 333
"""More results are found by other means: each candidate costs PostgreSQL some microseconds."""

MAX_CANDIDATES: Final = 1_000
"""How many candidates an index proposes at most for a query. More are worth no search."""

MIN_PART: Final = 4
"""Indexes propose at most their entries divided by this: reading all of them takes no longer."""

USUAL_SHARE: Final = 0.875
"""The share of candidates that are expected to be left, if nothing is known and there is no
condition. Those of replaced and deleted embeddings are not."""

USUAL_FILTERED_SHARE: Final = 0.25
"""The same for a condition of which nothing is known."""

MIN_LIVE_SHARE: Final = 0.2
"""The least share that is expected to be left if there is no condition, unless it has proved too
high."""

MAX_RISE: Final = 1.25
"""How much greater than an expected share below that one a found share counts at most."""

MEMORY_OF_SHARE: Final = 0.75
"""The weight of what was known of a share before."""

MIN_NORM, MAX_VALUE = 1e-18, 1e15
"""A cosine distance to a shorter query, or a distance to one with a greater value, is not computed
by its direction: the squares of its values leave the range of float32."""


@dataclass(frozen=True, slots=True)
class ProposedQuery:
    """A query with its candidates, as it is sent to PostgreSQL.

    Attributes:
        settings: The settings of its transaction.
        count: How many candidates each index proposed for each query.
        limit: How many records each query asks for.
        enough: How many candidates have to be left.
        queries: How many queries there are.
        searches: Whether some segments have no index in memory, and are searched.
    """

    settings: tuple[Statement, ...]
    statement: Statement
    count: int
    limit: int
    enough: int
    queries: int
    searches: bool
    _condition: Condition
    _proposers: Proposers
    _tokens: Sequence[str]

    @property
    def step(self) -> Statement | WithSettings:
        """The statement with its settings."""
        return reading(self.statement, self.settings)

    def has_all_matches(self, rows: Rows) -> bool:
        """Whether the answer is complete. Record how many candidates were left.

        It is not if an index is not the database's, if too few candidates are left, if a row of
        vectors belongs to no record, or if a search found too few.
        """
        left = [row[LEFT] for row in rows]
        if None in left:
            self._proposers.doubt(self._tokens)
            return False
        self._record_share(min(left))
        least = least_found(rows, self.queries)
        if least is None:
            return False
        return min(left) >= self.enough and (not self.searches or least >= self.limit)

    def _record_share(self, left: int) -> None:
        known, found = self._condition.share, max(left, 0.5) / self.count
        has_enough = left >= self.enough
        if not self._condition.is_restrictive:
            found = max(found, self._least_share(known, has_enough=has_enough))
            if known is not None and known < MIN_LIVE_SHARE:
                # The next query may be about the same dead entries.
                found = min(found, MAX_RISE * known)
        if known is not None and has_enough:
            found = MEMORY_OF_SHARE * known + (1 - MEMORY_OF_SHARE) * found
        self._condition.record_share(found)

    @staticmethod
    def _least_share(known: float | None, *, has_enough: bool) -> float:
        """Return the least share to expect if there is no condition.

        Dead entries may be next to each other, and there are not many in all. So it is lowered
        step by step, as long as queries find too few others.
        """
        if known is None or known > MIN_LIVE_SHARE or has_enough:
            return MIN_LIVE_SHARE
        return known / 2


def read_proposed(
    operation: QueryRecords,
    resolved: ResolvedCollection,
    condition: Condition,
    context: StoreContext,
) -> Steps[tuple[Rows | None, Condition]]:
    """Execute a query with the candidates of indexes in memory.

    Returns:
        The rows, or None if there is no complete answer; and the condition for statements that
        follow.
    """
    proposed = prepare_proposed(operation, resolved, condition, context)
    if proposed is None:
        return None, condition
    rows = yield from condition.read(proposed.step)
    return rows if proposed.has_all_matches(rows) else None, condition.repeated()


def prepare_proposed(
    operation: QueryRecords,
    resolved: ResolvedCollection,
    condition: Condition,
    context: StoreContext,
) -> ProposedQuery | None:
    """Ask the indexes in memory for candidates, and compose a query's statement.

    Args:
        operation: The query.
        resolved: The collection, which has a dimension.
        condition: The query's ids and filter.
        context: The store's context.

    Returns:
        None if there is no index in memory, or none that helps.
    """
    proposers = context.proposers
    if proposers is None or not _is_suited(operation, resolved):
        return None
    # An index finds the few documents with a text. To remember the share of a long list takes long.
    if not condition.reuses_bounded_plan:
        return None
    found = proposers.find(resolved)
    pairs = zip(resolved.indexes.segments, found, strict=True)
    indexes = [(segment, index) for segment, index in pairs if index is not None]
    is_complete = len(indexes) == len(found)
    if not indexes or (condition.is_restrictive and not is_complete):
        return None
    count = _count(operation.n_results, condition)
    entries = sum(index.entries for _, index in indexes)
    if count > MAX_CANDIDATES or count * len(indexes) > entries // MIN_PART:
        return None
    plan = plan_nearest(operation.embeddings, operation.n_results, resolved, is_restricted=False)
    if plan.strategy == "exact":
        return None
    return _prepared(operation, resolved, condition, context, proposers, indexes, plan, count)


def _is_suited(operation: QueryRecords, resolved: ResolvedCollection) -> bool:
    if operation.ids is not None or not 0 < operation.n_results <= MAX_RESULTS:
        return False
    if np.abs(operation.embeddings).max() > MAX_VALUE:
        return False
    if resolved.space != "cosine":
        return True
    norms = np.linalg.norm(operation.embeddings.astype(np.float64), axis=1)
    return bool(norms.min() > MIN_NORM)


def _count(n_results: int, condition: Condition) -> int:
    """Return how many candidates leave enough, if the same share is left as before."""
    share = USUAL_FILTERED_SHARE if condition.is_restrictive else USUAL_SHARE
    if condition.share is not None:
        share = min(condition.share, USUAL_SHARE)
    # With a condition, the nearest that match are farther away, where an index is less precise.
    wanted = 2 * n_results + 10 if condition.is_restrictive else 1.25 * n_results + 5
    return ceil(wanted / share)


def _prepared(
    operation: QueryRecords,
    resolved: ResolvedCollection,
    condition: Condition,
    context: StoreContext,
    proposers: Proposers,
    indexes: Sequence[tuple[Segment, Proposer]],
    plan: NearestPlan,
    count: int,
) -> ProposedQuery:
    segments = [segment for segment, _ in indexes]
    searches = len(segments) < len(resolved.indexes.segments)
    nearest = replace(
        plan.shape,
        has_condition=condition.is_restrictive,
        proposed=frozenset(segments),
    )
    shape = ProposedShape(
        nearest,
        columns_of(operation.include, resolved),
        is_single=len(operation.embeddings) == 1,
        limited=tuple((s.first_pos, s.end_pos) for s, index in indexes if index.entries > count),
    )
    positions = np.hstack([index.propose(operation.embeddings, count) for _, index in indexes])
    parameters: dict[str, Any] = {
        "queries": pack_queries(operation.embeddings, context),
        "tokens": [index.token for _, index in indexes],
        "positions": pack_numbers(positions.ravel(), "bigint"),
        "count": positions.shape[1],
    }
    return ProposedQuery(
        (*(search_settings((plan,)) if searches else ()), *condition.settings),
        condition.statement(shape.text(condition.sql), parameters),
        count,
        operation.n_results,
        ceil(1.5 * operation.n_results) if condition.is_restrictive else operation.n_results,
        len(operation.embeddings),
        searches,
        condition,
        proposers,
        parameters["tokens"],
    )
