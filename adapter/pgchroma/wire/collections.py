"""Routes of collections."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from msgspec import Struct

from pgchroma.errors import InvalidArgumentError, MalformedRequestError
from pgchroma.model.configuration import CollectionConfiguration
from pgchroma.model.discovery import read_kinds
from pgchroma.model.entities import CollectionModel
from pgchroma.model.metadata import parse_collection_metadata
from pgchroma.model.names import check_looked_up, check_name
from pgchroma.model.operations import (
    CollectionRef,
    CountCollections,
    CreateCollection,
    DeleteCollection,
    GetCollection,
    GetCollectionByCrn,
    GetCollectionById,
    ListCollections,
    ModifyCollection,
)
from pgchroma.model.schema import filterable_json, merge_schema, schema_json
from pgchroma.wire.configuration import ConfigurationBody, NewConfigurationBody, read_settings
from pgchroma.wire.paths import (
    COLLECTION,
    COLLECTIONS,
    DATABASE,
    collection_path,
    database_path,
    encode_collection,
    encode_database,
)
from pgchroma.wire.route import Request, Route, collection_id
from pgchroma.wire.schema import check_shape, decode_configuration
from pgchroma.wire.shapes import (
    Empty,
    Generation,
    Page,
    Scalar,
    clamp,
    empty_response,
    ignore_response,
)

__all__ = (
    "COLLECTION_ROUTES",
    "CreateCollectionBody",
)


class CreateCollectionBody(Struct):
    """A new collection."""

    name: str
    metadata: dict[str, Scalar] | None = None
    configuration: ConfigurationBody | None = None
    schema: dict[str, Any] | None = None
    get_or_create: bool = False


class ModifyCollectionBody(Struct):
    """Changes of a collection. New metadata replaces all of the old."""

    new_name: str | None = None
    new_metadata: dict[str, Scalar | None] | None = None
    new_configuration: NewConfigurationBody | None = None


class CollectionBody(Struct):
    """A collection."""

    id: str
    name: str
    configuration_json: dict[str, Any]
    metadata: dict[str, Any] | None
    dimension: int | None
    tenant: str
    database: str
    schema: dict[str, Any] | None = None
    log_position: int = 0
    version: int = 0
    generation: Generation | None = None
    discovered_keys: dict[str, list[str]] | None = None


def _encode_create_collection(operation: CreateCollection) -> Request:
    body = CreateCollectionBody(
        operation.name,
        operation.metadata,
        _configuration_body(operation.configuration),
        None if operation.filterable is None else filterable_json(operation.filterable),
        operation.get_or_create,
    )
    return Request(database_path(operation), body=body)


def _decode_create_collection(request: Request) -> CreateCollection:
    body: CreateCollectionBody = request.body
    name = check_name(body.name)
    check_shape(body.schema)
    configuration, filterable = merge_schema(read_settings(body.configuration), body.schema)
    return CreateCollection(
        request.scope,
        name,
        configuration,
        _metadata(body.metadata),
        get_or_create=body.get_or_create,
        filterable=filterable,
    )


def _encode_modify(operation: ModifyCollection) -> Request:
    metadata: dict[str, Any] | None = operation.metadata
    if metadata == {}:
        # Servers reject an empty object. Removing a key has the same effect.
        metadata = {"all": None}
    if operation.configuration is not None:
        # JSON turns NaN into null, so the client validates the values before it sends them.
        CollectionConfiguration.parse(None, None).updated(operation.configuration)
    configuration = _configuration_body(operation.configuration)
    body = ModifyCollectionBody(operation.name, metadata, configuration)
    return Request(collection_path(operation.collection), body=body)


def _decode_modify(request: Request) -> ModifyCollection:
    body: ModifyCollectionBody = request.body
    collection = request.collection
    name = None if body.new_name is None else check_name(body.new_name, "new_name")
    metadata = _metadata(body.new_metadata, removals=True, field="new_metadata")
    return ModifyCollection(collection, name, metadata, read_settings(body.new_configuration))


def _configuration_body(configuration: Mapping[str, Any] | None) -> Any:
    # The JSON encoder writes a dictionary like the struct.
    return None if configuration is None else dict(configuration)


def _metadata(metadata: Any, **options: Any) -> dict[str, Any] | None:
    try:
        return parse_collection_metadata(metadata, **options)
    except TypeError as error:
        raise MalformedRequestError(f"metadata: {error}") from error


def _encode_named(operation: Any) -> Request:
    return Request({**database_path(operation), "collection": operation.name})


def _decode_by_id(request: Request) -> GetCollectionById:
    message = "Validation error: collection_id: Invalid collection ID format, expected UUID"
    id = collection_id(request.path["collection_id"], message)
    return GetCollectionById(CollectionRef(request.scope, id))


def _encode_crn(operation: GetCollectionByCrn) -> Request:
    crn = ":".join((operation.tenant_resource_name, operation.database, operation.name))
    return Request({"crn": crn})


def _decode_crn(request: Request) -> GetCollectionByCrn:
    parts = check_looked_up(request.path["crn"]).split(":")
    if len(parts) != 3 or not all(parts):  # noqa: PLR2004
        raise InvalidArgumentError(
            "Validation error: crn: CRN must be in the format "
            "<tenant_resource_name>:<database_name>:<collection_name> with non-empty parts"
        )
    return GetCollectionByCrn(*parts)


def _encode_collection_response(request: Request, model: CollectionModel) -> Any:
    return {
        "id": str(model.id),
        "name": model.name,
        "configuration_json": model.configuration_json,
        "schema": schema_json(model.configuration, model.discovered),
        "metadata": model.metadata or None,
        "dimension": model.dimension,
        "tenant": model.tenant,
        "database": model.database,
        "log_position": model.log_position,
        "version": model.version,
        "generation": model.generation,
        **({"discovered_keys": model.discovered} if model.discovered else {}),
    }


def _decode_collection_response(operation: Any, body: Any) -> CollectionModel:
    # Chroma's server lists discovered keys in the schema alone.
    discovered = read_kinds(body.get("discovered_keys"))
    return CollectionModel(
        UUID(body["id"]),
        body["name"],
        decode_configuration(body["configuration_json"], body.get("schema"), discovered),
        body.get("metadata"),
        body.get("dimension"),
        body["tenant"],
        body["database"],
        body.get("version", 0),
        body.get("log_position", 0),
        body.get("generation"),
        discovered,
    )


COLLECTION_ROUTES: tuple[Route[Any, Any], ...] = (
    Route(
        operation=CreateCollection,
        name="create_collection",
        method="POST",
        path=COLLECTIONS,
        access="write",
        encode_request=_encode_create_collection,
        decode_request=_decode_create_collection,
        encode_response=_encode_collection_response,
        decode_response=_decode_collection_response,
        response=CollectionBody,
        body=CreateCollectionBody,
        example={"name": "papers", "get_or_create": True},
    ),
    Route(
        operation=ListCollections,
        name="list_collections",
        method="GET",
        path=COLLECTIONS,
        access="read",
        encode_request=lambda operation: Request(
            database_path(operation), Page(clamp(operation.limit), clamp(operation.offset))
        ),
        decode_request=lambda request: ListCollections(
            request.scope, request.query.limit, request.query.offset
        ),
        encode_response=lambda request, models: [
            _encode_collection_response(request, model) for model in models
        ],
        decode_response=lambda operation, body: [
            _decode_collection_response(operation, model) for model in body
        ],
        response=list[CollectionBody],
        query=Page,
        is_idempotent=True,
    ),
    Route(
        operation=CountCollections,
        name="count_collections",
        method="GET",
        path=DATABASE + "/collections_count",
        access="read",
        encode_request=encode_database,
        decode_request=lambda request: CountCollections(request.scope),
        encode_response=lambda request, count: count,
        decode_response=lambda operation, body: int(body),
        response=int,
        is_idempotent=True,
    ),
    Route(
        operation=GetCollection,
        name="get_collection",
        method="GET",
        path=COLLECTIONS + "/{collection}",
        access="read",
        encode_request=_encode_named,
        decode_request=lambda request: GetCollection(
            request.scope, check_looked_up(request.path["collection"])
        ),
        encode_response=_encode_collection_response,
        decode_response=_decode_collection_response,
        response=CollectionBody,
        is_idempotent=True,
    ),
    Route(
        operation=GetCollectionById,
        name="get_collection_by_id",
        method="GET",
        path=COLLECTIONS + "/by-id/{collection_id}",
        access="read",
        encode_request=encode_collection,
        decode_request=_decode_by_id,
        encode_response=_encode_collection_response,
        decode_response=_decode_collection_response,
        response=CollectionBody,
        is_idempotent=True,
    ),
    Route(
        operation=GetCollectionByCrn,
        name="get_collection_by_crn",
        method="GET",
        path="/collections/{crn}",
        access="read",
        encode_request=_encode_crn,
        decode_request=_decode_crn,
        encode_response=_encode_collection_response,
        decode_response=_decode_collection_response,
        response=CollectionBody,
        is_idempotent=True,
    ),
    Route(
        operation=ModifyCollection,
        name="update_collection",
        method="PUT",
        path=COLLECTION,
        access="write",
        encode_request=_encode_modify,
        decode_request=_decode_modify,
        encode_response=empty_response,
        decode_response=ignore_response,
        response=Empty,
        body=ModifyCollectionBody,
        example={"new_metadata": {"topic": "databases"}},
    ),
    Route(
        operation=DeleteCollection,
        name="delete_collection",
        method="DELETE",
        path=COLLECTIONS + "/{collection}",
        access="write",
        encode_request=_encode_named,
        decode_request=lambda request: DeleteCollection(
            request.scope, check_looked_up(request.path["collection"])
        ),
        encode_response=empty_response,
        decode_response=ignore_response,
        response=Empty,
    ),
)
