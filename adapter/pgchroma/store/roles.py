"""Roles of PostgreSQL: each tenant has one, and its requests run as that role.

A role belongs to the whole server and a tenant to one database, so a role is named for both. It
owns its tenant's schemas and what is in them. On the catalog it has the rights of a group, of
which every tenant's role in the database is a member, and row-level security shows it its own
rows. The group itself has no rows: as it run the requests for tenants that do not exist.

The user who logs in is a member of every role and may become each. So a statement smuggled into
a request must not change the role: only `set_config` could from within a query, and so it must be
revoked from public.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import Any

from psycopg import errors as pg
from psycopg import sql

from pgchroma.errors import MissingRightError
from pgchroma.model.operations import (
    Operation,
)
from pgchroma.store.context import StoreContext
from pgchroma.store.layout.tables import COPY, base_name, relation_names
from pgchroma.store.running.steps import Attempt, Statement, Steps, Transaction, render

__all__ = (
    "drop_roles",
    "give_table",
    "group_name",
    "is_role_error",
    "lock_roles",
    "prepare_roles",
    "role_for",
    "role_name",
    "role_of_tenant",
    "transfer_schema",
)

AT_ONCE = 50
"""Schemas, tables or roles changed in one transaction: each takes a few of the shared locks."""


def group_name(database: str) -> str:
    """Name the group of a PostgreSQL database's tenants."""
    return _named(database)


def role_name(database: str, tenant: str) -> str:
    """Name a tenant's role: readable, and with a hash, since no two tenants may share one."""
    return _named(database, tenant)


def role_for(operation: Operation[Any], context: StoreContext) -> Steps[str | None]:
    """Find the role an operation runs as; None to run as the user who is logged in."""
    tenant = operation.acting_tenant if context.has_tenant_roles else None
    if tenant is None:
        return None
    return (yield from role_of_tenant(tenant, context))


def role_of_tenant(tenant: str, context: StoreContext) -> Steps[str]:
    """Find a tenant's role: from memory, in the catalog, or after it was made.

    For a tenant that does not exist it is the group, which sees nothing.
    """
    known = context.cached_role(tenant)
    if known is not None:
        return known
    database, exists, role, is_sound = (yield Statement(_FIND, {"tenant": tenant}))[0]
    if not is_sound:
        role = (yield Transaction(_make(database, tenant))) if exists else None
        if role is None:
            return group_name(database)
        while (yield Transaction(_hand_over(tenant, role))):
            pass
    context.cache_role(tenant, role)
    return str(role)


def transfer_schema(schema: str, role: str) -> Statement:
    """Make a role the owner of a schema."""
    template = "alter schema {schema} owner to {role}"
    return Statement(render(template, schema=sql.Identifier(schema), role=sql.Identifier(role)))


def give_table(schema: str, name: str, role: str) -> Statement:
    """Make a role the owner of a table or view."""
    template = "alter table {relation} owner to {role}"
    parts = {"relation": sql.Identifier(schema, name), "role": sql.Identifier(role)}
    return Statement(render(template, **parts))


def is_role_error(error: BaseException) -> bool:
    """Whether a tenant's role may be missing, or a right that it ought to have.

    Another user of the database may have made tables in its schema, or dropped the role.
    """
    return isinstance(error, pg.InsufficientPrivilege | pg.InvalidParameterValue)


def drop_roles() -> Steps[None]:
    """Drop the roles of tenants that are gone, but for those with a part in another database."""
    database = (yield Statement(_DATABASE))[0][0]
    # One that somebody has given rights elsewhere stays, and the tenants are gone all the same.
    while (yield Attempt(_drop_some(group_name(database)))) is True:
        pass


def lock_roles() -> Statement:
    """Keep others from making and dropping roles until the transaction ends."""
    return Statement(_LOCK)


def _drop_some(group: str) -> Steps[bool]:
    yield lock_roles()
    rows = yield Statement(_DROPPABLE, {"group": group, "limit": AT_ONCE})
    statements = [
        Statement(render(template, role=sql.Identifier(role)))
        for (role,) in rows
        for template in ("drop owned by {role}", "drop role {role}")
    ]
    if statements:
        yield tuple(statements)
    return bool(statements)


def prepare_roles(*, is_strict: bool = True) -> Steps[None]:
    """Make sure that tenants can have roles, and that nobody gets out of one.

    Raises:
        MissingRightError: Something stands against it that only a superuser can change; the
            message has the command. With `is_strict` off, what lets a smuggled statement
            change its role is passed over.
    """
    state = yield from _look()
    if not state.may_create_roles:
        raise MissingRightError(
            f"the user {state.user} may not create roles, one of which every tenant needs. As a "
            f"superuser, run: alter role {_quoted(state.user)} createrole"
        )
    if not state.is_granted:
        yield Transaction(_make_group(state))
    state = yield from _look()
    if state.is_superuser and state.required_commands():
        yield Transaction(_seal())
    elif is_strict and state.required_commands():
        raise MissingRightError(
            "a statement smuggled into a request could leave its tenant's role, or the role lacks "
            f"a right. As a superuser, in database {state.database}, run: "
            f"{'; '.join(state.required_commands())}"
        )


@dataclass(frozen=True, slots=True)
class _State:
    """What stands in the way of roles for tenants.

    Attributes:
        is_granted: Whether the group exists and has its rights, and the policies are in force.
        may_escape: Whether the group may execute `set_config`; this and what is behind it is
            known once there is a group.
        may_enter: Whether the user who is logged in may.
        may_create: Whether everybody may create objects in schema public.
        hidden_schema: The schema of the type vector, where the group may not use it.
    """

    database: str
    user: str
    is_superuser: bool
    may_create_roles: bool
    is_granted: bool
    may_escape: bool
    may_enter: bool
    may_create: bool
    hidden_schema: str | None

    def required_commands(self) -> list[str]:
        """List the commands that close what is open."""
        wanted = []
        if self.may_escape:
            wanted.append(f"revoke execute on function {_SET_CONFIG} from public")
        if self.may_escape or not self.may_enter:
            wanted.append(f"grant execute on function {_SET_CONFIG} to {_quoted(self.user)}")
        if self.may_create:
            wanted.append("revoke create on schema public from public")
        if self.hidden_schema is not None:
            schema, group = _quoted(self.hidden_schema), _quoted(group_name(self.database))
            wanted.append(f"grant usage on schema {schema} to {group}")
        return wanted


def _look() -> Steps[_State]:
    database = (yield Statement(_DATABASE))[0][0]
    rows = yield Statement(_STATE, {"group": group_name(database), "function": _SET_CONFIG})
    return _State(database, *rows[0])


def _make_group(state: _State) -> Steps[None]:
    yield Statement(_LOCK)
    group = group_name(state.database)
    yield from _ensure_role(group)
    for template in _GRANTS:
        yield Statement(render(template, role=sql.Identifier(group)))


def _seal() -> Steps[None]:
    yield Statement(_LOCK)
    # Another process may have done it meanwhile.
    state = yield from _look()
    for remedy in state.required_commands():
        yield Statement(remedy.encode())


def _make(database: str, tenant: str) -> Steps[str | None]:
    yield Statement(_LOCK)
    rows = yield Statement(_SELECT_ROLE, {"tenant": tenant})
    if not rows:
        return None
    role = rows[0][0] or role_name(database, tenant)
    yield from _ensure_role(role)
    membership = "grant {group} to {role}"
    group = sql.Identifier(group_name(database))
    yield Statement(render(membership, group=group, role=sql.Identifier(role)))
    yield Statement(_UPDATE_ROLE, {"tenant": tenant, "role": role})
    return str(role)


def _ensure_role(role: str) -> Steps[None]:
    """Make a role, and the user who is logged in a member of it who has its rights."""
    membership = yield Statement(_SELECT_MEMBERSHIP, {"role": role})
    if not membership:
        yield Statement(render("create role {role}", role=sql.Identifier(role)))
        membership = yield Statement(_SELECT_MEMBERSHIP, {"role": role})
    user, is_member, may_join = membership[0]
    if is_member:
        return
    if not may_join:
        raise MissingRightError(
            f"another user made the role {role}. As that user or a superuser, run: grant "
            f"{_quoted(role)} to {_quoted(user)} with admin true, inherit true, set true"
        )
    yield Statement(render(_JOIN, role=sql.Identifier(role)))


def _hand_over(tenant: str, role: str) -> Steps[bool]:
    """Give some of a tenant's schemas and tables to its role; say whether there were any."""
    yield Statement(_LOCK)
    named = {"tenant": tenant, "role": role}
    schemas = yield Statement(_FOREIGN_SCHEMAS, {**named, "limit": AT_ONCE})
    if schemas:
        for (schema,) in schemas:
            yield transfer_schema(schema, role)
        return True
    foreign = yield Statement(_FOREIGN_RELATIONS, named)
    collections = (yield Statement(_COLLECTIONS, named)) if foreign else ()
    ours = {(schema, name) for schema, *of in collections for name in relation_names(*of)}
    # Other people's tables in the schema stay theirs.
    given = [
        (schema, name)
        for schema, name in foreign
        if name == COPY or (schema, base_name(name)) in ours
    ]
    for relation in given[:AT_ONCE]:
        yield give_table(*relation, role)
    return bool(given)


def _named(*parts: str) -> str:
    digest = hashlib.sha256("\x00".join(parts).encode()).hexdigest()[:10]
    return ":".join(("pgchroma", *map(_readable, parts), digest))


def _readable(name: str) -> str:
    return "_".join(re.findall(r"[a-z0-9]+", name.lower()))[:16]


def _quoted(name: str) -> str:
    return sql.Identifier(name).as_string(None)


_SET_CONFIG = "pg_catalog.set_config(text, text, boolean)"

# No tenant's role can take this lock, as it could an advisory one.
_LOCK = render("lock table pgchroma.alembic_version in exclusive mode")

_DATABASE = render("select current_database()")

_STATE = render(
    """
    select
        current_user::text,
        u.rolsuper,
        u.rolsuper or u.rolcreaterole,
        coalesce(pg_has_role(session_user, g.oid, 'set'), false)
            and has_schema_privilege(g.oid, 'pgchroma', 'usage')
            and has_table_privilege(g.oid, 'pgchroma.reembeddings', 'delete')
            and has_table_privilege(g.oid, 'pgchroma.collections', 'delete')
            and (
                select bool_and(c.relrowsecurity) from pg_catalog.pg_class as c
                where c.oid = any(array[
                    'pgchroma.tenants', 'pgchroma.databases', 'pgchroma.collections',
                    'pgchroma.segments', 'pgchroma.secondary_indexes', 'pgchroma.reembeddings'
                ]::regclass[])
            ),
        has_function_privilege(g.oid, %(function)s::text, 'execute'),
        has_function_privilege(%(function)s::text, 'execute'),
        coalesce(has_schema_privilege('public', to_regnamespace('public')::oid, 'create'), false),
        case when not has_schema_privilege(g.oid, n.oid, 'usage') then n.nspname::text end
    from pg_catalog.pg_roles as u
    join pg_catalog.pg_extension as e on e.extname = 'vector'
    join pg_catalog.pg_namespace as n on n.oid = e.extnamespace
    left join pg_catalog.pg_roles as g on g.rolname = %(group)s
    where u.rolname = current_user
    """
)

_GRANTS = (
    "grant usage on schema pgchroma to {role}",
    "grant select on pgchroma.tenants, pgchroma.databases, pgchroma.collections, "
    "pgchroma.segments, pgchroma.secondary_indexes, pgchroma.reembeddings to {role}",
    "grant insert, update, delete on pgchroma.collections, pgchroma.reembeddings to {role}",
    # The policies are there; without roles for tenants they would only stand in a dump's way.
    "alter table pgchroma.tenants enable row level security",
    "alter table pgchroma.databases enable row level security",
    "alter table pgchroma.collections enable row level security",
    "alter table pgchroma.segments enable row level security",
    "alter table pgchroma.secondary_indexes enable row level security",
    "alter table pgchroma.reembeddings enable row level security",
)

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

_FIND = render(
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
# Indexes and sequences go along with their tables.
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
