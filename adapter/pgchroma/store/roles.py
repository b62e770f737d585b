"""Roles in PostgreSQL: each tenant has one, and its requests run as that role.

A role belongs to the whole server and a tenant to one database, so a role is named after both. It
owns its tenant's schemas and the objects in them. On the catalog it has the privileges of a group,
of which every tenant's role in the database is a member, and row-level security shows it its own
rows. The group itself sees no rows: requests for tenants that do not exist run as the group.

The login user is a member of every role. `pgchroma.catalog.roles` makes sure that a statement
which is injected into a request cannot change the role.
"""

from __future__ import annotations

import hashlib
import re
from typing import Any

from psycopg import errors as pg
from psycopg import sql

from pgchroma.errors import MissingRightError
from pgchroma.model.operations import Operation
from pgchroma.store.context import StoreContext
from pgchroma.store.layout.names import base_name, relation_names
from pgchroma.store.layout.tables import COPY
from pgchroma.store.running.steps import Attempt, Statement, Steps, Transaction, render

__all__ = (
    "CURRENT_DATABASE",
    "drop_roles",
    "ensure_role",
    "group_name",
    "is_role_error",
    "lock_roles",
    "quoted",
    "role_for",
    "role_name",
    "role_of_tenant",
    "transfer_schema",
    "transfer_table",
)

CURRENT_DATABASE = render("select current_database()")

BATCH = 50
"""Schemas, tables or roles changed in one transaction; each takes a few of the shared locks."""


def group_name(database: str) -> str:
    """Return the name of the group of a PostgreSQL database's tenants."""
    return _named(database)


def role_name(database: str, tenant: str) -> str:
    """Return the name of a tenant's role: readable, with a hash that makes it unique."""
    return _named(database, tenant)


def role_for(operation: Operation[Any], context: StoreContext) -> Steps[str | None]:
    """Return the role that an operation runs as; `None` means the login user."""
    tenant = operation.acting_tenant if context.has_tenant_roles else None
    if tenant is None:
        return None
    return (yield from role_of_tenant(tenant, context))


def role_of_tenant(tenant: str, context: StoreContext) -> Steps[str]:
    """Return a tenant's role: the cached one, the one in the catalog, or a new one.

    For a tenant that does not exist it is the group, which sees no rows.
    """
    known = context.cached_role(tenant)
    if known is not None:
        return known
    database, exists, role, is_sound = (yield Statement(_SELECT_TENANT_ROLE, {"tenant": tenant}))[0]
    if not is_sound:
        role = (yield Transaction(_create_role(database, tenant))) if exists else None
        if role is None:
            return group_name(database)
        while (yield Transaction(_transfer_ownership(tenant, role))):
            pass
    context.cache_role(tenant, role)
    return str(role)


def transfer_schema(schema: str, role: str) -> Statement:
    """Make a role the owner of a schema."""
    template = "alter schema {schema} owner to {role}"
    return Statement(render(template, schema=sql.Identifier(schema), role=sql.Identifier(role)))


def transfer_table(schema: str, name: str, role: str) -> Statement:
    """Make a role the owner of a table or view."""
    template = "alter table {relation} owner to {role}"
    parts = {"relation": sql.Identifier(schema, name), "role": sql.Identifier(role)}
    return Statement(render(template, **parts))


def is_role_error(error: BaseException) -> bool:
    """Whether an error may be due to a tenant's role that is missing, or lacks a privilege.

    Another user of the database may have created tables in its schema, or dropped the role.
    """
    return isinstance(error, pg.InsufficientPrivilege | pg.InvalidParameterValue)


def drop_roles() -> Steps[None]:
    """Drop the roles of tenants that no longer exist, except those used in another database."""
    database = (yield Statement(CURRENT_DATABASE))[0][0]
    # A role that has privileges on other objects stays. The deletion of tenants does not fail.
    while (yield Attempt(_drop_batch(group_name(database)))) is True:
        pass


def lock_roles() -> Statement:
    """Lock out others that create or drop roles until the transaction ends."""
    return Statement(_LOCK)


def _drop_batch(group: str) -> Steps[bool]:
    yield lock_roles()
    rows = yield Statement(_DROPPABLE, {"group": group, "limit": BATCH})
    statements = [
        Statement(render(template, role=sql.Identifier(role)))
        for (role,) in rows
        for template in ("drop owned by {role}", "drop role {role}")
    ]
    if statements:
        yield tuple(statements)
    return bool(statements)


def _create_role(database: str, tenant: str) -> Steps[str | None]:
    yield lock_roles()
    rows = yield Statement(_SELECT_ROLE, {"tenant": tenant})
    if not rows:
        return None
    role = rows[0][0] or role_name(database, tenant)
    yield from ensure_role(role)
    membership = "grant {group} to {role}"
    group = sql.Identifier(group_name(database))
    yield Statement(render(membership, group=group, role=sql.Identifier(role)))
    yield Statement(_UPDATE_ROLE, {"tenant": tenant, "role": role})
    return str(role)


def ensure_role(role: str) -> Steps[None]:
    """Create a role if it is missing, and make the login user a member with its privileges.

    Raises:
        MissingRightError: Another user created the role, and has to grant it.
    """
    membership = yield Statement(_SELECT_MEMBERSHIP, {"role": role})
    if not membership:
        yield Statement(render("create role {role}", role=sql.Identifier(role)))
        membership = yield Statement(_SELECT_MEMBERSHIP, {"role": role})
    user, is_member, may_join = membership[0]
    if is_member:
        return
    if not may_join:
        raise MissingRightError(
            f"another user created the role {role}. As that user or a superuser, run: grant "
            f"{quoted(role)} to {quoted(user)} with admin true, inherit true, set true"
        )
    yield Statement(render(_JOIN, role=sql.Identifier(role)))


def _transfer_ownership(tenant: str, role: str) -> Steps[bool]:
    """Transfer some of a tenant's schemas and tables to its role; return whether there were any."""
    yield lock_roles()
    parameters = {"tenant": tenant, "role": role}
    schemas = yield Statement(_FOREIGN_SCHEMAS, {**parameters, "limit": BATCH})
    if schemas:
        for (schema,) in schemas:
            yield transfer_schema(schema, role)
        return True
    foreign = yield Statement(_FOREIGN_RELATIONS, parameters)
    collections = (yield Statement(_COLLECTIONS, parameters)) if foreign else ()
    known = {
        (schema, name)
        for schema, *collection in collections
        for name in relation_names(*collection)
    }
    # Tables that pgchroma did not create keep their owner.
    relations = [
        (schema, name)
        for schema, name in foreign
        if name == COPY or (schema, base_name(name)) in known
    ]
    for relation in relations[:BATCH]:
        yield transfer_table(*relation, role)
    return bool(relations)


def _named(*parts: str) -> str:
    digest = hashlib.sha256("\x00".join(parts).encode()).hexdigest()[:10]
    return ":".join(("pgchroma", *map(_readable, parts), digest))


def _readable(name: str) -> str:
    return "_".join(re.findall(r"[a-z0-9]+", name.lower()))[:16]


def quoted(name: str) -> str:
    """Return a name as an identifier in SQL."""
    return sql.Identifier(name).as_string(None)


# Unlike an advisory lock, a tenant's role cannot take this one.
_LOCK = render("lock table pgchroma.alembic_version in exclusive mode")

_JOIN = "grant {role} to current_user, session_user with inherit true, set true"

_SELECT_MEMBERSHIP = render(
    """
    select
        current_user::text,
        pg_has_role(session_user, oid, 'set') and pg_has_role(oid, 'usage'),
        pg_has_role(oid, 'member with admin option')
    from pg_catalog.pg_roles where rolname = %(role)s
    """
)

_SELECT_TENANT_ROLE = render(
    """
    select
        current_database(),
        t.name is not null,
        t.role_name,
        r.oid is not null and pg_has_role(session_user, r.oid, 'set') and not exists (
            select
            from pgchroma.databases as d
            join pg_catalog.pg_namespace as n on n.nspname = d.schema_name
            left join pg_catalog.pg_class as c
                on c.relnamespace = n.oid and c.relkind in ('r', 'v')
            where d.tenant = t.name and r.oid <> any(array[n.nspowner, c.relowner])
        )
    from (select) as one
    left join pgchroma.tenants as t on t.name = %(tenant)s
    left join pg_catalog.pg_roles as r on r.rolname = t.role_name
    """
)

_SELECT_ROLE = render("select role_name from pgchroma.tenants where name = %(tenant)s for update")
_UPDATE_ROLE = render("update pgchroma.tenants set role_name = %(role)s where name = %(tenant)s")

_FOREIGN_SCHEMAS = render(
    """
    select n.nspname::text
    from pgchroma.databases as d
    join pg_catalog.pg_namespace as n on n.nspname = d.schema_name
    join pg_catalog.pg_roles as r on r.rolname = %(role)s and r.oid <> n.nspowner
    where d.tenant = %(tenant)s
    order by 1
    limit %(limit)s
    """
)
# Indexes and sequences change their owner with their tables.
_FOREIGN_RELATIONS = render(
    """
    select n.nspname::text, c.relname::text
    from pgchroma.databases as d
    join pg_catalog.pg_namespace as n on n.nspname = d.schema_name
    join pg_catalog.pg_class as c on c.relnamespace = n.oid and c.relkind in ('r', 'v')
    join pg_catalog.pg_roles as r on r.rolname = %(role)s and r.oid <> c.relowner
    where d.tenant = %(tenant)s
    order by 1, 2
    """
)
_COLLECTIONS = render(
    """
    select d.schema_name, c.id, c.name
    from pgchroma.collections as c
    join pgchroma.databases as d on d.id = c.database_id
    where d.tenant = %(tenant)s
    """
)

_DROPPABLE = render(
    """
    select r.rolname::text
    from pg_catalog.pg_auth_members as m
    join pg_catalog.pg_roles as r on r.oid = m.member
    join pg_catalog.pg_roles as g on g.oid = m.roleid
    where g.rolname = %(group)s and starts_with(r.rolname, 'pgchroma:')
        and not exists (select from pgchroma.tenants as t where t.role_name = r.rolname)
        and pg_has_role(r.oid, 'member with admin option')
        and not exists (
            select from pg_catalog.pg_shdepend as s
            join pg_catalog.pg_database as d on d.oid = s.dbid and d.datname <> current_database()
            where s.refclassid = 'pg_authid'::regclass and s.refobjid = r.oid
        )
    group by r.rolname
    order by 1
    limit %(limit)s
    """
)
