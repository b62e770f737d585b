"""Routes of the system, of tenants, databases and collections."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from pgchroma.errors import InvalidArgumentError, MalformedRequestError
from pgchroma.model.configuration import CollectionConfiguration
from pgchroma.model.entities import CollectionModel, Database, Tenant, UserIdentity
from pgchroma.model.metadata import parse_collection_metadata
from pgchroma.model.names import (
    check_looked_up,
    check_name,
    check_resource_name,
    check_tenant_name,
)
from pgchroma.model.operations import (
    CollectionRef,
    CountCollections,
    CreateCollection,
    CreateDatabase,
    CreateTenant,
    DeleteCollection,
    DeleteDatabase,
    GetCollection,
    GetCollectionByCrn,
    GetCollectionById,
    GetDatabase,
    GetIdentity,
    GetTenant,
    GetVersion,
    Heartbeat,
    ListCollections,
    ListDatabases,
    ModifyCollection,
    Reset,
    UpdateTenant,
)
from pgchroma.model.schema import indexed_json, merge_schema, schema_json
from pgchroma.wire.bodies import (
    CollectionBody,
    CreateCollectionBody,
    DatabaseBody,
    Empty,
    HeartbeatBody,
    IdentityBody,
    ModifyCollectionBody,
    NamedBody,
    Page,
    TenantBody,
    UpdateTenantBody,
    clamp,
)
from pgchroma.wire.configuration import read_settings
from pgchroma.wire.route import Request, Route, collection_id, database_ref
from pgchroma.wire.schema import check_shape, decode_configuration

__all__ = ("CATALOG_ROUTES", "COLLECTIONS", "collection_path", "empty_response", "ignore_response")

TENANTS = "/tenants"
TENANT = "/tenants/{tenant}"
DATABASES = "/tenants/{tenant}/databases"
DATABASE = "/tenants/{tenant}/databases/{database}"
COLLECTIONS = DATABASE + "/collections"


def empty_response(request: Request, answer: None) -> Any:
    """Answer with an empty object."""
    return {}


def ignore_response(operation: Any, body: Any) -> None:
    """Read an answer that says nothing but that it worked."""


def _encode_plain(operation: Any) -> Request:
    return Request()


def _encode_database(operation: Any) -> Request:
    return Request(_database_path(operation))


def _database_path(operation: Any) -> dict[str, str]:
    return {"tenant": operation.scope.tenant, "database": operation.scope.database}


def collection_path(collection: CollectionRef) -> dict[str, str]:
    """Name a collection in a path."""
    scope = collection.scope
    return {
        "tenant": scope.tenant,
        "database": scope.database,
        "collection_id": str(collection.id),
    }


def _encode_named(operation: Any) -> Request:
    return Request({**_database_path(operation), "collection": operation.name})


def _decode_tenant(request: Request) -> str:
    return check_looked_up(request.path["tenant"])


def _decode_create_database(request: Request) -> CreateDatabase:
    try:
        name = check_name(request.body.name)
    except InvalidArgumentError as error:
        # Chroma says the same of collections with the field's name in front, of databases without.
        message = error.message().removeprefix("Validation error: name: ")
        raise InvalidArgumentError(message) from error
    return CreateDatabase(database_ref(request.path["tenant"], name))


def _encode_create_collection(operation: CreateCollection) -> Request:
    body = CreateCollectionBody(
        operation.name,
        operation.metadata,
        _body(operation.configuration),
        None if operation.indexed is None else indexed_json(operation.indexed),
        operation.get_or_create,
    )
    return Request(_database_path(operation), body=body)


def _decode_create_collection(request: Request) -> CreateCollection:
    body: CreateCollectionBody = request.body
    name = check_name(body.name)
    check_shape(body.schema)
    configuration, indexed = merge_schema(read_settings(body.configuration), body.schema)
    return CreateCollection(
        request.scope,
        name,
        configuration,
        _metadata(body.metadata),
        get_or_create=body.get_or_create,
        indexed=indexed,
    )


def _encode_modify(operation: ModifyCollection) -> Request:
    metadata: dict[str, Any] | None = operation.metadata
    if metadata == {}:
        # No metadata is said by removing some; an empty object is refused.
        metadata = {"all": None}
    if operation.configuration is not None:
        # JSON would make null of a NaN, so faults are looked for on this side of the wire.
        CollectionConfiguration.parse(None, None).updated(operation.configuration)
    body = ModifyCollectionBody(operation.name, metadata, _body(operation.configuration))
    return Request(collection_path(operation.collection), body=body)


def _decode_modify(request: Request) -> ModifyCollection:
    body: ModifyCollectionBody = request.body
    collection = request.collection
    name = None if body.new_name is None else check_name(body.new_name, "new_name")
    metadata = _metadata(body.new_metadata, removals=True, field="new_metadata")
    return ModifyCollection(collection, name, metadata, read_settings(body.new_configuration))


def _body(configuration: Mapping[str, Any] | None) -> Any:
    # The JSON encoder writes a dictionary as the body it stands for.
    return None if configuration is None else dict(configuration)


def _metadata(metadata: Any, **options: Any) -> dict[str, Any] | None:
    try:
        return parse_collection_metadata(metadata, **options)
    except TypeError as error:
        raise MalformedRequestError(f"metadata: {error}") from error


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


def _encode_database_response(request: Request, database: Database) -> Any:
    return {"id": str(database.id), "name": database.name, "tenant": database.tenant}


def _decode_database_response(operation: Any, body: Any) -> Database:
    return Database(UUID(body["id"]), body["name"], body["tenant"])


def _encode_collection_response(request: Request, model: CollectionModel) -> Any:
    return {
        "id": str(model.id),
        "name": model.name,
        "configuration_json": model.configuration_json,
        "schema": schema_json(model.configuration),
        "metadata": model.metadata or None,
        "dimension": model.dimension,
        "tenant": model.tenant,
        "database": model.database,
        "log_position": model.log_position,
        "version": model.version,
        "generation": model.generation,
    }


def _decode_collection_response(operation: Any, body: Any) -> CollectionModel:
    return CollectionModel(
        UUID(body["id"]),
        body["name"],
        decode_configuration(body["configuration_json"], body.get("schema")),
        body.get("metadata"),
        body.get("dimension"),
        body["tenant"],
        body["database"],
        body.get("version", 0),
        body.get("log_position", 0),
        body.get("generation"),
    )


CATALOG_ROUTES: tuple[Route[Any, Any], ...] = (
    Route(
        operation=Heartbeat,
        name="heartbeat",
        method="GET",
        path="/heartbeat",
        access="public",
        encode_request=_encode_plain,
        decode_request=lambda request: Heartbeat(),
        encode_response=lambda request, time: {"nanosecond heartbeat": time},
        decode_response=lambda operation, body: int(body["nanosecond heartbeat"]),
        response=HeartbeatBody,
        is_idempotent=True,
    ),
    Route(
        operation=GetVersion,
        name="version",
        method="GET",
        path="/version",
        access="public",
        encode_request=_encode_plain,
        decode_request=lambda request: GetVersion(),
        encode_response=lambda request, version: version,
        decode_response=lambda operation, body: str(body),
        response=str,
        is_idempotent=True,
    ),
    Route(
        operation=GetIdentity,
        name="get_user_identity",
        method="GET",
        path="/auth/identity",
        access="authenticated",
        encode_request=_encode_plain,
        decode_request=lambda request: GetIdentity(),
        encode_response=lambda request, identity: {
            "user_id": identity.user_id,
            "tenant": identity.tenant,
            "databases": identity.databases,
        },
        decode_response=lambda operation, body: UserIdentity(
            body["user_id"], body.get("tenant"), body.get("databases")
        ),
        response=IdentityBody,
        is_idempotent=True,
    ),
    Route(
        operation=Reset,
        name="reset",
        method="POST",
        path="/reset",
        access="admin",
        encode_request=_encode_plain,
        decode_request=lambda request: Reset(),
        encode_response=lambda request, answer: True,
        decode_response=ignore_response,
        response=bool,
    ),
    Route(
        operation=CreateTenant,
        name="create_tenant",
        method="POST",
        path=TENANTS,
        access="admin",
        encode_request=lambda operation: Request(body=NamedBody(operation.name)),
        decode_request=lambda request: CreateTenant(check_tenant_name(request.body.name)),
        encode_response=empty_response,
        decode_response=ignore_response,
        response=Empty,
        body=NamedBody,
    ),
    Route(
        operation=GetTenant,
        name="get_tenant",
        method="GET",
        path=TENANT,
        access="lookup",
        encode_request=lambda operation: Request({"tenant": operation.name}),
        decode_request=lambda request: GetTenant(_decode_tenant(request)),
        encode_response=lambda request, tenant: {
            "name": tenant.name,
            "resource_name": tenant.resource_name,
        },
        decode_response=lambda operation, body: Tenant(body["name"], body.get("resource_name")),
        response=TenantBody,
        is_idempotent=True,
    ),
    Route(
        operation=UpdateTenant,
        name="update_tenant",
        method="PATCH",
        path=TENANT,
        access="operator",
        encode_request=lambda operation: Request(
            {"tenant": operation.name}, body=UpdateTenantBody(operation.resource_name)
        ),
        decode_request=lambda request: UpdateTenant(
            _decode_tenant(request), check_resource_name(request.body.resource_name)
        ),
        encode_response=empty_response,
        decode_response=ignore_response,
        response=Empty,
        body=UpdateTenantBody,
    ),
    Route(
        operation=CreateDatabase,
        name="create_database",
        method="POST",
        path=DATABASES,
        access="admin",
        encode_request=lambda operation: Request(
            {"tenant": operation.scope.tenant}, body=NamedBody(operation.scope.database)
        ),
        decode_request=_decode_create_database,
        encode_response=empty_response,
        decode_response=ignore_response,
        response=Empty,
        body=NamedBody,
    ),
    Route(
        operation=ListDatabases,
        name="list_databases",
        method="GET",
        path=DATABASES,
        access="read",
        encode_request=lambda operation: Request(
            {"tenant": operation.tenant}, Page(clamp(operation.limit), clamp(operation.offset))
        ),
        decode_request=lambda request: ListDatabases(
            _decode_tenant(request), request.query.limit, request.query.offset
        ),
        encode_response=lambda request, databases: [
            _encode_database_response(request, one) for one in databases
        ],
        decode_response=lambda operation, body: [
            _decode_database_response(operation, one) for one in body
        ],
        response=list[DatabaseBody],
        query=Page,
        is_idempotent=True,
    ),
    Route(
        operation=GetDatabase,
        name="get_database",
        method="GET",
        path=DATABASE,
        access="lookup",
        encode_request=_encode_database,
        decode_request=lambda request: GetDatabase(request.scope),
        encode_response=_encode_database_response,
        decode_response=_decode_database_response,
        response=DatabaseBody,
        is_idempotent=True,
    ),
    Route(
        operation=DeleteDatabase,
        name="delete_database",
        method="DELETE",
        path=DATABASE,
        access="admin",
        encode_request=_encode_database,
        decode_request=lambda request: DeleteDatabase(request.scope),
        encode_response=empty_response,
        decode_response=ignore_response,
        response=Empty,
    ),
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
    ),
    Route(
        operation=ListCollections,
        name="list_collections",
        method="GET",
        path=COLLECTIONS,
        access="read",
        encode_request=lambda operation: Request(
            _database_path(operation), Page(clamp(operation.limit), clamp(operation.offset))
        ),
        decode_request=lambda request: ListCollections(
            request.scope, request.query.limit, request.query.offset
        ),
        encode_response=lambda request, models: [
            _encode_collection_response(request, one) for one in models
        ],
        decode_response=lambda operation, body: [
            _decode_collection_response(operation, one) for one in body
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
        encode_request=_encode_database,
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
        encode_request=lambda operation: Request(collection_path(operation.collection)),
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
        path=COLLECTIONS + "/{collection_id}",
        access="write",
        encode_request=_encode_modify,
        decode_request=_decode_modify,
        encode_response=empty_response,
        decode_response=ignore_response,
        response=Empty,
        body=ModifyCollectionBody,
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
