"""Routes that query records, explain a query and measure recall."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from operator import attrgetter
from typing import Annotated, Any, Final, cast

import numpy as np
from msgspec import Meta, Struct, field

from pgchroma.errors import InvalidArgumentError
from pgchroma.model.inspection import MAX_SAMPLED, QueryPlan, Recall, SegmentUse, Strategy
from pgchroma.model.limits import MAX_COUNT
from pgchroma.model.operations import ExplainQuery, MeasureRecall, QueryRecords
from pgchroma.model.records import QueriedRecords, RecordColumns, parse_embeddings
from pgchroma.wire.embeddings import decode_columns, encode_columns
from pgchroma.wire.filters import decode_filter, decode_ids, encode_filter
from pgchroma.wire.paths import COLLECTION, collection_path
from pgchroma.wire.route import Request, Route
from pgchroma.wire.shapes import (
    PLAIN_COLUMNS,
    Column,
    Count,
    Generation,
    clamp,
    sorted_columns,
)

__all__ = (
    "SEARCH_ROUTES",
    "QueryBody",
)


MAX_QUERIES: Final = 5_000


class QueryBody(Struct):
    """Embeddings to search for, and the records to search."""

    query_embeddings: list[list[float]]
    n_results: Count | None = 10
    ids: list[str] | None = None
    where: Any = None
    where_document: Any = None
    include: list[Column] = field(default_factory=lambda: ["documents", "metadatas", "distances"])
    generation: Generation | None = None


class QueryResultBody(Struct):
    """Columns of records for each query, nearest first.

    A column that the request does not include is null.
    """

    ids: list[list[str]]
    embeddings: list[list[list[float] | None]] | None
    documents: list[list[str | None]] | None
    uris: list[list[str | None]] | None
    metadatas: list[list[dict[str, Any] | None]] | None
    distances: list[list[float | None]] | None
    include: list[Column]


class SegmentUseBody(Struct):
    """An index that was searched. It covers the log from `first_pos` to before `end_pos`."""

    index_name: str
    first_pos: int
    end_pos: int
    rows_read: int


class QueryPlanBody(Struct):
    """How PostgreSQL executed a query."""

    strategy: Strategy
    matches: int | None
    segments: list[SegmentUseBody]
    tail_rows: int
    rows_read: int
    planning_ms: float
    execution_ms: float
    settings: dict[str, str]
    sql: str
    plan: str
    again: QueryPlanBody | None


class RecallBody(Struct):
    """The number of stored embeddings to search for, and the records to search."""

    sample: Annotated[int, Meta(ge=1, le=MAX_SAMPLED)] = 100
    n_results: Annotated[int, Meta(ge=1, le=MAX_COUNT)] = 10
    where: Any = None
    where_document: Any = None


class RecallResultBody(Struct):
    """The share of the nearest records that queries find, and the times of both kinds of search."""

    recall: float
    sample: int
    n_results: int
    query_ms: float
    exact_ms: float


def _encode_query(operation: QueryRecords) -> Request:
    body = QueryBody(
        # The JSON encoder writes a matrix as lists.
        cast("list[list[float]]", operation.embeddings),
        clamp(operation.n_results),
        operation.ids,
        encode_filter(operation.filter),
        None,
        sorted_columns(operation.include),
        operation.collection.generation,
    )
    return Request(collection_path(operation.collection), body=body)


def _decode_query(request: Request) -> QueryRecords:
    body: QueryBody = request.body
    if len(body.query_embeddings) > MAX_QUERIES:
        raise InvalidArgumentError(
            f"query_embeddings: expected at most {MAX_QUERIES} queries in one request, "
            f"got {len(body.query_embeddings)}; send several requests"
        )
    matrix, _ = parse_embeddings(body.query_embeddings)
    return QueryRecords(
        replace(request.collection, generation=body.generation),
        np.empty((0, 0), np.float32) if matrix is None else matrix,
        10 if body.n_results is None else body.n_results,
        frozenset(body.include),
        decode_ids(body),
        decode_filter(body),
    )


def _encode_query_response(request: Request, results: list[QueriedRecords]) -> Any:
    include = request.body.include

    def column(name: str, values: Callable[[QueriedRecords], Any]) -> Any:
        return [values(result) for result in results] if name in include else None

    return {
        "ids": [result.records.ids for result in results],
        "embeddings": column("embeddings", lambda each: encode_columns(each.records.embeddings)),
        **{name: column(name, attrgetter(f"records.{name}")) for name in PLAIN_COLUMNS},
        "distances": column("distances", lambda each: np.array(each.distances, np.float32)),
        "include": include,
    }


def _decode_query_response(operation: QueryRecords, body: Any) -> list[QueriedRecords]:
    def at(name: str, index: int) -> Any:
        column = body.get(name)
        return None if column is None else column[index]

    return [
        QueriedRecords(
            RecordColumns(
                ids,
                decode_columns(at("embeddings", index)),
                at("documents", index),
                at("uris", index),
                at("metadatas", index),
            ),
            _distances(at("distances", index)),
        )
        for index, ids in enumerate(body["ids"])
    ]


def _distances(numbers: list[float | None] | None) -> list[float] | None:
    if numbers is None:
        return None
    # JSON has no infinity, so null is an infinite distance.
    distances = [np.inf if number is None else number for number in numbers]
    return np.array(distances, dtype=np.float32).tolist()  # type: ignore[no-any-return]


def _encode_plan_response(request: Request, plan: QueryPlan) -> Any:
    fields = {name: getattr(plan, name) for name in QueryPlanBody.__struct_fields__}
    again = None if plan.again is None else _encode_plan_response(request, plan.again)
    # The JSON encoder accepts dataclasses, but dictionaries are the only mappings that it accepts.
    return {**fields, "settings": dict(plan.settings), "again": again}


def _decode_plan_response(operation: Any, body: Any) -> QueryPlan:
    # An older server sends no second run.
    fields = {name: body.get(name) for name in QueryPlanBody.__struct_fields__}
    names = SegmentUseBody.__struct_fields__
    segments = [SegmentUse(**{name: use[name] for name in names}) for use in body["segments"]]
    again = None if fields["again"] is None else _decode_plan_response(operation, fields["again"])
    return QueryPlan(**{**fields, "segments": tuple(segments), "again": again})


def _encode_recall(operation: MeasureRecall) -> Request:
    n_results = min(operation.n_results, MAX_COUNT)
    body = RecallBody(operation.sample, n_results, encode_filter(operation.filter))
    return Request(collection_path(operation.collection), body=body)


def _decode_recall(request: Request) -> MeasureRecall:
    body: RecallBody = request.body
    return MeasureRecall(
        request.collection,
        body.sample,
        body.n_results,
        decode_filter(body),
    )


def _decode_recall_response(operation: Any, body: Any) -> Recall:
    return Recall(**{name: body[name] for name in RecallResultBody.__struct_fields__})


_QUERY: Final = {
    "query_embeddings": [[0.1, 0.2]],
    "n_results": 3,
    "where_document": {"$contains": "text"},
    "include": ["documents", "distances"],
}

SEARCH_ROUTES: tuple[Route[Any, Any], ...] = (
    Route(
        operation=QueryRecords,
        name="collection_query",
        method="POST",
        path=COLLECTION + "/query",
        access="read",
        encode_request=_encode_query,
        decode_request=_decode_query,
        encode_response=_encode_query_response,
        decode_response=_decode_query_response,
        response=QueryResultBody,
        body=QueryBody,
        example=_QUERY,
        max_bytes=None,
        is_idempotent=True,
    ),
    Route(
        operation=ExplainQuery,
        name="collection_explain",
        method="POST",
        path=COLLECTION + "/explain",
        access="read",
        encode_request=lambda operation: _encode_query(operation.query),
        decode_request=lambda request: ExplainQuery(_decode_query(request)),
        encode_response=_encode_plan_response,
        decode_response=_decode_plan_response,
        response=QueryPlanBody,
        body=QueryBody,
        example=_QUERY,
        max_bytes=None,
        is_idempotent=True,
    ),
    Route(
        operation=MeasureRecall,
        name="collection_recall",
        method="POST",
        path=COLLECTION + "/recall",
        access="read",
        encode_request=_encode_recall,
        decode_request=_decode_recall,
        encode_response=lambda request, recall: recall,
        decode_response=_decode_recall_response,
        response=RecallResultBody,
        body=RecallBody,
        example={"sample": 10, "n_results": 3},
        max_bytes=None,
        is_idempotent=True,
    ),
)
