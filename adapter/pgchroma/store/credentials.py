"""Handlers for credentials.

A credential refers to its tenant, database and collection; reading it returns their current names.
"""

from __future__ import annotations

from typing import Any, LiteralString
from uuid import UUID

from pgchroma.errors import NotFoundError, UniqueConstraintError
from pgchroma.model.credentials import Credential, FoundCredential, Scope
from pgchroma.model.operations.credentials import (
    CreateCredential,
    CreateFirstCredential,
    FindCredential,
    ListCredentials,
    RevokeCredential,
)
from pgchroma.store.context import StoreContext
from pgchroma.store.handlers import handles
from pgchroma.store.running.steps import (
    ComposedSQL,
    Statement,
    Steps,
    Transaction,
    composed,
    render,
)

__all__ = (
    "create_credential",
    "create_first_credential",
    "find_credential",
    "list_credentials",
    "revoke_credential",
)


@handles(CreateCredential)
def create_credential(operation: CreateCredential, context: StoreContext) -> Steps[Credential]:
    """Look up the tenant, database and collection of the scope, and insert the credential."""
    return (yield Transaction(_create(operation)))  # type: ignore[no-any-return]


@handles(CreateFirstCredential)
def create_first_credential(operation: CreateFirstCredential, context: StoreContext) -> Steps[bool]:
    """Insert the credential if no other one is live.

    Of several concurrent calls only one succeeds, because they all use the same name.
    """
    parameters = {
        "id": operation.id,
        "name": operation.name,
        "secret_hash": operation.secret_hash,
    }
    rows = yield (Statement(_RETIRE, parameters), Statement(_INSERT_FIRST, parameters))
    return bool(rows)


@handles(FindCredential)
def find_credential(
    operation: FindCredential, context: StoreContext
) -> Steps[FoundCredential | None]:
    """Read a live credential with the current names of its scope."""
    text = _FIND_KEY if operation.kind == "key" else _FIND_USER
    rows = yield Statement(text, {"handle": operation.handle})
    if not rows:
        return None
    *columns, secret_hash, seconds_left = rows[0]
    return FoundCredential(_credential_from_row(columns), secret_hash, seconds_left)


@handles(ListCredentials)
def list_credentials(operation: ListCredentials, context: StoreContext) -> Steps[list[Credential]]:
    """Read all keys, or all users."""
    parameters = {"kind": operation.kind, "with_revoked": operation.with_revoked}
    rows = yield Statement(_LIST, parameters)
    return [_credential_from_row(row) for row in rows]


@handles(RevokeCredential)
def revoke_credential(operation: RevokeCredential, context: StoreContext) -> Steps[Credential]:
    """Store when the credential was revoked. Its row stays until its scope is deleted."""
    parameters = {"kind": operation.kind, "handle": operation.name_or_id}
    rows = yield Statement(_REVOKE, parameters)
    if not rows:
        raise NotFoundError(
            f"there is no {operation.kind} with the name or id {operation.name_or_id} to revoke"
        )
    rows = yield Statement(_SELECT_ONE, {"id": rows[0][0]})
    return _credential_from_row(rows[0])


def _create(operation: CreateCredential) -> Steps[Credential]:
    database_id, collection_id = yield from _lock_scope(operation.scope)
    parameters = {
        "id": operation.id,
        "kind": operation.kind,
        "name": operation.name,
        "role": operation.role,
        "tenant": operation.scope.tenant,
        "database_id": database_id,
        "collection_id": collection_id,
        "secret_hash": operation.secret_hash,
        "expires_at": operation.expires_at,
    }
    rows = yield (Statement(_RETIRE, parameters), Statement(_INSERT, parameters))
    if not rows:
        raise UniqueConstraintError(
            f"the name {operation.name} is taken by another key or user; revoke it first"
        )
    rows = yield Statement(_SELECT_ONE, {"id": operation.id})
    return _credential_from_row(rows[0])


def _lock_scope(scope: Scope) -> Steps[tuple[UUID | None, UUID | None]]:
    """Find and lock the objects that a scope names, so that they are not deleted concurrently."""
    if scope.tenant is None:
        return None, None
    if not (yield Statement(_LOCK_TENANT, {"tenant": scope.tenant})):
        raise NotFoundError(f"Tenant [{scope.tenant}] not found")
    if scope.database is None:
        return None, None
    names = {"tenant": scope.tenant, "database": scope.database}
    rows = yield Statement(_LOCK_DATABASE, names)
    if not rows:
        raise NotFoundError(f"Database [{scope.database}] not found in tenant [{scope.tenant}]")
    database_id: UUID = rows[0][0]
    if scope.collection is None:
        return database_id, None
    rows = yield Statement(
        _LOCK_COLLECTION, {"database_id": database_id, "collection": scope.collection}
    )
    if not rows:
        raise NotFoundError(
            f"Collection [{scope.collection}] not found in database [{scope.database}]"
        )
    return database_id, rows[0][0]


def _credential_from_row(row: Any) -> Credential:
    id, kind, name, role, tenant, database, collection, collection_id, *rest = row
    scope = Scope(tenant, database, collection, collection_id)
    return Credential(id, kind, name, role, scope, *rest)


_LOCK_TENANT = render("select name from pgchroma.tenants where name = %(tenant)s for key share")
_LOCK_DATABASE = render(
    """
    select id from pgchroma.databases where tenant = %(tenant)s and name = %(database)s
    for key share
    """
)
_LOCK_COLLECTION = render(
    """
    select id from pgchroma.collections
    where database_id = %(database_id)s and name = %(collection)s
    for key share
    """
)

# An expired credential does not reserve its name.
_RETIRE = render(
    """
    update pgchroma.credentials set revoked_at = now()
    where name = %(name)s and revoked_at is null and expires_at <= now()
    """
)
_INSERT = render(
    """
    insert into pgchroma.credentials
        (id, kind, name, role, tenant, database_id, collection_id, secret_hash, expires_at)
    values (
        %(id)s, %(kind)s, %(name)s, %(role)s, %(tenant)s, %(database_id)s, %(collection_id)s,
        %(secret_hash)s, %(expires_at)s
    )
    on conflict (name) where revoked_at is null do nothing
    returning id
    """
)
_INSERT_FIRST = render(
    """
    insert into pgchroma.credentials (id, kind, name, role, secret_hash)
    select %(id)s, 'key', %(name)s, 'admin', %(secret_hash)s
    where not exists (
        select from pgchroma.credentials
        where revoked_at is null and (expires_at is null or expires_at > now())
    )
    on conflict (name) where revoked_at is null do nothing
    returning id
    """
)
_REVOKE = render(
    """
    update pgchroma.credentials set revoked_at = now()
    where kind = %(kind)s and (name = %(handle)s or id = %(handle)s) and revoked_at is null
    returning id
    """
)

_CREDENTIAL_COLUMNS = ComposedSQL(
    b"""
    k.id, k.kind, k.name, k.role, k.tenant, d.name, c.name, c.id,
    k.created_at, k.expires_at, k.revoked_at,
    k.revoked_at is null and (k.expires_at is null or k.expires_at > now())
    """
)
_CREDENTIAL_TABLES = ComposedSQL(
    b"""
    pgchroma.credentials as k
    left join pgchroma.databases as d on d.id = k.database_id
    left join pgchroma.collections as c on c.id = k.collection_id
    """
)
_SELECT_ONE = render(
    "select {columns} from {tables} where k.id = %(id)s",
    columns=_CREDENTIAL_COLUMNS,
    tables=_CREDENTIAL_TABLES,
)
_LIST = render(
    """
    select {columns} from {tables}
    where k.kind = %(kind)s and (%(with_revoked)s or k.revoked_at is null)
    order by k.name, k.created_at, k.id
    """,
    columns=_CREDENTIAL_COLUMNS,
    tables=_CREDENTIAL_TABLES,
)


def _render_find(condition: LiteralString) -> bytes:
    return render(
        """
        select {columns}, k.secret_hash,
            extract(epoch from k.expires_at - clock_timestamp())::float8
        from {tables}
        where {condition} and k.revoked_at is null
            and (k.expires_at is null or k.expires_at > now())
        """,
        columns=_CREDENTIAL_COLUMNS,
        tables=_CREDENTIAL_TABLES,
        condition=composed(condition),
    )


_FIND_KEY = _render_find("k.kind = 'key' and k.id = %(handle)s")
_FIND_USER = _render_find("k.kind = 'user' and k.name = %(handle)s")
