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
    clipped,
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


def _respond_database(request: Request, database: Database) -> Any:
    return {"id": str(database.id), "name": database.name, "tenant": database.tenant}


def _read_database(operation: Any, body: Any) -> Database:
    return Database(UUID(body["id"]), body["name"], body["tenant"])


def _respond_collection(request: Request, model: CollectionModel) -> Any:
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


def _read_collection(operation: Any, body: Any) -> CollectionModel:
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
        Heartbeat, "heartbeat", "GET", "/heartbeat", "public", _encode_plain,
        lambda request: Heartbeat(),
        lambda request, time: {"nanosecond heartbeat": time},
        lambda operation, body: int(body["nanosecond heartbeat"]),
        HeartbeatBody, is_idempotent=True,
    ),
    Route(
        GetVersion, "version", "GET", "/version", "public", _encode_plain,
        lambda request: GetVersion(),
        lambda request, version: version,
        lambda operation, body: str(body),
        str, is_idempotent=True,
    ),
    Route(
        GetIdentity, "get_user_identity", "GET", "/auth/identity", "known", _encode_plain,
        lambda request: GetIdentity(),
        lambda request, identity: {
            "user_id": identity.user_id,
            "tenant": identity.tenant,
            "databases": identity.databases,
        },
        lambda operation, body: UserIdentity(
            body["user_id"], body.get("tenant"), body.get("databases")
        ),
        IdentityBody, is_idempotent=True,
    ),
    Route(
        Reset, "reset", "POST", "/reset", "admin", _encode_plain,
        lambda request: Reset(),
        lambda request, answer: True,
        ignore_response,
        bool,
    ),
    Route(
        CreateTenant, "create_tenant", "POST", TENANTS, "admin",
        lambda operation: Request(body=NamedBody(operation.name)),
        lambda request: CreateTenant(check_tenant_name(request.body.name)),
        empty_response, ignore_response, Empty, body=NamedBody,
    ),
    Route(
        GetTenant, "get_tenant", "GET", TENANT, "sight",
        lambda operation: Request({"tenant": operation.name}),
        lambda request: GetTenant(_decode_tenant(request)),
        lambda request, tenant: {"name": tenant.name, "resource_name": tenant.resource_name},
        lambda operation, body: Tenant(body["name"], body.get("resource_name")),
        TenantBody, is_idempotent=True,
    ),
    Route(
        UpdateTenant, "update_tenant", "PATCH", TENANT, "operator",
        lambda operation: Request(
            {"tenant": operation.name}, body=UpdateTenantBody(operation.resource_name)
        ),
        lambda request: UpdateTenant(
            _decode_tenant(request), check_resource_name(request.body.resource_name)
        ),
        empty_response, ignore_response, Empty, body=UpdateTenantBody,
    ),
    Route(
        CreateDatabase, "create_database", "POST", DATABASES, "admin",
        lambda operation: Request(
            {"tenant": operation.scope.tenant}, body=NamedBody(operation.scope.database)
        ),
        _decode_create_database,
        empty_response, ignore_response, Empty, body=NamedBody,
    ),
    Route(
        ListDatabases, "list_databases", "GET", DATABASES, "read",
        lambda operation: Request(
            {"tenant": operation.tenant}, Page(clipped(operation.limit), clipped(operation.offset))
        ),
        lambda request: ListDatabases(
            _decode_tenant(request), request.query.limit, request.query.offset
        ),
        lambda request, databases: [_respond_database(request, one) for one in databases],
        lambda operation, body: [_read_database(operation, one) for one in body],
        list[DatabaseBody], query=Page, is_idempotent=True,
    ),
    Route(
        GetDatabase, "get_database", "GET", DATABASE, "sight", _encode_database,
        lambda request: GetDatabase(request.scope),
        _respond_database, _read_database, DatabaseBody, is_idempotent=True,
    ),
    Route(
        DeleteDatabase, "delete_database", "DELETE", DATABASE, "admin", _encode_database,
        lambda request: DeleteDatabase(request.scope),
        empty_response, ignore_response, Empty,
    ),
    Route(
        CreateCollection, "create_collection", "POST", COLLECTIONS, "write",
        _encode_create_collection, _decode_create_collection,
        _respond_collection, _read_collection, CollectionBody, body=CreateCollectionBody,
    ),
    Route(
        ListCollections, "list_collections", "GET", COLLECTIONS, "read",
        lambda operation: Request(
            _database_path(operation), Page(clipped(operation.limit), clipped(operation.offset))
        ),
        lambda request: ListCollections(
            request.scope, request.query.limit, request.query.offset
        ),
        lambda request, models: [_respond_collection(request, one) for one in models],
        lambda operation, body: [_read_collection(operation, one) for one in body],
        list[CollectionBody], query=Page, is_idempotent=True,
    ),
    Route(
        CountCollections, "count_collections", "GET", DATABASE + "/collections_count", "read",
        _encode_database,
        lambda request: CountCollections(request.scope),
        lambda request, count: count,
        lambda operation, body: int(body),
        int, is_idempotent=True,
    ),
    Route(
        GetCollection, "get_collection", "GET", COLLECTIONS + "/{collection}", "read",
        _encode_named,
        lambda request: GetCollection(
            request.scope, check_looked_up(request.path["collection"])
        ),
        _respond_collection, _read_collection, CollectionBody, is_idempotent=True,
    ),
    Route(
        GetCollectionById, "get_collection_by_id", "GET", COLLECTIONS + "/by-id/{collection_id}",
        "read",
        lambda operation: Request(collection_path(operation.collection)),
        _decode_by_id,
        _respond_collection, _read_collection, CollectionBody, is_idempotent=True,
    ),
    Route(
        GetCollectionByCrn, "get_collection_by_crn", "GET", "/collections/{crn}", "read",
        _encode_crn, _decode_crn,
        _respond_collection, _read_collection, CollectionBody, is_idempotent=True,
    ),
    Route(
        ModifyCollection, "update_collection", "PUT", COLLECTIONS + "/{collection_id}", "write",
        _encode_modify, _decode_modify,
        empty_response, ignore_response, Empty, body=ModifyCollectionBody,
    ),
    Route(
        DeleteCollection, "delete_collection", "DELETE", COLLECTIONS + "/{collection}", "write",
        _encode_named,
        lambda request: DeleteCollection(
            request.scope, check_looked_up(request.path["collection"])
        ),
        empty_response, ignore_response, Empty,
    ),
)  # fmt: skip
