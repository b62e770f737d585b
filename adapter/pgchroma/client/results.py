"""Columns of records as Chroma's results."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from pgchroma.model.records import FoundRecords, QueriedRecords, RecordColumns
from pgchroma.model.search.parsed import ParsedSearch, sorted_fields
from pgchroma.model.search.result import SearchResult
from pgchroma.model.sparse import with_sparse_vectors
from pgchroma.model.types import (
    Documents,
    GetResult,
    IncludeColumn,
    Metadatas,
    QueryResult,
    URIs,
)

__all__ = ("get_result", "query_result", "search_result")


def get_result(records: RecordColumns, include: Sequence[IncludeColumn]) -> GetResult:
    """Return the result of `get`."""
    return GetResult(
        ids=records.ids,
        embeddings=_float64(records.embeddings),
        documents=cast("Documents | None", records.documents),
        uris=cast("URIs | None", records.uris) if "uris" in include else None,
        data=None,
        metadatas=cast("Metadatas | None", _metadatas(records)),
        included=list(include),
    )


def query_result(found: list[QueriedRecords], include: Sequence[IncludeColumn]) -> QueryResult:
    """Return the result of `query`: one list of records for each query."""
    columns = [queried.records for queried in found]
    wants = set(include)
    return QueryResult(
        ids=[records.ids for records in columns],
        embeddings=_column(
            [_float64(records.embeddings) for records in columns], wants, "embeddings"
        ),
        documents=_column([records.documents for records in columns], wants, "documents"),
        uris=_column([records.uris for records in columns], wants, "uris"),
        data=None,
        metadatas=_column([_metadatas(records) for records in columns], wants, "metadatas"),
        distances=_column([queried.distances for queried in found], wants, "distances"),
        included=list(include),
    )


def search_result(found: list[FoundRecords], searches: Sequence[ParsedSearch]) -> SearchResult:
    """Return the result of `search`: one list of records for each search."""
    columns = [each.records for each in found]
    return SearchResult(
        ids=[records.ids for records in columns],
        documents=[records.documents for records in columns],
        embeddings=[_lists(records.embeddings) for records in columns],
        metadatas=[_metadatas(records) for records in columns],
        scores=[each.scores for each in found],
        select=[sorted_fields(search.selected) for search in searches],
    )


def _metadatas(records: RecordColumns) -> list[Any] | None:
    return None if records.metadatas is None else list(map(with_sparse_vectors, records.metadatas))


def _column(values: list[Any], wants: set[IncludeColumn], name: IncludeColumn) -> Any:
    return values if name in wants else None


def _float64(matrix: NDArray[np.float32] | None) -> NDArray[np.float64] | None:
    return None if matrix is None else matrix.astype(np.float64)


def _lists(matrix: NDArray[np.float32] | None) -> list[list[float] | None] | None:
    if matrix is None:
        return None
    if not matrix.shape[1]:
        return [None] * len(matrix)
    return [None if np.isnan(row[0]) else row.tolist() for row in matrix]
