"""The route of the indexing status."""

from __future__ import annotations

from typing import Any

from msgspec import UNSET, Struct, UnsetType

from pgchroma.model.inspection import IndexingStatus
from pgchroma.model.operations import GetIndexingStatus
from pgchroma.wire.paths import COLLECTION, encode_collection
from pgchroma.wire.route import Request, Route

__all__ = ("INDEXING_ROUTES",)


class IndexingStatusBody(Struct):
    """How much of the log the indexes cover, and the reason if an index could not be built."""

    op_indexing_progress: float
    num_unindexed_ops: int
    num_indexed_ops: int
    total_ops: int
    error: str | UnsetType = UNSET


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


INDEXING_ROUTES: tuple[Route[Any, Any], ...] = (
    Route(
        operation=GetIndexingStatus,
        name="indexing_status",
        method="GET",
        path=COLLECTION + "/indexing_status",
        access="read",
        encode_request=encode_collection,
        decode_request=lambda request: GetIndexingStatus(request.collection),
        encode_response=_encode_status_response,
        decode_response=_decode_status_response,
        response=IndexingStatusBody,
        is_idempotent=True,
    ),
)
