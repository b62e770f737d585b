"""Routes of a collection's records."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final, TypeAlias, TypeVar, cast

import numpy as np

from pgchroma.errors import InvalidArgumentError, MalformedRequestError
from pgchroma.model.filters import Filter, combine, parse_where, parse_where_document
from pgchroma.model.inspection import IndexingStatus, QueryPlan, Recall, SegmentUse
from pgchroma.model.operations import (
    AddRecords,
    CountRecords,
    DeleteRecords,
    ExplainQuery,
    GetIndexingStatus,
    GetRecords,
    MeasureRecall,
    QueryRecords,
    UpdateRecords,
    UpsertRecords,
)
from pgchroma.model.records import (
    QueriedRecords,
    RecordBatch,
    RecordColumns,
    parse_embeddings,
    parse_ids,
)
from pgchroma.model.sparse import is_sparse, sparse_error
from pgchroma.wire.bodies import (
    MAX_COUNT,
    AddBody,
    CountQuery,
    DeleteBody,
    DeletedBody,
    Empty,
    GetBody,
    IndexingStatusBody,
    QueryBody,
    QueryPlanBody,
    QueryResultBody,
    RecallBody,
    RecallResultBody,
    RecordsBody,
    SegmentUseBody,
    UpdateBody,
    UpsertBody,
    clipped,
)
from pgchroma.wire.catalog import (
    COLLECTIONS,
    collection_path,
    empty_response,
    ignore_response,
)
from pgchroma.wire.embeddings import decode_columns, decode_sent, encode_columns, encode_sent
from pgchroma.wire.filters import encode_filter
from pgchroma.wire.route import Request, Route

__all__ = ("RECORD_ROUTES",)

RECORDS = COLLECTIONS + "/{collection_id}"

MAX_QUERIES: Final = 5_000
MAX_IDS: Final = 250_000

Write: TypeAlias = AddRecords | UpsertRecords | UpdateRecords
W = TypeVar("W", AddRecords, UpsertRecords, UpdateRecords)

_COLUMNS = ("documents", "uris", "metadatas")


def _encode_write(operation: Write, body: Any) -> Request:
    records = operation.records
    filled = body(
        records.ids, encode_sent(records), records.metadatas, records.documents, records.uris
    )
    filled.generation = operation.collection.generation
    if records.modality is not None:
        filled.modality = records.modality
    return Request(collection_path(operation.collection), body=filled)


def _decode_write(request: Request, operation: type[W]) -> W:
    body = request.body
    collection = replace(request.collection, generation=body.generation)
    _refuse_sparse(body.metadatas)
    try:
        records = RecordBatch.parse(
            body.ids,
            decode_sent(body.embeddings),
            body.metadatas,
            body.documents,
            body.uris,
            removals=operation is not AddRecords,
            modality=getattr(body, "modality", None),
        )
    except TypeError as error:
        raise MalformedRequestError(f"metadatas: {error}") from error
    return operation(collection, records)


def _refuse_sparse(metadatas: Any) -> None:
    for metadata in metadatas or ():
        for key, value in (metadata or {}).items():
            if isinstance(value, dict):
                raise _sparse_error(key, value)


def _sparse_error(key: str, value: dict[str, Any]) -> Exception:
    if is_sparse(value):
        return sparse_error(key)
    return MalformedRequestError(f"metadatas: the value of {key} is an object")


def _encode_delete(operation: DeleteRecords) -> Request:
    body = DeleteBody(
        operation.ids, encode_filter(operation.filter), limit=clipped(operation.limit)
    )
    return Request(collection_path(operation.collection), body=body)


def _decode_delete(request: Request) -> DeleteRecords:
    body: DeleteBody = request.body
    collection = request.collection
    filter = _filter(body)
    if filter is None:
        if body.ids == []:
            raise InvalidArgumentError(
                "Validation error: ids, where: Either ids or where must be specified"
            )
        if body.limit is not None:
            raise InvalidArgumentError(
                "Validation error: limit, where: limit can only be specified when a where clause "
                "is provided"
            )
    # Without any condition nothing is meant, not everything.
    ids = [] if body.ids is None and filter is None else _ids(body)
    return DeleteRecords(collection, ids, filter, body.limit)


def _encode_get(operation: GetRecords) -> Request:
    body = GetBody(
        operation.ids,
        encode_filter(operation.filter),
        None,
        clipped(operation.limit),
        clipped(operation.offset),
        _listed(operation.include),
    )
    return Request(collection_path(operation.collection), body=body)


def _decode_get(request: Request) -> GetRecords:
    body: GetBody = request.body
    return GetRecords(
        request.collection,
        frozenset(body.include),
        _ids(body),
        _filter(body),
        body.limit,
        body.offset,
    )


def _respond_get(request: Request, records: RecordColumns) -> Any:
    include = request.body.include
    columns = {name: getattr(records, name) for name in _COLUMNS if name in include}
    return {
        "ids": records.ids,
        "embeddings": encode_columns(records.embeddings) if "embeddings" in include else None,
        "documents": columns.get("documents"),
        "uris": columns.get("uris"),
        "metadatas": columns.get("metadatas"),
        "include": include,
    }


def _read_get(operation: GetRecords, body: Any) -> RecordColumns:
    return RecordColumns(
        body["ids"],
        decode_columns(body.get("embeddings")),
        body.get("documents"),
        body.get("uris"),
        body.get("metadatas"),
    )


def _encode_query(operation: QueryRecords) -> Request:
    body = QueryBody(
        # The JSON encoder writes a matrix as the lists it stands for.
        cast("list[list[float]]", operation.embeddings),
        clipped(operation.n_results),
        operation.ids,
        encode_filter(operation.filter),
        None,
        _listed(operation.include),
        operation.collection.generation,
    )
    return Request(collection_path(operation.collection), body=body)


def _decode_query(request: Request) -> QueryRecords:
    body: QueryBody = request.body
    if len(body.query_embeddings) > MAX_QUERIES:
        raise InvalidArgumentError(
            f"query_embeddings: {len(body.query_embeddings)} queries are more than the "
            f"{MAX_QUERIES} that one request may have; send them in several"
        )
    matrix, _ = parse_embeddings(body.query_embeddings)
    return QueryRecords(
        replace(request.collection, generation=body.generation),
        np.empty((0, 0), np.float32) if matrix is None else matrix,
        10 if body.n_results is None else body.n_results,
        frozenset(body.include),
        _ids(body),
        _filter(body),
    )


def _respond_query(request: Request, found: list[QueriedRecords]) -> Any:
    include = request.body.include
    columns: dict[str, Any] = {
        name: [getattr(queried.records, name) for queried in found]
        for name in _COLUMNS
        if name in include
    }
    if "embeddings" in include:
        columns["embeddings"] = [encode_columns(queried.records.embeddings) for queried in found]
    if "distances" in include:
        columns["distances"] = [np.array(queried.distances, np.float32) for queried in found]
    return {
        "ids": [queried.records.ids for queried in found],
        "embeddings": columns.get("embeddings"),
        "documents": columns.get("documents"),
        "uris": columns.get("uris"),
        "metadatas": columns.get("metadatas"),
        "distances": columns.get("distances"),
        "include": include,
    }


def _read_query(operation: QueryRecords, body: Any) -> list[QueriedRecords]:
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
    # JSON has no infinity; a distance that is none is farther than any.
    finite = [np.inf if number is None else number for number in numbers]
    return np.array(finite, dtype=np.float32).tolist()  # type: ignore[no-any-return]


def _respond_plan(request: Request, plan: QueryPlan) -> Any:
    fields = {name: getattr(plan, name) for name in QueryPlanBody.__struct_fields__}
    again = None if plan.again is None else _respond_plan(request, plan.again)
    # The JSON encoder knows dataclasses, but of mappings only dictionaries.
    return {**fields, "settings": dict(plan.settings), "again": again}


def _read_plan(operation: Any, body: Any) -> QueryPlan:
    # An older server knows nothing of a second run.
    fields = {name: body.get(name) for name in QueryPlanBody.__struct_fields__}
    names = SegmentUseBody.__struct_fields__
    segments = [SegmentUse(**{name: one[name] for name in names}) for one in body["segments"]]
    again = None if fields["again"] is None else _read_plan(operation, fields["again"])
    return QueryPlan(**{**fields, "segments": tuple(segments), "again": again})


def _encode_recall(operation: MeasureRecall) -> Request:
    most = min(operation.n_results, MAX_COUNT)
    body = RecallBody(operation.sample, most, encode_filter(operation.filter))
    return Request(collection_path(operation.collection), body=body)


def _decode_recall(request: Request) -> MeasureRecall:
    body: RecallBody = request.body
    return MeasureRecall(request.collection, body.sample, body.n_results, _filter(body))


def _read_recall(operation: Any, body: Any) -> Recall:
    return Recall(**{name: body[name] for name in RecallResultBody.__struct_fields__})


def _respond_status(request: Request, status: IndexingStatus) -> Any:
    body = {
        "op_indexing_progress": status.op_indexing_progress,
        "num_unindexed_ops": status.num_unindexed_ops,
        "num_indexed_ops": status.num_indexed_ops,
        "total_ops": status.total_ops,
    }
    return body if status.error is None else {**body, "error": status.error}


def _read_status(operation: Any, body: Any) -> IndexingStatus:
    return IndexingStatus(
        body["num_indexed_ops"],
        body["num_unindexed_ops"],
        body["total_ops"],
        body["op_indexing_progress"],
        body.get("error"),
    )


def _ids(body: Any) -> list[str] | None:
    if body.ids is None:
        return None
    if len(body.ids) > MAX_IDS:
        raise InvalidArgumentError(
            f"ids: {len(body.ids)} ids are more than the {MAX_IDS} that one request may name; "
            "send them in several"
        )
    return parse_ids(body.ids)


def _filter(body: Any) -> Filter | None:
    return combine(parse_where(body.where), parse_where_document(body.where_document))


def _listed(include: frozenset[str]) -> Any:
    return sorted(include)


def _decode_count(request: Request) -> CountRecords:
    return CountRecords(request.collection)


def _encode_count(operation: CountRecords) -> Request:
    return Request(collection_path(operation.collection), CountQuery())


RECORD_ROUTES: tuple[Route[Any, Any], ...] = (
    Route(
        AddRecords, "collection_add", "POST", RECORDS + "/add", "write",
        lambda operation: _encode_write(operation, AddBody),
        lambda request: _decode_write(request, AddRecords),
        empty_response, ignore_response, Empty, body=AddBody,
        most_bytes=None, status=201,
    ),
    Route(
        UpsertRecords, "collection_upsert", "POST", RECORDS + "/upsert", "write",
        lambda operation: _encode_write(operation, UpsertBody),
        lambda request: _decode_write(request, UpsertRecords),
        empty_response, ignore_response, Empty, body=UpsertBody, most_bytes=None,
    ),
    Route(
        UpdateRecords, "collection_update", "POST", RECORDS + "/update", "write",
        lambda operation: _encode_write(operation, UpdateBody),
        lambda request: _decode_write(request, UpdateRecords),
        empty_response, ignore_response, Empty, body=UpdateBody, most_bytes=None,
    ),
    Route(
        DeleteRecords, "collection_delete", "POST", RECORDS + "/delete", "write",
        _encode_delete, _decode_delete,
        lambda request, deleted: {"deleted": deleted},
        lambda operation, body: int(body.get("deleted", 0)),
        DeletedBody, body=DeleteBody, most_bytes=None,
    ),
    Route(
        CountRecords, "collection_count", "GET", RECORDS + "/count", "read",
        _encode_count, _decode_count,
        lambda request, count: count,
        lambda operation, body: int(body),
        int, query=CountQuery, is_idempotent=True,
    ),
    Route(
        GetRecords, "collection_get", "POST", RECORDS + "/get", "read",
        _encode_get, _decode_get, _respond_get, _read_get,
        RecordsBody, body=GetBody, most_bytes=None, is_idempotent=True,
    ),
    Route(
        QueryRecords, "collection_query", "POST", RECORDS + "/query", "read",
        _encode_query, _decode_query, _respond_query, _read_query,
        QueryResultBody, body=QueryBody, most_bytes=None, is_idempotent=True,
    ),
    Route(
        ExplainQuery, "collection_explain", "POST", RECORDS + "/explain", "read",
        lambda operation: _encode_query(operation.query),
        lambda request: ExplainQuery(_decode_query(request)),
        _respond_plan, _read_plan, QueryPlanBody, body=QueryBody, most_bytes=None,
        is_idempotent=True,
    ),
    Route(
        MeasureRecall, "collection_recall", "POST", RECORDS + "/recall", "read",
        _encode_recall, _decode_recall,
        lambda request, recall: recall,
        _read_recall, RecallResultBody, body=RecallBody, most_bytes=None, is_idempotent=True,
    ),
    Route(
        GetIndexingStatus, "indexing_status", "GET", RECORDS + "/indexing_status", "read",
        lambda operation: Request(collection_path(operation.collection)),
        lambda request: GetIndexingStatus(request.collection),
        _respond_status, _read_status, IndexingStatusBody, is_idempotent=True,
    ),
)  # fmt: skip
