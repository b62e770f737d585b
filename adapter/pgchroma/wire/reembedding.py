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


def _respond_status(request: Request, status: Reembedding | None) -> Any:
    if status is None:
        return None
    return {name: getattr(status, name) for name in ReembeddingBody.__struct_fields__}


def _read_status(operation: Any, body: Any) -> Reembedding | None:
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


def _read_unembedded(operation: Any, body: Any) -> Unembedded:
    return Unembedded(**{name: body[name] for name in UnembeddedBody.__struct_fields__})


def _read_comparison(operation: Any, body: Any) -> Comparison:
    return Comparison(**{name: body[name] for name in ComparisonBody.__struct_fields__})


REEMBEDDING_ROUTES: tuple[Route[Any, Any], ...] = (
    Route(
        StartReembedding, "start_reembedding", "POST", REEMBEDDING, "write",
        _encode_start, _decode_start,
        lambda request, generation: {"generation": generation},
        lambda operation, body: body["generation"],
        StartedBody,
        body=StartReembeddingBody, is_idempotent=True,
    ),
    Route(
        GetReembedding, "get_reembedding", "GET", REEMBEDDING, "read",
        lambda operation: Request(collection_path(operation.collection)),
        lambda request: GetReembedding(request.collection),
        _respond_status, _read_status, ReembeddingBody | None, is_idempotent=True,
    ),
    Route(
        DropReembedding, "drop_reembedding", "DELETE", REEMBEDDING, "write",
        lambda operation: Request(collection_path(operation.collection)),
        lambda request: DropReembedding(request.collection),
        empty_response, ignore_response, Empty,
    ),
    Route(
        GetUnembedded, "get_unembedded", "GET", REEMBEDDING + "/records", "write",
        lambda operation: Request(
            collection_path(operation.collection),
            UnembeddedQuery(operation.generation, operation.after, operation.limit),
        ),
        lambda request: GetUnembedded(
            request.collection,
            request.query.generation,
            request.query.after,
            request.query.limit,
        ),
        lambda request, found: found,
        _read_unembedded, UnembeddedBody, query=UnembeddedQuery, is_idempotent=True,
    ),
    Route(
        StoreReembedded, "store_reembedded", "POST", REEMBEDDING + "/records", "write",
        _encode_store, _decode_store, empty_response, ignore_response, Empty,
        body=ReembeddedBody, most_bytes=None, is_idempotent=True,
    ),
    Route(
        CompareEmbeddings, "compare_embeddings", "POST", REEMBEDDING + "/compare", "read",
        lambda operation: Request(
            collection_path(operation.collection),
            body=CompareBody(operation.generation, operation.sample, operation.n_results),
        ),
        lambda request: CompareEmbeddings(
            request.collection,
            request.body.generation,
            request.body.sample,
            request.body.n_results,
        ),
        lambda request, comparison: comparison,
        _read_comparison, ComparisonBody, body=CompareBody, is_idempotent=True,
    ),
    Route(
        SwitchEmbeddings, "switch_embeddings", "POST", REEMBEDDING + "/switch", "write",
        lambda operation: Request(
            collection_path(operation.collection),
            body=SwitchBody(operation.generation, operation.patience),
        ),
        lambda request: SwitchEmbeddings(
            request.collection, request.body.generation, request.body.patience
        ),
        lambda request, missing: {"missing": missing},
        lambda operation, body: int(body["missing"]),
        MissingBody, body=SwitchBody, is_idempotent=True,
    ),
)  # fmt: skip
