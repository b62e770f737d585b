"""Routes that add, upsert and update records."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final, TypeAlias, TypeVar

from msgspec import Struct

from pgchroma.errors import MalformedRequestError
from pgchroma.model.operations import AddRecords, UpdateRecords, UpsertRecords
from pgchroma.model.plain_metadata import values_of
from pgchroma.model.records import RecordBatch
from pgchroma.model.sparse import is_sparse
from pgchroma.model.types import Modality
from pgchroma.wire.embeddings import decode_request_embeddings, encode_request_embeddings
from pgchroma.wire.paths import COLLECTION, collection_path
from pgchroma.wire.route import Request, Route
from pgchroma.wire.shapes import (
    Embedding,
    Empty,
    Generation,
    Value,
    empty_response,
    ignore_response,
)

__all__ = (
    "WRITE_ROUTES",
    "AddBody",
    "UpdateBody",
    "UpsertBody",
)


class AddBody(Struct):
    """Records to add.

    An embedding is a list of numbers, or little-endian float32 values in base64.
    """

    ids: list[str]
    embeddings: list[Embedding]
    metadatas: list[dict[str, Value] | None] | None = None
    documents: list[str | None] | None = None
    uris: list[str | None] | None = None
    generation: Generation | None = None


class UpsertBody(Struct):
    """Records to add or to change. A metadata value of null removes its key."""

    ids: list[str]
    embeddings: list[Embedding]
    metadatas: list[dict[str, Value | None] | None] | None = None
    documents: list[str | None] | None = None
    uris: list[str | None] | None = None
    modality: Modality | None = None
    generation: Generation | None = None


class UpdateBody(Struct):
    """Records to change.

    Null leaves a value as it is, but a metadata value of null removes its key.
    """

    ids: list[str]
    embeddings: list[Embedding | None] | None = None
    metadatas: list[dict[str, Value | None] | None] | None = None
    documents: list[str | None] | None = None
    uris: list[str | None] | None = None
    modality: Modality | None = None
    generation: Generation | None = None


Write: TypeAlias = AddRecords | UpsertRecords | UpdateRecords
W = TypeVar("W", AddRecords, UpsertRecords, UpdateRecords)


def _encode_write(operation: Write, shape: Any) -> Request:
    records = operation.records
    body = shape(
        records.ids,
        encode_request_embeddings(records),
        records.metadatas,
        records.documents,
        records.uris,
    )
    body.generation = operation.collection.generation
    if records.modality is not None:
        body.modality = records.modality
    return Request(collection_path(operation.collection), body=body)


def _decode_write(request: Request, operation: type[W]) -> W:
    body = request.body
    collection = replace(request.collection, generation=body.generation)
    _refuse_objects(body.metadatas)
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


def _refuse_objects(metadatas: Any) -> None:
    if dict not in set(map(type, values_of(metadatas or ()))):
        return
    for index, metadata in enumerate(metadatas or ()):
        for key, value in (metadata or {}).items():
            if isinstance(value, dict) and not is_sparse(value):
                raise MalformedRequestError(
                    f"metadatas[{index}]: the value of {key} is an object, and not a sparse vector"
                )


_RECORD: Final = {
    "ids": ["a"],
    "embeddings": [[0.1, 0.2]],
    "documents": ["a text"],
    "metadatas": [{"year": 2024}],
}

WRITE_ROUTES: tuple[Route[Any, Any], ...] = (
    Route(
        operation=AddRecords,
        name="collection_add",
        method="POST",
        path=COLLECTION + "/add",
        access="write",
        encode_request=lambda operation: _encode_write(operation, AddBody),
        decode_request=lambda request: _decode_write(request, AddRecords),
        encode_response=empty_response,
        decode_response=ignore_response,
        response=Empty,
        body=AddBody,
        example=_RECORD,
        max_bytes=None,
        status=201,
    ),
    Route(
        operation=UpsertRecords,
        name="collection_upsert",
        method="POST",
        path=COLLECTION + "/upsert",
        access="write",
        encode_request=lambda operation: _encode_write(operation, UpsertBody),
        decode_request=lambda request: _decode_write(request, UpsertRecords),
        encode_response=empty_response,
        decode_response=ignore_response,
        response=Empty,
        body=UpsertBody,
        example=_RECORD | {"documents": ["a changed text"]},
        max_bytes=None,
    ),
    Route(
        operation=UpdateRecords,
        name="collection_update",
        method="POST",
        path=COLLECTION + "/update",
        access="write",
        encode_request=lambda operation: _encode_write(operation, UpdateBody),
        decode_request=lambda request: _decode_write(request, UpdateRecords),
        encode_response=empty_response,
        decode_response=ignore_response,
        response=Empty,
        body=UpdateBody,
        example={"ids": ["a"], "metadatas": [{"year": 2025}]},
        max_bytes=None,
    ),
)
