"""Handlers for tenants and databases, and for the whole."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID, uuid4

from pgchroma._version import __version__
from pgchroma.errors import (
    AuthorizationError,
    InvalidArgumentError,
    NotFoundError,
    UniqueConstraintError,
)
from pgchroma.model.entities import Database, DatabaseRef, Tenant, UserIdentity
from pgchroma.model.names import DEFAULT_DATABASE, DEFAULT_TENANT
from pgchroma.model.operations import (
    CreateDatabase,
    CreateTenant,
    DeleteDatabase,
    GetDatabase,
    GetIdentity,
    GetTenant,
    GetVersion,
    Heartbeat,
    ListDatabases,
    Reset,
    UpdateTenant,
)
from pgchroma.store.handlers import handles
from pgchroma.store.layout import (
    CollectionTables,
    create_schema,
    drop_schema,
    drop_tables,
    relation_names,
    schema_name,
    stem,
)
from pgchroma.store.locations import Environment
from pgchroma.store.roles import drop_roles, give_schema, role_of_tenant
from pgchroma.store.statement import Atomic, Exchange, Statement, render

__all__ = (
    "create_database",
    "create_tenant",
    "delete_database",
    "get_database",
    "get_identity",
    "get_tenant",
    "get_version",
    "heartbeat",
    "list_databases",
    "reset",
    "update_tenant",
)

DROPPED_AT_ONCE = 50
"""Collections dropped in one transaction; each takes some nine of PostgreSQL's shared locks."""


@handles(Heartbeat)
def heartbeat(operation: Heartbeat, environment: Environment) -> Exchange[int]:
    """Ask the database for its time."""
    rows = yield Statement(_TIME)
    return int(rows[0][0])


@handles(GetVersion)
def get_version(operation: GetVersion, environment: Environment) -> Exchange[str]:
    """Return the version of this package."""
    yield from ()
    return __version__


@handles(GetIdentity)
def get_identity(operation: GetIdentity, environment: Environment) -> Exchange[UserIdentity]:
    """Return nobody in particular: straight on the database everybody is everybody."""
    yield from ()
    return UserIdentity("", DEFAULT_TENANT, [DEFAULT_DATABASE])


@handles(CreateTenant)
def create_tenant(operation: CreateTenant, environment: Environment) -> Exchange[None]:
    """Insert a tenant."""
    rows = yield Statement(_INSERT_TENANT, {"name": operation.name})
    if not rows:
        raise UniqueConstraintError(f"Tenant [{operation.name}] already exists")


@handles(GetTenant)
def get_tenant(operation: GetTenant, environment: Environment) -> Exchange[Tenant]:
    """Look a tenant up."""
    rows = yield Statement(_SELECT_TENANT, {"name": operation.name})
    if not rows:
        raise NotFoundError(f"Tenant [{operation.name}] not found")
    return Tenant(*rows[0])


@handles(UpdateTenant)
def update_tenant(operation: UpdateTenant, environment: Environment) -> Exchange[None]:
    """Set a tenant's resource name, which once set stays."""
    parameters = {"name": operation.name, "resource_name": operation.resource_name}
    rows = yield Statement(_UPDATE_TENANT, parameters)
    if not rows:
        tenant = yield from get_tenant(GetTenant(operation.name), environment)
        if tenant.resource_name != operation.resource_name:
            raise UniqueConstraintError(
                f"Tenant [{operation.name}] has a resource name already, or another tenant has "
                f"the name {operation.resource_name}"
            )


@handles(CreateDatabase)
def create_database(operation: CreateDatabase, environment: Environment) -> Exchange[None]:
    """Insert a database and make its schema."""
    yield from get_tenant(GetTenant(operation.scope.tenant), environment)
    owner = yield from _owner(operation.scope.tenant, environment)
    yield Atomic(_create_database(operation.scope, uuid4(), owner))


@handles(GetDatabase)
def get_database(operation: GetDatabase, environment: Environment) -> Exchange[Database]:
    """Look a database up."""
    database, _ = yield from _find(operation.scope, ". Are you sure it exists?")
    return database


@handles(ListDatabases)
def list_databases(operation: ListDatabases, environment: Environment) -> Exchange[list[Database]]:
    """Read a page of a tenant's databases."""
    rows = yield Statement(
        _LIST_DATABASES,
        {
            "tenant": operation.tenant,
            "limit": operation.limit,
            "offset": operation.offset or 0,
        },
    )
    return [Database(*row) for row in rows]


@handles(DeleteDatabase)
def delete_database(operation: DeleteDatabase, environment: Environment) -> Exchange[None]:
    """Drop a database's collections some at a time, then its schema."""
    database, schema = yield from _find(operation.scope, "")
    yield from _refuse_foreign(schema, database)
    while (yield Atomic(_drop_some(schema, database.id))):
        pass
    yield (
        drop_schema(schema),
        Statement(_DELETE_DATABASE, {"id": database.id}),
    )


@handles(Reset)
def reset(operation: Reset, environment: Environment) -> Exchange[None]:
    """Drop every database and tenant, then make the default ones anew.

    Raises:
        AuthorizationError: It is not allowed here, which it is not unless said so.
    """
    if not environment.allows_reset:
        raise AuthorizationError("Reset is disabled by config")
    rows = yield Statement(_ALL_DATABASES)
    for tenant, name in rows:
        scope = DatabaseRef(tenant, name)
        yield from delete_database(DeleteDatabase(scope), environment)
    yield from drop_roles()
    environment.forget()
    yield Statement(_DELETE_TENANTS)
    yield from create_tenant(CreateTenant(DEFAULT_TENANT), environment)
    scope = DatabaseRef(DEFAULT_TENANT, DEFAULT_DATABASE)
    owner = yield from _owner(scope.tenant, environment)
    yield Atomic(_create_database(scope, UUID(int=0), owner))


def _owner(tenant: str, environment: Environment) -> Exchange[str | None]:
    if not environment.has_tenant_roles:
        return None
    return (yield from role_of_tenant(tenant, environment))


def _create_database(scope: DatabaseRef, id: UUID, owner: str | None) -> Exchange[None]:
    schema = schema_name(scope.tenant, scope.database)
    rows = yield Statement(
        _INSERT_DATABASE,
        {"id": id, "tenant": scope.tenant, "name": scope.database, "schema": schema},
    )
    if not rows:
        raise UniqueConstraintError(f"Database [{scope.database}] already exists")
    yield create_schema(schema)
    if owner is not None:
        yield give_schema(schema, owner)


def _find(scope: DatabaseRef, advice: str) -> Exchange[tuple[Database, str]]:
    rows = yield Statement(_SELECT_DATABASE, {"tenant": scope.tenant, "name": scope.database})
    if not rows:
        raise NotFoundError(f"Database [{scope.database}] not found{advice}")
    id, schema = rows[0]
    return Database(id, scope.database, scope.tenant), schema


def _refuse_foreign(schema: str, database: Database) -> Exchange[None]:
    """Refuse to touch a schema in which somebody else keeps tables or views."""
    relations = yield Statement(_RELATIONS, {"schema": schema})
    collections = yield Statement(_COLLECTIONS, {"database_id": database.id})
    ours = {name for id, collection in collections for name in relation_names(id, collection)}
    foreign = sorted(name for (name,) in relations if stem(name) not in ours)
    if foreign:
        raise InvalidArgumentError(
            f"Database [{database.name}] is not deleted: its schema {schema} has tables or views "
            f"that are not pgchroma's: {', '.join(foreign[:5])}; drop or move them first"
        )


def _drop_some(schema: str, database_id: UUID) -> Exchange[Sequence[Any]]:
    named = {"database_id": database_id, "limit": DROPPED_AT_ONCE}
    # Locked first: what deletes them sees all the tables that they were given until then.
    rows = yield Statement(_LOCK_SOME, named), Statement(_DELETE_SOME, named)
    statements = [
        statement
        for id, name, generation, spare in rows
        for statement in drop_tables(CollectionTables(schema, id, generation), name, spare)
    ]
    if statements:
        yield tuple(statements)
    return rows  # type: ignore[no-any-return]


_TIME = render("select (extract(epoch from clock_timestamp()) * 1000000000)::bigint")

_INSERT_TENANT = render(
    "insert into pgchroma.tenants (name) values (%(name)s) on conflict do nothing returning name"
)
_SELECT_TENANT = render("select name, resource_name from pgchroma.tenants where name = %(name)s")
_UPDATE_TENANT = render(
    """
    update pgchroma.tenants set resource_name = %(resource_name)s
    where name = %(name)s and resource_name is null and not exists (
        select from pgchroma.tenants where resource_name = %(resource_name)s
    )
    returning name
    """
)
_DELETE_TENANTS = render("delete from pgchroma.tenants")

_INSERT_DATABASE = render(
    """
    insert into pgchroma.databases (id, tenant, name, schema_name)
    values (%(id)s, %(tenant)s, %(name)s, %(schema)s)
    on conflict (tenant, name) do nothing
    returning id
    """
)
_SELECT_DATABASE = render(
    "select id, schema_name from pgchroma.databases where tenant = %(tenant)s and name = %(name)s"
)
_LIST_DATABASES = render(
    """
    select id, name, tenant from pgchroma.databases
    where tenant = %(tenant)s
    order by name
    limit %(limit)s::bigint offset %(offset)s::bigint
    """
)
_ALL_DATABASES = render("select tenant, name from pgchroma.databases order by tenant, name")
_RELATIONS = render(
    """
    select c.relname::text
    from pg_catalog.pg_class as c
    join pg_catalog.pg_namespace as n on n.oid = c.relnamespace
    where n.nspname = %(schema)s and c.relkind in ('r', 'p', 'v', 'm', 'f', 'S')
    """
)
_COLLECTIONS = render(
    "select id, name from pgchroma.collections where database_id = %(database_id)s"
)
_DELETE_DATABASE = render("delete from pgchroma.databases where id = %(id)s")
_LOCK_SOME = render(
    """
    select from pgchroma.collections where database_id = %(database_id)s
    order by id limit %(limit)s
    for update
    """
)
_DELETE_SOME = render(
    """
    delete from pgchroma.collections
    where id in (
        select id from pgchroma.collections where database_id = %(database_id)s
        order by id limit %(limit)s
    )
    returning id, name, generation, (
        select r.generation from pgchroma.reembeddings as r
        where r.collection_id = collections.id
    )
    """
)
