"""Chooses how a query is executed, from what is known of the collection before it is sent.

exact     compute the distances to all embeddings, or to those of all records that match;
index     take the nearest that each segment's index finds and the nearest of the rows that no
          segment covers, and of these the nearest.

With a condition, the statement itself decides. It first collects the positions of the records that
match, up to a limit. If there are no more, it computes the distances to exactly these. Above the
limit it searches the indexes, and keeps of the nearest rows those that match. It takes no more
rows than an index returns in reliable order, which is a few times the candidates that a search
keeps: farther away, the index misses more and more of them.

If a statement with the same condition has lately found more records than the limit, the next one
does not collect them, and searches the indexes at once. If its answer is short, it is discarded,
and the records are counted again.

So an answer is short if the matching records lie elsewhere than the query. It may also be short
because an index missed records, or because a row of vectors no longer belongs to a record. A short
answer is discarded, and the query is executed again, exactly.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, isqrt
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pgchroma.model.inspection import Strategy
from pgchroma.model.operations import QueryRecords
from pgchroma.store.conditions.condition import Condition
from pgchroma.store.context import StoreContext
from pgchroma.store.encoding.vectors import PackedArray, pack_vector, pack_vectors
from pgchroma.store.layout.segments import MAX_HALF, Segment, candidates
from pgchroma.store.layout.tables import MAX_PLAIN_DIMENSION
from pgchroma.store.records.columns import columns_of
from pgchroma.store.resolved import ReadyIndexes, ResolvedCollection
from pgchroma.store.running.steps import Rows, Statement, WithSettings, reading
from pgchroma.store.search.nearest import NearestShape, matches_to_take
from pgchroma.store.search.statements import IS_SEARCHED, QueryShape, least_found

__all__ = (
    "NearestPlan",
    "PreparedQuery",
    "pack_queries",
    "plan_nearest",
    "prepare_query",
    "search_settings",
)

MIN_EXACT_SCAN: Final = 2_000
"""Up to this many matching records are always read exactly."""

INDEX_ROW_COST: Final = 10
"""The cost of taking a row from an index, in rows read exactly. Measured: 6 to 8; the rest is what
an exact answer is worth."""

MAX_SEARCHED: Final = 10_000
"""More results are read exactly: pgvector ends a scan after 20,000 rows, whatever it has found."""

MAX_EF_SEARCH: Final = 1_000
"""pgvector's maximum of hnsw.ef_search."""

LARGE_SEGMENT: Final = 30_000
"""A search of a segment with more embeddings keeps more candidates than the setting says."""

LARGE_EF_FACTOR: Final = 1.25
"""How many times as many. Large graphs over the same embeddings differ by chance in what a search
reaches. This makes up for what the worse ones miss, compared with Chroma's."""

RELIABLE: Final = 3
"""How many times hnsw.ef_search rows an index returns in roughly the right order. Measured on
100,000 records, for the records from a rank on: at 3 times all are found, at 5 times nine in ten,
at 10 times seven in ten."""

MAX_FILTERED_RESULTS: Final = MAX_EF_SEARCH // RELIABLE
"""More results with a condition are read exactly: of a thousand, an index misses one in ten."""

MIN_SHARE: Final = 10
"""More results than the indexed embeddings divided by this are read exactly."""


@dataclass(frozen=True, slots=True)
class PreparedQuery:
    """A query as it is sent to PostgreSQL.

    Attributes:
        strategy: How it is executed, unless fewer records match than are worth a search.
        is_adaptive: Whether the statement itself counts the matching records, and decides.
        is_uncounted: Whether it searches for the records that match without counting them.
        segments: The segments that it searches.
        settings: The settings of its transaction.
        limit: How many records each query asks for.
        count: How many queries there are.
    """

    strategy: Strategy
    is_adaptive: bool
    is_uncounted: bool
    segments: tuple[Segment, ...]
    settings: tuple[Statement, ...]
    statement: Statement
    limit: int
    count: int

    @property
    def step(self) -> Statement | WithSettings:
        """The statement with its settings."""
        return reading(self.statement, self.settings)

    def has_all_matches(self, rows: Rows) -> bool:
        """Whether the answer is complete.

        It is not if a row of vectors belongs to no record, or if an index returned too few.
        """
        least = least_found(rows, self.count)
        if least is None:
            return False
        is_searched = self.strategy == "index" and not self.is_adaptive
        is_searched = is_searched or any(row[IS_SEARCHED] for row in rows)
        return not is_searched or least >= self.limit

    def is_frequent(self, rows: Rows) -> bool:
        """Whether a complete answer shows that more records match than are read exactly."""
        return self.is_adaptive and bool(rows) and bool(rows[0][IS_SEARCHED])


@dataclass(frozen=True, slots=True)
class NearestPlan:
    """How the nearest rows to a query are found.

    Attributes:
        strategy: How they are found, unless fewer records match than are worth a search.
        shape: The shape of their SQL.
        ef_search: How many candidates the search of an index keeps.
    """

    strategy: Strategy
    shape: NearestShape
    ef_search: int


def plan_nearest(
    embeddings: NDArray[np.float32],
    n_results: int,
    resolved: ResolvedCollection,
    *,
    is_restricted: bool,
    id_count: int | None = None,
    force_exact: bool = False,
    counts_matches: bool = True,
) -> NearestPlan:
    """Choose how the nearest rows are found.

    Args:
        embeddings: The queries, of shape ``(queries, dimension)``.
        n_results: How many rows each query asks for.
        resolved: The collection, which has a dimension.
        is_restricted: Whether there is a condition.
        id_count: How many ids the condition lists.
        force_exact: Whether the answer has to be exact, and to have rows of records only.
        counts_matches: Whether the records that match are counted before an index is searched.
    """
    exact_limit = _exact_scan_limit(resolved.indexes, n_results)
    strategy: Strategy = "exact"
    if not force_exact:
        strategy = _strategy(embeddings, n_results, resolved, exact_limit, is_restricted, id_count)
    indexes = resolved.indexes if strategy == "index" else ReadyIndexes()
    is_filtered = strategy == "index" and is_restricted
    is_adaptive = is_filtered and counts_matches
    ef_search = _ef_search(indexes, n_results, exact_limit if is_adaptive else None)
    shape = NearestShape(
        resolved.tables,
        resolved.space,
        resolved.dimension or 0,
        indexes,
        n_results,
        is_adaptive,
        has_condition=is_restricted or force_exact,
        exact_limit=exact_limit if is_adaptive else 0,
        reliable=RELIABLE * ef_search if is_filtered else 0,
    )
    return NearestPlan(strategy, shape, ef_search)


def prepare_query(
    operation: QueryRecords,
    resolved: ResolvedCollection,
    condition: Condition,
    context: StoreContext,
    *,
    force_exact: bool = False,
    counts_matches: bool = True,
) -> PreparedQuery:
    """Choose how a query is executed, and compose its statement.

    Args:
        operation: The query.
        resolved: The collection, which has a dimension.
        condition: The query's ids and filter.
        context: The store's context.
        force_exact: Whether the answer has to be exact, and to have rows of records only.
        counts_matches: Whether the records that match are counted before an index is searched.
    """
    plan = plan_nearest(
        operation.embeddings,
        operation.n_results,
        resolved,
        is_restricted=condition.is_restrictive,
        id_count=None if operation.ids is None else len(operation.ids),
        force_exact=force_exact,
        counts_matches=counts_matches,
    )
    is_adaptive, segments = plan.shape.is_adaptive, plan.shape.indexes.segments
    shape = QueryShape(
        plan.shape,
        columns_of(operation.include, resolved),
        is_single=len(operation.embeddings) == 1,
        has_ids=bool(operation.ids),
    )
    statement = condition.statement(
        shape.text(condition.sql),
        {"queries": pack_queries(operation.embeddings, context)},
        # Looking ids up record by record takes a hash table of them; see `Condition.reuses_plan`.
        reuses_plan=not (is_adaptive and operation.ids is not None),
    )
    return PreparedQuery(
        plan.strategy,
        is_adaptive,
        plan.shape.is_filtered and not is_adaptive,
        segments,
        (*search_settings((plan,)), *condition.settings),
        statement,
        operation.n_results,
        len(operation.embeddings),
    )


def _exact_scan_limit(indexes: ReadyIndexes, n_results: int) -> int:
    """Return up to how many matching records are read exactly rather than searched for.

    Reading m of n records costs m. To take k of them, an index returns k n / m rows, at
    `INDEX_ROW_COST` each. Both costs are equal at the root of their product.
    """
    taken = matches_to_take(n_results, indexes.ef_search)
    return max(MIN_EXACT_SCAN, isqrt(INDEX_ROW_COST * taken * indexes.entries))


def _ef_search(indexes: ReadyIndexes, n_results: int, exact_limit: int | None) -> int:
    """Return how many candidates the search of an index keeps: pgvector's hnsw.ef_search.

    If the matching records are counted, more match than the limit of an exact scan: if they were
    spread evenly, the nearest would be among ``n_results * entries / exact_limit`` rows. None means
    that they are not counted, because there is no condition, or because it matched many before. A
    search with a condition takes several times as many rows as it keeps candidates, so it finds
    enough in large segments, too.
    """
    least = indexes.ef_search
    if exact_limit is None and any(each.entries > LARGE_SEGMENT for each in indexes.segments):
        least = ceil(LARGE_EF_FACTOR * least)
    size = max(
        (
            candidates(segment.quantization, n_results, indexes.ef_search)
            for segment in indexes.segments
        ),
        default=0,
    )
    if exact_limit is not None:
        size = max(size, n_results * indexes.entries // exact_limit)
    return min(max(least, size), MAX_EF_SEARCH)


def _strategy(
    embeddings: NDArray[np.float32],
    n_results: int,
    resolved: ResolvedCollection,
    exact_limit: int,
    is_restricted: bool,
    id_count: int | None,
) -> Strategy:
    indexes = resolved.indexes
    if not indexes.segments or n_results > min(indexes.entries / MIN_SHARE, MAX_SEARCHED):
        return "exact"
    if is_restricted and (indexes.entries <= exact_limit or n_results > MAX_FILTERED_RESULTS):
        return "exact"
    if id_count is not None and id_count <= exact_limit:
        return "exact"
    has_halves = any(segment.quantization == "halfvec" for segment in indexes.segments)
    if has_halves and resolved.space != "cosine" and np.abs(embeddings).max() > MAX_HALF:
        return "exact"
    return "index"


def pack_queries(embeddings: NDArray[np.float32], context: StoreContext) -> PackedArray:
    """Pack one query into a ``vector``, and several into a ``vector[]``."""
    if len(embeddings) == 1:
        return pack_vector(embeddings[0])
    return pack_vectors(embeddings, context.vector_oid)


def search_settings(plans: Sequence[NearestPlan]) -> tuple[Statement, ...]:
    """Return the settings of a statement that finds the nearest rows as planned."""
    searched = [plan for plan in plans if plan.strategy == "index"]
    if not searched:
        return ()
    is_filtered = any(plan.shape.is_filtered for plan in searched)
    # Dead entries and records that do not match must not make an answer short.
    settings: list[bytes] = [
        b"set local hnsw.ef_search = %d" % max(plan.ef_search for plan in searched),
        b"set local hnsw.iterative_scan = relaxed_order",
    ]
    if is_filtered:
        settings.append(b"set local hnsw.scan_mem_multiplier = 4")
        # A lower limit would fill the answer up with rows that were set aside as too far.
        settings.append(b"set local hnsw.max_scan_tuples = 1000000")
    if is_filtered or searched[0].shape.dimension > MAX_PLAIN_DIMENSION:
        # The planner cannot know that a condition that seems to match few records matches more
        # than the limit: it would rather sort all records than read them in the index's order.
        # Nor does it know that long embeddings are stored elsewhere and expensive to read.
        settings.append(b"set local enable_sort = off")
        # Before PostgreSQL 18, the cost of a disabled sort would make PostgreSQL compile the
        # statement, which takes longer than executing it.
        settings.append(b"set local jit = off")
    return tuple(Statement(text) for text in settings)
