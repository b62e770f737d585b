"""Routes that delete, count and get records."""

from __future__ import annotations

from typing import Any

from msgspec import Struct, field

from pgchroma.errors import InvalidArgumentError
from pgchroma.model.operations import CountRecords, DeleteRecords, GetRecords
from pgchroma.model.records import RecordColumns
from pgchroma.model.types import ReadLevel
from pgchroma.wire.embeddings import decode_columns, encode_columns
from pgchroma.wire.filters import decode_filter, decode_ids, encode_filter
from pgchroma.wire.paths import COLLECTION, collection_path
from pgchroma.wire.route import Request, Route
from pgchroma.wire.shapes import PLAIN_COLUMNS, Column, Count, clamp, sorted_columns

__all__ = (
    "READ_ROUTES",
    "GetBody",
)


class DeleteBody(Struct):
    """The records to delete."""

    ids: list[str] | None = None
    where: Any = None
    where_document: Any = None
    limit: Count | None = None


class DeletedBody(Struct):
    """The number of deleted records."""

    deleted: int


class CountQuery(Struct):
    """The required freshness of a count. Every count includes all earlier writes."""

    read_level: ReadLevel = ReadLevel.INDEX_AND_WAL


class GetBody(Struct):
    """The records to read, and the columns to return."""

    ids: list[str] | None = None
    where: Any = None
    where_document: Any = None
    limit: Count | None = None
    offset: Count | None = None
    include: list[Column] = field(default_factory=lambda: ["documents", "metadatas"])


class RecordsBody(Struct):
    """Columns of records. A column that the request does not include is null."""

    ids: list[str]
    embeddings: list[list[float] | None] | None
    documents: list[str | None] | None
    uris: list[str | None] | None
    metadatas: list[dict[str, Any] | None] | None
    include: list[Column]


def _encode_delete(operation: DeleteRecords) -> Request:
    body = DeleteBody(operation.ids, encode_filter(operation.filter), limit=clamp(operation.limit))
    return Request(collection_path(operation.collection), body=body)


def _decode_delete(request: Request) -> DeleteRecords:
    body: DeleteBody = request.body
    collection = request.collection
    filter = decode_filter(body)
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
    # A request without any condition deletes nothing rather than everything.
    ids = [] if body.ids is None and filter is None else decode_ids(body)
    return DeleteRecords(collection, ids, filter, body.limit)


def _encode_get(operation: GetRecords) -> Request:
    body = GetBody(
        operation.ids,
        encode_filter(operation.filter),
        None,
        clamp(operation.limit),
        clamp(operation.offset),
        sorted_columns(operation.include),
    )
    return Request(collection_path(operation.collection), body=body)


def _decode_get(request: Request) -> GetRecords:
    body: GetBody = request.body
    return GetRecords(
        request.collection,
        frozenset(body.include),
        decode_ids(body),
        decode_filter(body),
        body.limit,
        body.offset,
    )


def _encode_get_response(request: Request, records: RecordColumns) -> Any:
    include = request.body.include
    return {
        "ids": records.ids,
        "embeddings": encode_columns(records.embeddings) if "embeddings" in include else None,
        **{name: getattr(records, name) if name in include else None for name in PLAIN_COLUMNS},
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


READ_ROUTES: tuple[Route[Any, Any], ...] = (
    Route(
        operation=DeleteRecords,
        name="collection_delete",
        method="POST",
        path=COLLECTION + "/delete",
        access="write",
        encode_request=_encode_delete,
        decode_request=_decode_delete,
        encode_response=lambda request, deleted: {"deleted": deleted},
        decode_response=lambda operation, body: int(body.get("deleted", 0)),
        response=DeletedBody,
        body=DeleteBody,
        example={"ids": ["a"]},
        max_bytes=None,
    ),
    Route(
        operation=CountRecords,
        name="collection_count",
        method="GET",
        path=COLLECTION + "/count",
        access="read",
        encode_request=lambda operation: Request(
            collection_path(operation.collection), CountQuery()
        ),
        decode_request=lambda request: CountRecords(request.collection),
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
        path=COLLECTION + "/get",
        access="read",
        encode_request=_encode_get,
        decode_request=_decode_get,
        encode_response=_encode_get_response,
        decode_response=_decode_get_response,
        response=RecordsBody,
        body=GetBody,
        example={"where": {"year": {"$gt": 2020}}, "limit": 10},
        max_bytes=None,
        is_idempotent=True,
    ),
)
