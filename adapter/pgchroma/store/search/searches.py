"""The handler of searches: filters, rank expressions, groups and pages."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from pgchroma.errors import InvalidArgumentError
from pgchroma.model.fields import SCORE
from pgchroma.model.operations import CollectionRef, SearchRecords
from pgchroma.model.records import FoundRecords
from pgchroma.model.search.parsed import ParsedSearch
from pgchroma.model.search.ranking import Nearest, Ranking, nearest_of
from pgchroma.model.sparse import SparseVector
from pgchroma.model.words import Words
from pgchroma.store.conditions.condition import Condition, resolve_where
from pgchroma.store.context import StoreContext
from pgchroma.store.handlers import handles
from pgchroma.store.records.columns import columns_from_rows, columns_of
from pgchroma.store.records.reads import select_page
from pgchroma.store.resolved import ResolvedCollection
from pgchroma.store.resolving import resolve_for_query
from pgchroma.store.running.steps import Reads, Rows, Steps, WithSettings
from pgchroma.store.search.leaves import EMPTY_LEAF, DenseShape, Leaf, dense_leaf
from pgchroma.store.search.planner import plan_nearest, search_settings
from pgchroma.store.search.search_statements import (
    FIRST_COLUMN,
    IS_BROAD,
    IS_COMPLETE,
    SCORE_COLUMN,
    ranked_statement,
)
from pgchroma.store.search.sparse import sparse_leaf, sparse_settings
from pgchroma.store.search.words import words_leaf

__all__ = ("search_records",)


@handles(SearchRecords)
def search_records(operation: SearchRecords, context: StoreContext) -> Steps[list[FoundRecords]]:
    """Execute all searches of a request in one round trip, and exactly those that fell short."""
    if not operation.searches:
        yield from resolve_where(operation.collection, context, None, None)
        return []
    searches: list[_PreparedSearch] = []
    for parsed in operation.searches:
        searches.append((yield from _prepare(parsed, operation.collection, context)))
    yield from _execute(searches)
    short = [search for search in searches if not search.is_complete]
    yield from _execute(short, force_exact=True)
    for search in searches:
        search.condition.count_missing_indexes()
    return [search.results() for search in searches]


@dataclass(slots=True)
class _PreparedSearch:
    """A search with its collection and condition, and its rows once it has been executed.

    Attributes:
        has_index: Whether an index finds the records that match, and not too many of them.
    """

    search: ParsedSearch
    resolved: ResolvedCollection
    condition: Condition
    has_index: bool
    rows: Rows = ()

    @property
    def columns(self) -> tuple[str, ...]:
        return columns_of(self.search.include, self.resolved)

    @property
    def is_empty(self) -> bool:
        """Whether no statement is needed to know that nothing is found."""
        ranking = self.search.ranking
        if ranking is None:
            return False
        return next(nearest_of(ranking), None) is None

    @property
    def is_complete(self) -> bool:
        """Whether every search by a vector found what it had to."""
        return self.search.ranking is None or all(row[IS_COMPLETE] for row in self.rows)

    def read(self, *, force_exact: bool) -> WithSettings:
        """Return the statement and its settings."""
        search = self.search
        if search.ranking is None:
            statement = select_page(
                self.resolved, self.condition, self.columns, search.limit, search.offset
            )
            return WithSettings(self.condition.settings, statement)
        leaves = self._leaves(search.ranking, force_exact=force_exact)
        plans = [leaf.shape.plan for leaf in leaves if isinstance(leaf.shape, DenseShape)]
        statement = ranked_statement(
            search, search.ranking, leaves, self.resolved, self.condition, self.columns
        )
        settings = (
            *search_settings(plans),
            *sparse_settings(
                (leaf.shape for leaf in leaves),
                reuses_plan=statement.reuses_plan,
                has_index=self.has_index,
            ),
            *self.condition.settings,
        )
        return WithSettings(settings, statement)

    def _leaves(self, ranking: Ranking, *, force_exact: bool) -> list[Leaf]:
        return [self._leaf(nearest, force_exact=force_exact) for nearest in nearest_of(ranking)]

    def _leaf(self, nearest: Nearest, *, force_exact: bool) -> Leaf:
        query = nearest.query
        if isinstance(query, SparseVector):
            number, has_bm25 = _sparse_index(self.resolved, nearest.key)
            if not query.indices:
                return EMPTY_LEAF
            return sparse_leaf(
                query,
                nearest.limit,
                number,
                has_bm25=has_bm25,
                has_condition=self.condition.is_restrictive,
                has_index=self.has_index,
                force_exact=force_exact,
            )
        if isinstance(query, Words):
            return words_leaf(
                query,
                nearest.limit,
                self.resolved.filterable.check_text(),
                has_condition=self.condition.is_restrictive,
                has_index=self.has_index,
                force_exact=force_exact,
            )
        if self.resolved.dimension is None:
            return EMPTY_LEAF
        plan = plan_nearest(
            query[np.newaxis],
            nearest.limit,
            self.resolved,
            is_restricted=self.condition.is_restrictive,
            force_exact=force_exact,
        )
        return dense_leaf(query, plan)

    def results(self) -> FoundRecords:
        """Return the records that were found."""
        rows, scores = self.rows, [float(position) for position in range(len(self.rows))]
        if self.search.ranking is not None:
            found = [row for row in rows if row[FIRST_COLUMN] is not None]
            scores = [row[SCORE_COLUMN] for row in found]
            rows = [row[FIRST_COLUMN:] for row in found]
        records = columns_from_rows(rows, self.columns, self.search.include, self.resolved)
        if records.metadatas is not None:
            metadatas = list(map(self.search.metadata_of, records.metadatas))
            records = replace(records, metadatas=metadatas)
        is_scored = SCORE in self.search.selected
        return FoundRecords(records, list(map(_finite, scores)) if is_scored else None)


def _prepare(
    search: ParsedSearch, collection: CollectionRef, context: StoreContext
) -> Steps[_PreparedSearch]:
    queries = [nearest.query for nearest in nearest_of(search.ranking)]
    dimensions = [len(query) for query in queries if isinstance(query, np.ndarray)]
    resolved, condition = yield from resolve_where(
        collection,
        context,
        None,
        search.filter,
        dimension=next(iter(dimensions), None),
        may_lag=True,
    )
    for dimension in dimensions[1:]:
        # A dimension that differs is looked up again, and then refused.
        yield from resolve_for_query(collection, context, dimension)
    for nearest in nearest_of(search.ranking):
        if isinstance(nearest.query, SparseVector):
            _sparse_index(resolved, nearest.key)
        elif isinstance(nearest.query, Words):
            resolved.filterable.check_text()
    # Only searches by sparse vectors and by words ask the index first.
    asks_index = len(dimensions) < len(queries)
    has_index = asks_index and condition.has_index and not condition.is_broad
    return _PreparedSearch(search, resolved, condition, has_index)


def _sparse_index(resolved: ResolvedCollection, key: str) -> tuple[int, bool]:
    """Return the number of a key's table of sparse vectors, and whether it weights queries."""
    index = resolved.filterable.sparse.get(key)
    if index is None or index.number is None:
        raise InvalidArgumentError(
            f"Cannot filter using metadata key '{key}' with type 'SparseVector' because indexing "
            "is disabled"
        )
    return index.number, index.has_bm25


def _execute(searches: list[_PreparedSearch], *, force_exact: bool = False) -> Steps[None]:
    executed = [search for search in searches if not search.is_empty]
    if not executed:
        return
    reads = [search.read(force_exact=force_exact) for search in executed]
    renewal = executed[0].condition.renewal
    if renewal is not None:
        reads.append(WithSettings(reads[-1].settings, renewal.statement))
    answers: Any = yield Reads(tuple(reads))
    if renewal is not None:
        renewal.note(answers.pop())
    for search, rows in zip(executed, answers, strict=True):
        search.rows = rows
        if search.search.ranking is not None and any(row[IS_BROAD] for row in rows):
            search.condition.record_broad()


def _finite(score: float) -> float | None:
    return score if math.isfinite(score) else None
