"""Routes of tenants and databases."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from msgspec import Struct

from pgchroma.errors import InvalidArgumentError
from pgchroma.model.entities import Database, Tenant
from pgchroma.model.names import check_looked_up, check_name, check_resource_name, check_tenant_name
from pgchroma.model.operations import (
    CreateDatabase,
    CreateTenant,
    DeleteDatabase,
    GetDatabase,
    GetTenant,
    ListDatabases,
    UpdateTenant,
)
from pgchroma.wire.paths import DATABASE, DATABASES, TENANT, TENANTS, encode_database
from pgchroma.wire.route import Request, Route, database_ref
from pgchroma.wire.shapes import Empty, Page, clamp, empty_response, ignore_response

__all__ = ("TENANT_ROUTES",)


class NamedBody(Struct):
    """The name of a new tenant or database."""

    name: str


class UpdateTenantBody(Struct):
    """The name of a tenant in the resource names of its collections."""

    resource_name: str


class TenantBody(Struct):
    """A tenant."""

    name: str
    resource_name: str | None = None


class DatabaseBody(Struct):
    """A database."""

    id: str
    name: str
    tenant: str


def _decode_tenant(request: Request) -> str:
    return check_looked_up(request.path["tenant"])


def _decode_create_database(request: Request) -> CreateDatabase:
    try:
        name = check_name(request.body.name)
    except InvalidArgumentError as error:
        # Chroma's message has the name of the field for collections, but not for databases.
        message = error.message().removeprefix("Validation error: name: ")
        raise InvalidArgumentError(message) from error
    return CreateDatabase(database_ref(request.path["tenant"], name))


def _encode_database_response(request: Request, database: Database) -> Any:
    return {"id": str(database.id), "name": database.name, "tenant": database.tenant}


def _decode_database_response(operation: Any, body: Any) -> Database:
    return Database(UUID(body["id"]), body["name"], body["tenant"])


TENANT_ROUTES: tuple[Route[Any, Any], ...] = (
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
        example={"name": "acme"},
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
        example={"resource_name": "default"},
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
        example={"name": "library"},
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
            _encode_database_response(request, database) for database in databases
        ],
        decode_response=lambda operation, body: [
            _decode_database_response(operation, database) for database in body
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
        encode_request=encode_database,
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
        encode_request=encode_database,
        decode_request=lambda request: DeleteDatabase(request.scope),
        encode_response=empty_response,
        decode_response=ignore_response,
        response=Empty,
    ),
)
