"""Handlers for tenants, databases and the server as a whole."""

from __future__ import annotations

from typing import Final, LiteralString
from uuid import UUID, uuid4

import orjson
from psycopg import sql

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
from pgchroma.store.context import StoreContext
from pgchroma.store.discarded import discard_schemas, drop_discarded
from pgchroma.store.handlers import handles
from pgchroma.store.layout.names import base_name, relation_names, schema_name
from pgchroma.store.layout.tables import COPY, create_copy, create_schema
from pgchroma.store.roles import (
    drop_roles,
    lock_roles,
    role_of_tenant,
    transfer_schema,
    transfer_table,
)
from pgchroma.store.running.steps import Rows, Statement, Steps, Transaction, render

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

MAX_DROP_SECONDS: Final = 0.4
"""How long a client without a compactor keeps dropping the tables of a deleted database."""


@handles(Heartbeat)
def heartbeat(operation: Heartbeat, context: StoreContext) -> Steps[int]:
    """Return the database's clock."""
    rows = yield Statement(_TIME)
    return int(rows[0][0])


@handles(GetVersion)
def get_version(operation: GetVersion, context: StoreContext) -> Steps[str]:
    """Return the version of this package."""
    yield from ()
    return __version__


@handles(GetIdentity)
def get_identity(operation: GetIdentity, context: StoreContext) -> Steps[UserIdentity]:
    """Return an anonymous identity: a direct connection has no authenticated user."""
    yield from ()
    return UserIdentity("", DEFAULT_TENANT, [DEFAULT_DATABASE])


@handles(CreateTenant)
def create_tenant(operation: CreateTenant, context: StoreContext) -> Steps[None]:
    """Insert a tenant."""
    rows = yield Statement(_INSERT_TENANT, {"name": operation.name})
    if not rows:
        raise UniqueConstraintError(f"Tenant [{operation.name}] already exists")


@handles(GetTenant)
def get_tenant(operation: GetTenant, context: StoreContext) -> Steps[Tenant]:
    """Look a tenant up."""
    rows = yield Statement(_SELECT_TENANT, {"name": operation.name})
    if not rows:
        raise NotFoundError(f"Tenant [{operation.name}] not found")
    return Tenant(*rows[0])


@handles(UpdateTenant)
def update_tenant(operation: UpdateTenant, context: StoreContext) -> Steps[None]:
    """Set a tenant's resource name. Once set, it cannot be changed."""
    parameters = {"name": operation.name, "resource_name": operation.resource_name}
    rows = yield Statement(_UPDATE_TENANT, parameters)
    if not rows:
        tenant = yield from get_tenant(GetTenant(operation.name), context)
        if tenant.resource_name != operation.resource_name:
            raise UniqueConstraintError(
                f"Tenant [{operation.name}] already has a resource name, or another tenant uses "
                f"the name {operation.resource_name}"
            )


@handles(CreateDatabase)
def create_database(operation: CreateDatabase, context: StoreContext) -> Steps[None]:
    """Insert a database and create its schema."""
    yield from get_tenant(GetTenant(operation.scope.tenant), context)
    owner = yield from _tenant_owner(operation.scope.tenant, context)
    yield Transaction(_create_database(operation.scope, uuid4(), owner))


@handles(GetDatabase)
def get_database(operation: GetDatabase, context: StoreContext) -> Steps[Database]:
    """Look a database up."""
    database, _ = yield from _find_database(operation.scope, ". Are you sure it exists?")
    return database


@handles(ListDatabases)
def list_databases(operation: ListDatabases, context: StoreContext) -> Steps[list[Database]]:
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
def delete_database(operation: DeleteDatabase, context: StoreContext) -> Steps[None]:
    """Delete a database in one short transaction, then drop its tables."""
    yield Transaction(_delete_database(operation.scope))
    yield from _drop_tables(context)


@handles(Reset)
def reset(operation: Reset, context: StoreContext) -> Steps[None]:
    """Delete all databases and tenants and recreate the default ones, in one transaction.

    The tables are dropped afterwards. Concurrent creations wait for the transaction.

    Raises:
        AuthorizationError: `Reset` is not allowed, which is the default.
    """
    if not context.allows_reset:
        raise AuthorizationError("Reset is disabled by config")
    yield Transaction(_reset(context))
    context.forget()
    if (yield from _drop_tables(context)):
        # Roles that still own tables cannot be dropped.
        yield from drop_roles()


def _delete_database(scope: DatabaseRef) -> Steps[None]:
    # In the same order as `Reset` locks them, which rules out deadlocks.
    yield Statement(_LOCK_CATALOG)
    rows = yield Statement(_LOCK_DATABASE, {"tenant": scope.tenant, "name": scope.database})
    if not rows:
        raise NotFoundError(f"Database [{scope.database}] not found")
    yield from _discard(rows)


def _reset(context: StoreContext) -> Steps[None]:
    yield lock_roles(), Statement(_LOCK_CATALOG_WHOLE)
    yield from _discard((yield Statement(_ALL_DATABASES)))
    yield Statement(_DELETE_TENANTS)
    # Cached roles of deleted tenants must not be used for the tenants created now.
    context.forget()
    yield from create_tenant(CreateTenant(DEFAULT_TENANT), context)
    scope = DatabaseRef(DEFAULT_TENANT, DEFAULT_DATABASE)
    owner = yield from _tenant_owner(scope.tenant, context)
    yield from _create_database(scope, UUID(int=0), owner)


def _discard(databases: Rows) -> Steps[None]:
    """Delete databases, passed as id, name and schema, and discard their schemas."""
    ids = [id for id, _, _ in databases]
    yield from _check_no_foreign_objects(databases)
    yield Statement(_DELETE_COLLECTIONS, {"ids": ids}), Statement(_DELETE_DATABASES, {"ids": ids})
    yield from discard_schemas([schema for _, _, schema in databases])


def _drop_tables(context: StoreContext) -> Steps[bool]:
    """Drop the tables of deleted databases; leave to the compactor what takes too long.

    Return whether all of them are dropped.
    """
    # In the caller's transaction, every lock is held until the caller commits.
    is_brief = context.caches_nothing or context.observed is not None
    seconds = 0.0 if is_brief else MAX_DROP_SECONDS
    leftovers = yield from drop_discarded(seconds)
    if not leftovers.is_done:
        context.record_discarded()
    return leftovers.is_done


def _tenant_owner(tenant: str, context: StoreContext) -> Steps[str | None]:
    if not context.has_tenant_roles:
        return None
    return (yield from role_of_tenant(tenant, context))


def _create_database(scope: DatabaseRef, id: UUID, owner: str | None) -> Steps[None]:
    schema = schema_name(scope.tenant, scope.database)
    rows = yield Statement(
        _INSERT_DATABASE,
        {"id": id, "tenant": scope.tenant, "name": scope.database, "schema": schema},
    )
    if not rows:
        raise UniqueConstraintError(f"Database [{scope.database}] already exists")
    copy = sql.Identifier(schema, COPY)
    entry = {"id": str(id), "tenant": scope.tenant, "name": scope.database}
    yield create_schema(schema), create_copy(schema)
    named = {"id": UUID(int=0), "entry": orjson.dumps(entry).decode()}
    yield Statement(render(_INSERT_COPY, copy=copy), named)
    if owner is not None:
        yield transfer_schema(schema, owner)
        yield transfer_table(schema, COPY, owner)


def _find_database(scope: DatabaseRef, advice: str) -> Steps[tuple[Database, str]]:
    rows = yield Statement(_SELECT_DATABASE, {"tenant": scope.tenant, "name": scope.database})
    if not rows:
        raise NotFoundError(f"Database [{scope.database}] not found{advice}")
    id, schema = rows[0]
    return Database(id, scope.database, scope.tenant), schema


def _check_no_foreign_objects(databases: Rows) -> Steps[None]:
    """Raise an error if a schema has foreign objects, or foreign objects depend on its tables."""
    named = {"ids": [id for id, _, _ in databases]}
    contained = yield Statement(_CONTAINED, named)
    collections = yield Statement(_COLLECTIONS, named)
    own = {(id, name) for id, *collection in collections for name in relation_names(*collection)}
    names = {id: (name, schema) for id, name, schema in databases}
    foreign: dict[UUID, list[str]] = {}
    for id, object in contained:
        if object != COPY and (id, base_name(object)) not in own:
            foreign.setdefault(id, []).append(object)
    for id, objects in foreign.items():
        name, schema = names[id]
        raise InvalidArgumentError(
            f"Database [{name}] cannot be deleted: its schema {schema} has tables, views or other "
            f"objects that are not pgchroma's: {_listed(objects)}; drop or move them first"
        )
    dependent = yield Statement(_DEPENDENT, named)
    if dependent:
        id, object = dependent[0]
        raise InvalidArgumentError(
            f"Database [{names[id][0]}] cannot be deleted: {object} depends on its tables; drop "
            f"{object} first"
        )


def _listed(objects: list[str]) -> str:
    return ", ".join(sorted(objects)[:5])


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
_INSERT_COPY: LiteralString = "insert into {copy} (id, entry) values (%(id)s, %(entry)s::jsonb)"
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
_LOCK_CATALOG = render("lock table pgchroma.collections, pgchroma.databases in row exclusive mode")
# Other transactions can read the catalog, and cannot write to it.
_LOCK_CATALOG_WHOLE = render(
    """
    lock table pgchroma.collections, pgchroma.databases, pgchroma.tenants
    in share row exclusive mode
    """
)
# Creating a collection and deleting its database wait for each other.
_LOCK_DATABASE = render(
    """
    select id, name, schema_name from pgchroma.databases
    where tenant = %(tenant)s and name = %(name)s
    for update
    """
)
_ALL_DATABASES = render(
    "select id, name, schema_name from pgchroma.databases order by tenant, name"
)
_DELETE_COLLECTIONS = render("delete from pgchroma.collections where database_id = any(%(ids)s)")
_DELETE_DATABASES = render("delete from pgchroma.databases where id = any(%(ids)s)")
_COLLECTIONS = render(
    """
    select database_id, id, name from pgchroma.collections where database_id = any(%(ids)s)
    """
)
# Every object that has to be dropped before its schema. Statistics are dropped with their tables.
_CONTAINED = render(
    """
    select b.id, coalesce(c.relname::text, pg_describe_object(d.classid, d.objid, 0))
    from pgchroma.databases as b
    join pg_catalog.pg_namespace as n on n.nspname = b.schema_name
    join pg_catalog.pg_depend as d
        on d.refclassid = 'pg_namespace'::regclass and d.refobjid = n.oid and d.deptype = 'n'
    left join pg_catalog.pg_class as c on d.classid = 'pg_class'::regclass and c.oid = d.objid
    where b.id = any(%(ids)s) and d.classid <> 'pg_statistic_ext'::regclass
    """
)
# The view of a collection also depends on its tables, and a generated column on its own table. They
# are in the same schema and excluded.
_DEPENDENT = render(
    """
    select b.id, coalesce(v.oid::regclass::text, pg_describe_object(d.classid, d.objid, 0))
    from pgchroma.databases as b
    join pg_catalog.pg_namespace as n on n.nspname = b.schema_name
    join pg_catalog.pg_class as c on c.relnamespace = n.oid and c.relkind in ('r', 'v', 'S')
    join pg_catalog.pg_depend as d
        on d.refclassid = 'pg_class'::regclass and d.refobjid = c.oid and d.deptype = 'n'
    left join pg_catalog.pg_rewrite as w
        on d.classid = 'pg_rewrite'::regclass and w.oid = d.objid
    left join pg_catalog.pg_class as v on v.oid = w.ev_class
    left join pg_catalog.pg_attrdef as g
        on d.classid = 'pg_attrdef'::regclass and g.oid = d.objid
    left join pg_catalog.pg_class as t on t.oid = g.adrelid
    where b.id = any(%(ids)s) and v.relnamespace is distinct from n.oid
        and t.relnamespace is distinct from n.oid
    order by 2
    limit 1
    """
)
