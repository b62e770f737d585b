"""Routes of re-embedding: a collection's pending embeddings, and after the switch the previous."""

from __future__ import annotations

from typing import Annotated, Any, Final

import numpy as np
from msgspec import Meta, Struct

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
from pgchroma.model.reembedding import (
    MAX_COMPARED,
    MAX_UNEMBEDDED,
    MAX_WAIT_SECONDS,
    EmbeddingComparison,
    Reembedding,
    Unembedded,
)
from pgchroma.model.types import Space
from pgchroma.wire.embeddings import decode_vectors, encode_vectors
from pgchroma.wire.paths import COLLECTION, collection_path, encode_collection
from pgchroma.wire.route import Request, Route
from pgchroma.wire.shapes import Empty, Generation, Position, empty_response, ignore_response

__all__ = ("REEMBEDDING_ROUTES",)


REEMBEDDING: Final = COLLECTION + "/reembedding"


class StartReembeddingBody(Struct):
    """The function of the pending embeddings, their length and their distance."""

    embedding_function: dict[str, Any]
    dimension: Annotated[int, Meta(ge=1)]
    space: Space | None = None


class StartedBody(Struct):
    """The generation of the pending embeddings. Null means there is nothing to re-embed."""

    generation: int | None


class ReembeddingBody(Struct):
    """The progress of a re-embedding."""

    embedding_function: dict[str, Any] | None
    space: Space
    dimension: int
    is_previous: bool
    total: int
    embedded: int
    without_document: int
    waiting: int


class UnembeddedQuery(Struct):
    """The pending embeddings, the position after which to look for records, and their number."""

    generation: Generation
    after: Position = 0
    limit: Annotated[int, Meta(ge=1, le=MAX_UNEMBEDDED)] = 1_000


class UnembeddedBody(Struct):
    """Columns of records without a pending embedding."""

    positions: list[int]
    ids: list[str]
    documents: list[str | None]
    uris: list[str | None]


class ReembeddedBody(Struct):
    """Pending embeddings in base64, and their positions."""

    generation: Generation
    positions: list[Position]
    embeddings: list[str]


class CompareBody(Struct):
    """The number of records to compare, and of neighbours of each."""

    generation: Generation
    sample: Annotated[int, Meta(ge=1, le=MAX_COMPARED)] = 20
    n_results: Annotated[int, Meta(ge=1, le=MAX_COMPARED)] = 10


class ComparisonBody(Struct):
    """The share of neighbours that both embeddings agree on."""

    overlap: float
    sample: int
    n_results: int


class SwitchBody(Struct):
    """The embeddings to switch to, and how many seconds the switch may block writers."""

    generation: Generation
    patience: Annotated[float, Meta(ge=0, le=MAX_WAIT_SECONDS)] = 0.0


class MissingBody(Struct):
    """The number of missing embeddings. The switch happens only if none is missing."""

    missing: int


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
        raise InvalidArgumentError(
            f"embeddings: expected one for each of {len(body.positions)} positions, "
            f"got {len(matrix)}"
        )
    embeddings = matrix.astype(np.float32)
    return StoreReembedded(request.collection, body.generation, body.positions, embeddings)


def _decode_unembedded_response(operation: Any, body: Any) -> Unembedded:
    return Unembedded(**{name: body[name] for name in UnembeddedBody.__struct_fields__})


def _decode_comparison_response(operation: Any, body: Any) -> EmbeddingComparison:
    return EmbeddingComparison(**{name: body[name] for name in ComparisonBody.__struct_fields__})


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
        example={
            "embedding_function": {"type": "known", "name": "mine", "config": {}},
            "dimension": 2,
            "space": "cosine",
        },
        is_idempotent=True,
    ),
    Route(
        operation=GetReembedding,
        name="get_reembedding",
        method="GET",
        path=REEMBEDDING,
        access="read",
        encode_request=encode_collection,
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
        encode_request=encode_collection,
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
        encode_response=lambda request, records: records,
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
        example={"generation": 1, "positions": [1], "embeddings": ["mpmZPs3MzD4="]},  # [0.3, 0.4]
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
        example={"generation": 1, "sample": 10, "n_results": 3},
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
            body=SwitchBody(operation.generation, operation.max_wait),
        ),
        decode_request=lambda request: SwitchEmbeddings(
            request.collection, request.body.generation, request.body.patience
        ),
        encode_response=lambda request, missing: {"missing": missing},
        decode_response=lambda operation, body: int(body["missing"]),
        response=MissingBody,
        body=SwitchBody,
        example={"generation": 1},
        is_idempotent=True,
    ),
)
