"""Operations that search records, explain a search, and measure what searches find."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pgchroma.model.filters import Filter
from pgchroma.model.inspection import QueryPlan, Recall
from pgchroma.model.operations.base import OnCollection, Read
from pgchroma.model.records import FoundRecords, QueriedRecords
from pgchroma.model.search.parsed import ParsedSearch
from pgchroma.model.types import ReadLevel

__all__ = ("ExplainQuery", "MeasureRecall", "QueryRecords", "SearchRecords")


@dataclass(frozen=True, slots=True, eq=False)
class QueryRecords(OnCollection, Read[list[QueriedRecords]]):
    """For each embedding, return the `n_results` nearest records that match all conditions.

    Attributes:
        embeddings: Shape ``(queries, dimension)``.
    """

    embeddings: NDArray[np.float32]
    n_results: int
    include: frozenset[str]
    ids: list[str] | None = None
    filter: Filter | None = None

    def split(self, parts: int) -> list[QueryRecords]:
        """Return the same queries in at most `parts` operations, whose answers concatenate."""
        if parts < 2 or len(self.embeddings) < parts:  # noqa: PLR2004
            return [self]
        return [replace(self, embeddings=part) for part in np.array_split(self.embeddings, parts)]

    def results_requested(self) -> int:
        """Return `n_results`."""
        return self.n_results

    def records_read(self, answer: Any) -> int:
        """Return how many records came back for all queries together."""
        return sum(len(queried.records.ids) for queried in answer)


@dataclass(frozen=True, slots=True, eq=False)
class SearchRecords(OnCollection, Read[list[FoundRecords]]):
    """Execute searches, each of which filters, scores, groups and selects on its own.

    Attributes:
        read_level: Which writes a search has to see, in Chroma's terms. A search on PostgreSQL
            sees all of them.
    """

    searches: tuple[ParsedSearch, ...]
    read_level: ReadLevel = ReadLevel.INDEX_AND_WAL

    def results_requested(self) -> int:
        """Return the greatest number of records that a part of a search asks for."""
        return max((search.results_requested() for search in self.searches), default=0)

    def records_read(self, answer: Any) -> int:
        """Return how many records came back for all searches together."""
        return sum(len(found.records.ids) for found in answer)


@dataclass(frozen=True, slots=True, eq=False)
class ExplainQuery(Read[QueryPlan]):
    """Run a query and return how PostgreSQL executed it.

    Attributes:
        query: The query to run.
    """

    query: QueryRecords

    @property
    def acting_tenant(self) -> str | None:
        """The tenant of the query's collection."""
        return self.query.acting_tenant

    def results_requested(self) -> int:
        """Return the query's `n_results`."""
        return self.query.n_results


@dataclass(frozen=True, slots=True)
class MeasureRecall(OnCollection, Read[Recall]):
    """Search for the neighbours of stored embeddings by index and exactly, and compare.

    Attributes:
        sample: How many embeddings to search for, chosen at random.
        n_results: How many neighbours of each.
        filter: The filter that neighbours must match.
    """

    sample: int = 100
    n_results: int = 10
    filter: Filter | None = None

    def results_requested(self) -> int:
        """Return `n_results`."""
        return self.n_results
