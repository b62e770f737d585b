"""Routes of a collection's second embeddings."""

from __future__ import annotations

from typing import Any

import numpy as np

from pgchroma.errors import InvalidArgumentError
from pgchroma.model.operations import (
    CompareEmbeddings,
    DropReembedding,
    GetReembedding,
    GetUnembedded,
    StartReembedding,
    StoreReembedded,
    SwitchEmbeddings,
)
from pgchroma.model.reembedding import Comparison, Reembedding, Unembedded
from pgchroma.wire.bodies import (
    CompareBody,
    ComparisonBody,
    Empty,
    MissingBody,
    ReembeddedBody,
    ReembeddingBody,
    StartedBody,
    StartReembeddingBody,
    SwitchBody,
    UnembeddedBody,
    UnembeddedQuery,
)
from pgchroma.wire.catalog import COLLECTIONS, collection_path, empty_response, ignore_response
from pgchroma.wire.embeddings import decode_vectors, encode_vectors
from pgchroma.wire.route import Request, Route

__all__ = ("REEMBEDDING_ROUTES",)

REEMBEDDING = COLLECTIONS + "/{collection_id}/reembedding"


def _encode_start(operation: StartReembedding) -> Request:
    body = StartReembeddingBody(
        dict(operation.embedding_function), operation.dimension, operation.space
    )
    return Request(collection_path(operation.collection), body=body)


def _decode_start(request: Request) -> StartReembedding:
    body: StartReembeddingBody = request.body
    return StartReembedding(request.collection, body.embedding_function, body.dimension, body.space)


def _encode_status_response(request: Request, status: Reembedding | None) -> Any:
    if status is None:
        return None
    return {name: getattr(status, name) for name in ReembeddingBody.__struct_fields__}


def _decode_status_response(operation: Any, body: Any) -> Reembedding | None:
    if body is None:
        return None
    return Reembedding(**{name: body[name] for name in ReembeddingBody.__struct_fields__})


def _encode_store(operation: StoreReembedded) -> Request:
    embeddings = encode_vectors(operation.embeddings)
    body = ReembeddedBody(operation.generation, operation.positions, embeddings)
    return Request(collection_path(operation.collection), body=body)


def _decode_store(request: Request) -> StoreReembedded:
    body: ReembeddedBody = request.body
    matrix = decode_vectors(body.embeddings)
    if len(matrix) != len(body.positions):
        raise InvalidArgumentError(f"{len(body.positions)} positions for {len(matrix)} embeddings")
    embeddings = matrix.astype(np.float32)
    return StoreReembedded(request.collection, body.generation, body.positions, embeddings)


def _decode_unembedded_response(operation: Any, body: Any) -> Unembedded:
    return Unembedded(**{name: body[name] for name in UnembeddedBody.__struct_fields__})


def _decode_comparison_response(operation: Any, body: Any) -> Comparison:
    return Comparison(**{name: body[name] for name in ComparisonBody.__struct_fields__})


REEMBEDDING_ROUTES: tuple[Route[Any, Any], ...] = (
    Route(
        operation=StartReembedding,
        name="start_reembedding",
        method="POST",
        path=REEMBEDDING,
        access="write",
        encode_request=_encode_start,
        decode_request=_decode_start,
        encode_response=lambda request, generation: {"generation": generation},
        decode_response=lambda operation, body: body["generation"],
        response=StartedBody,
        body=StartReembeddingBody,
        is_idempotent=True,
    ),
    Route(
        operation=GetReembedding,
        name="get_reembedding",
        method="GET",
        path=REEMBEDDING,
        access="read",
        encode_request=lambda operation: Request(collection_path(operation.collection)),
        decode_request=lambda request: GetReembedding(request.collection),
        encode_response=_encode_status_response,
        decode_response=_decode_status_response,
        response=ReembeddingBody | None,
        is_idempotent=True,
    ),
    Route(
        operation=DropReembedding,
        name="drop_reembedding",
        method="DELETE",
        path=REEMBEDDING,
        access="write",
        encode_request=lambda operation: Request(collection_path(operation.collection)),
        decode_request=lambda request: DropReembedding(request.collection),
        encode_response=empty_response,
        decode_response=ignore_response,
        response=Empty,
    ),
    Route(
        operation=GetUnembedded,
        name="get_unembedded",
        method="GET",
        path=REEMBEDDING + "/records",
        access="write",
        encode_request=lambda operation: Request(
            collection_path(operation.collection),
            UnembeddedQuery(operation.generation, operation.after, operation.limit),
        ),
        decode_request=lambda request: GetUnembedded(
            request.collection,
            request.query.generation,
            request.query.after,
            request.query.limit,
        ),
        encode_response=lambda request, found: found,
        decode_response=_decode_unembedded_response,
        response=UnembeddedBody,
        query=UnembeddedQuery,
        is_idempotent=True,
    ),
    Route(
        operation=StoreReembedded,
        name="store_reembedded",
        method="POST",
        path=REEMBEDDING + "/records",
        access="write",
        encode_request=_encode_store,
        decode_request=_decode_store,
        encode_response=empty_response,
        decode_response=ignore_response,
        response=Empty,
        body=ReembeddedBody,
        max_bytes=None,
        is_idempotent=True,
    ),
    Route(
        operation=CompareEmbeddings,
        name="compare_embeddings",
        method="POST",
        path=REEMBEDDING + "/compare",
        access="read",
        encode_request=lambda operation: Request(
            collection_path(operation.collection),
            body=CompareBody(operation.generation, operation.sample, operation.n_results),
        ),
        decode_request=lambda request: CompareEmbeddings(
            request.collection,
            request.body.generation,
            request.body.sample,
            request.body.n_results,
        ),
        encode_response=lambda request, comparison: comparison,
        decode_response=_decode_comparison_response,
        response=ComparisonBody,
        body=CompareBody,
        is_idempotent=True,
    ),
    Route(
        operation=SwitchEmbeddings,
        name="switch_embeddings",
        method="POST",
        path=REEMBEDDING + "/switch",
        access="write",
        encode_request=lambda operation: Request(
            collection_path(operation.collection),
            body=SwitchBody(operation.generation, operation.patience),
        ),
        decode_request=lambda request: SwitchEmbeddings(
            request.collection, request.body.generation, request.body.patience
        ),
        encode_response=lambda request, missing: {"missing": missing},
        decode_response=lambda operation, body: int(body["missing"]),
        response=MissingBody,
        body=SwitchBody,
        is_idempotent=True,
    ),
)
