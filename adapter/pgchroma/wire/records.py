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
    clamp,
)
from pgchroma.wire.catalog import (
    COLLECTIONS,
    collection_path,
    empty_response,
    ignore_response,
)
from pgchroma.wire.embeddings import (
    decode_columns,
    decode_request_embeddings,
    encode_columns,
    encode_request_embeddings,
)
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
        records.ids,
        encode_request_embeddings(records),
        records.metadatas,
        records.documents,
        records.uris,
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
            decode_request_embeddings(body.embeddings),
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
    body = DeleteBody(operation.ids, encode_filter(operation.filter), limit=clamp(operation.limit))
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
        clamp(operation.limit),
        clamp(operation.offset),
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


def _encode_get_response(request: Request, records: RecordColumns) -> Any:
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


def _decode_get_response(operation: GetRecords, body: Any) -> RecordColumns:
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
        clamp(operation.n_results),
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


def _encode_query_response(request: Request, found: list[QueriedRecords]) -> Any:
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
    # JSON has no infinity; a distance that is none is farther than any.
    finite = [np.inf if number is None else number for number in numbers]
    return np.array(finite, dtype=np.float32).tolist()  # type: ignore[no-any-return]


def _encode_plan_response(request: Request, plan: QueryPlan) -> Any:
    fields = {name: getattr(plan, name) for name in QueryPlanBody.__struct_fields__}
    again = None if plan.again is None else _encode_plan_response(request, plan.again)
    # The JSON encoder knows dataclasses, but of mappings only dictionaries.
    return {**fields, "settings": dict(plan.settings), "again": again}


def _decode_plan_response(operation: Any, body: Any) -> QueryPlan:
    # An older server knows nothing of a second run.
    fields = {name: body.get(name) for name in QueryPlanBody.__struct_fields__}
    names = SegmentUseBody.__struct_fields__
    segments = [SegmentUse(**{name: one[name] for name in names}) for one in body["segments"]]
    again = None if fields["again"] is None else _decode_plan_response(operation, fields["again"])
    return QueryPlan(**{**fields, "segments": tuple(segments), "again": again})


def _encode_recall(operation: MeasureRecall) -> Request:
    most = min(operation.n_results, MAX_COUNT)
    body = RecallBody(operation.sample, most, encode_filter(operation.filter))
    return Request(collection_path(operation.collection), body=body)


def _decode_recall(request: Request) -> MeasureRecall:
    body: RecallBody = request.body
    return MeasureRecall(request.collection, body.sample, body.n_results, _filter(body))


def _decode_recall_response(operation: Any, body: Any) -> Recall:
    return Recall(**{name: body[name] for name in RecallResultBody.__struct_fields__})


def _encode_status_response(request: Request, status: IndexingStatus) -> Any:
    body = {
        "op_indexing_progress": status.op_indexing_progress,
        "num_unindexed_ops": status.num_unindexed_ops,
        "num_indexed_ops": status.num_indexed_ops,
        "total_ops": status.total_ops,
    }
    return body if status.error is None else {**body, "error": status.error}


def _decode_status_response(operation: Any, body: Any) -> IndexingStatus:
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
        operation=AddRecords,
        name="collection_add",
        method="POST",
        path=RECORDS + "/add",
        access="write",
        encode_request=lambda operation: _encode_write(operation, AddBody),
        decode_request=lambda request: _decode_write(request, AddRecords),
        encode_response=empty_response,
        decode_response=ignore_response,
        response=Empty,
        body=AddBody,
        max_bytes=None,
        status=201,
    ),
    Route(
        operation=UpsertRecords,
        name="collection_upsert",
        method="POST",
        path=RECORDS + "/upsert",
        access="write",
        encode_request=lambda operation: _encode_write(operation, UpsertBody),
        decode_request=lambda request: _decode_write(request, UpsertRecords),
        encode_response=empty_response,
        decode_response=ignore_response,
        response=Empty,
        body=UpsertBody,
        max_bytes=None,
    ),
    Route(
        operation=UpdateRecords,
        name="collection_update",
        method="POST",
        path=RECORDS + "/update",
        access="write",
        encode_request=lambda operation: _encode_write(operation, UpdateBody),
        decode_request=lambda request: _decode_write(request, UpdateRecords),
        encode_response=empty_response,
        decode_response=ignore_response,
        response=Empty,
        body=UpdateBody,
        max_bytes=None,
    ),
    Route(
        operation=DeleteRecords,
        name="collection_delete",
        method="POST",
        path=RECORDS + "/delete",
        access="write",
        encode_request=_encode_delete,
        decode_request=_decode_delete,
        encode_response=lambda request, deleted: {"deleted": deleted},
        decode_response=lambda operation, body: int(body.get("deleted", 0)),
        response=DeletedBody,
        body=DeleteBody,
        max_bytes=None,
    ),
    Route(
        operation=CountRecords,
        name="collection_count",
        method="GET",
        path=RECORDS + "/count",
        access="read",
        encode_request=_encode_count,
        decode_request=_decode_count,
        encode_response=lambda request, count: count,
        decode_response=lambda operation, body: int(body),
        response=int,
        query=CountQuery,
        is_idempotent=True,
    ),
    Route(
        operation=GetRecords,
        name="collection_get",
        method="POST",
        path=RECORDS + "/get",
        access="read",
        encode_request=_encode_get,
        decode_request=_decode_get,
        encode_response=_encode_get_response,
        decode_response=_decode_get_response,
        response=RecordsBody,
        body=GetBody,
        max_bytes=None,
        is_idempotent=True,
    ),
    Route(
        operation=QueryRecords,
        name="collection_query",
        method="POST",
        path=RECORDS + "/query",
        access="read",
        encode_request=_encode_query,
        decode_request=_decode_query,
        encode_response=_encode_query_response,
        decode_response=_decode_query_response,
        response=QueryResultBody,
        body=QueryBody,
        max_bytes=None,
        is_idempotent=True,
    ),
    Route(
        operation=ExplainQuery,
        name="collection_explain",
        method="POST",
        path=RECORDS + "/explain",
        access="read",
        encode_request=lambda operation: _encode_query(operation.query),
        decode_request=lambda request: ExplainQuery(_decode_query(request)),
        encode_response=_encode_plan_response,
        decode_response=_decode_plan_response,
        response=QueryPlanBody,
        body=QueryBody,
        max_bytes=None,
        is_idempotent=True,
    ),
    Route(
        operation=MeasureRecall,
        name="collection_recall",
        method="POST",
        path=RECORDS + "/recall",
        access="read",
        encode_request=_encode_recall,
        decode_request=_decode_recall,
        encode_response=lambda request, recall: recall,
        decode_response=_decode_recall_response,
        response=RecallResultBody,
        body=RecallBody,
        max_bytes=None,
        is_idempotent=True,
    ),
    Route(
        operation=GetIndexingStatus,
        name="indexing_status",
        method="GET",
        path=RECORDS + "/indexing_status",
        access="read",
        encode_request=lambda operation: Request(collection_path(operation.collection)),
        decode_request=lambda request: GetIndexingStatus(request.collection),
        encode_response=_encode_status_response,
        decode_response=_decode_status_response,
        response=IndexingStatusBody,
        is_idempotent=True,
    ),
)
