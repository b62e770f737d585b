"""Preparing a database for roles of tenants.

The login user is a member of every tenant's role and can switch to each of them. A statement that
is injected into a request must therefore not be able to change the role. Within a query only
`set_config` can do that, so its execution is revoked from public.
"""

from __future__ import annotations

from dataclasses import dataclass

from psycopg import sql

from pgchroma.errors import MissingRightError
from pgchroma.store.roles import CURRENT_DATABASE, ensure_role, group_name, lock_roles, quoted
from pgchroma.store.running.steps import Statement, Steps, Transaction, render

__all__ = ("prepare_roles",)


def prepare_roles(*, is_strict: bool = True) -> Steps[None]:
    """Make sure that tenants can have roles, and that no statement can leave its tenant's role.

    Args:
        is_strict: Whether to refuse a database in which an injected statement could change its
            role.

    Raises:
        MissingRightError: Only a superuser can change what is missing; the message has the command.
    """
    state = yield from _read_state()
    if not state.may_create_roles:
        raise MissingRightError(
            f"the user {state.user} may not create roles, one of which every tenant needs. As a "
            f"superuser, run: alter role {quoted(state.user)} createrole"
        )
    if not state.is_prepared:
        yield Transaction(_create_group(state))
        state = yield from _read_state()
    commands = state.required_commands()
    if state.is_superuser and commands:
        yield Transaction(_revoke_escapes())
    elif is_strict and commands:
        raise MissingRightError(
            "a statement injected into a request could leave its tenant's role, or the role lacks "
            f"a privilege. As a superuser, in database {state.database}, run: {'; '.join(commands)}"
        )


@dataclass(frozen=True, slots=True)
class _RoleState:
    """What is missing for roles of tenants.

    Attributes:
        is_prepared: Whether the group exists and has its privileges, and the policies are enabled.
        may_escape: Whether the group may execute `set_config`. This and the following are known
            only if the group exists.
        may_enter: Whether the login user may execute it.
        may_create: Whether every user may create objects in the schema public.
        hidden_schema: The schema of the type vector, if the group may not use it.
    """

    database: str
    user: str
    is_superuser: bool
    may_create_roles: bool
    is_prepared: bool
    may_escape: bool
    may_enter: bool
    may_create: bool
    hidden_schema: str | None

    def required_commands(self) -> list[str]:
        """Return the commands that complete the preparation."""
        commands = []
        if self.may_escape:
            commands.append(f"revoke execute on function {_SET_CONFIG} from public")
        if self.may_escape or not self.may_enter:
            commands.append(f"grant execute on function {_SET_CONFIG} to {quoted(self.user)}")
        if self.may_create:
            commands.append("revoke create on schema public from public")
        if self.hidden_schema is not None:
            schema, group = quoted(self.hidden_schema), quoted(group_name(self.database))
            commands.append(f"grant usage on schema {schema} to {group}")
        return commands


def _read_state() -> Steps[_RoleState]:
    database = (yield Statement(CURRENT_DATABASE))[0][0]
    rows = yield Statement(_STATE, {"group": group_name(database), "function": _SET_CONFIG})
    return _RoleState(database, *rows[0])


def _create_group(state: _RoleState) -> Steps[None]:
    yield lock_roles()
    group = group_name(state.database)
    yield from ensure_role(group)
    for template in _GRANTS:
        yield Statement(render(template, role=sql.Identifier(group)))


def _revoke_escapes() -> Steps[None]:
    yield lock_roles()
    # Another process may have done this while this one waited for the lock.
    state = yield from _read_state()
    for command in state.required_commands():
        yield Statement(command.encode())


_SET_CONFIG = "pg_catalog.set_config(text, text, boolean)"

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
            and has_table_privilege(g.oid, 'pgchroma.memory_indexes', 'select')
            and has_schema_privilege(g.oid, 'chroma', 'usage')
            and has_table_privilege(g.oid, 'chroma._collections', 'select')
            and (
                select bool_and(c.relrowsecurity) from pg_catalog.pg_class as c
                where c.oid = any(array[
                    'pgchroma.tenants', 'pgchroma.databases', 'pgchroma.collections',
                    'pgchroma.segments', 'pgchroma.secondary_indexes', 'pgchroma.reembeddings',
                    'pgchroma.memory_indexes'
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
    "pgchroma.segments, pgchroma.secondary_indexes, pgchroma.reembeddings, "
    "pgchroma.memory_indexes to {role}",
    "grant insert, update, delete on pgchroma.collections, pgchroma.reembeddings to {role}",
    # The views show what is in schemas that the role may use, which are its tenant's.
    "grant usage on schema chroma to {role}",
    "grant select on chroma._collections, chroma.collections to {role}",
    # The policies exist already. They are enabled only with roles, because they obstruct a dump.
    "alter table pgchroma.tenants enable row level security",
    "alter table pgchroma.databases enable row level security",
    "alter table pgchroma.collections enable row level security",
    "alter table pgchroma.segments enable row level security",
    "alter table pgchroma.secondary_indexes enable row level security",
    "alter table pgchroma.reembeddings enable row level security",
    "alter table pgchroma.memory_indexes enable row level security",
)
