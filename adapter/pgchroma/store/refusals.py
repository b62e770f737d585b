"""The grants that a user lacks when PostgreSQL denies permission, as statements to run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from psycopg import errors as pg

from pgchroma.errors import MissingRightError
from pgchroma.model.entities import DatabaseRef
from pgchroma.model.operations import (
    AddRecords,
    CreateCollection,
    CreateDatabase,
    CreateTenant,
    DeleteCollection,
    DeleteDatabase,
    DeleteRecords,
    DeleteTenant,
    DropReembedding,
    ExplainQuery,
    ModifyCollection,
    Operation,
    ReplaceCollection,
    Reset,
    StartReembedding,
    StoreReembedded,
    SwitchEmbeddings,
    UpdateRecords,
    UpdateTenant,
    UpsertRecords,
)
from pgchroma.model.operations.credentials import (
    CreateCredential,
    CreateFirstCredential,
    FindCredential,
    ListCredentials,
    RevokeCredential,
)
from pgchroma.store.access import Access, access_of, schemas_with_collections
from pgchroma.store.layout.names import schema_name, view_name
from pgchroma.store.rights import Profile, missing_grants, missing_grants_to_upgrade
from pgchroma.store.running.errors import primary_message
from pgchroma.store.running.steps import Steps

__all__ = ("missing_right", "missing_right_to_upgrade", "refusal_behind")

MAX_STATEMENTS: Final = 50
"""Above this, a message lists no statements. `pgchroma grants` prints all of them."""


@dataclass(frozen=True, slots=True)
class _RequiredRights:
    """The rights that an operation requires.

    Attributes:
        owned: A part of the names of the tables that the user has to own.
        administers: Whether the operation changes tenants, databases or credentials.
    """

    profile: Profile
    owned: str | None = None
    administers: bool = False


def refusal_behind(error: BaseException) -> pg.InsufficientPrivilege | None:
    """Return the `InsufficientPrivilege` that caused an error. None if it has another cause."""
    cause = error.__cause__
    return cause if isinstance(cause, pg.InsufficientPrivilege) else None


def missing_right(operation: Operation[Any] | None, refusal: Exception) -> Steps[MissingRightError]:
    """Return an error with the rights that the user lacks for an operation.

    Args:
        operation: The operation. None means opening the database.
        refusal: PostgreSQL's error.
    """
    scope = _scope(operation)
    schemas = [] if scope is None else [schema_name(scope.tenant, scope.database)]
    access = yield from access_of(schemas)
    required = _required_rights(operation, access)
    grants = missing_grants(
        access, required.profile, owned=required.owned, administers=required.administers
    )
    return MissingRightError(_message(primary_message(refusal), access, required.profile, grants))


def missing_right_to_upgrade(refusal: Exception) -> Steps[MissingRightError]:
    """Return an error with the rights that the user lacks to create or upgrade the catalog."""
    access = yield from access_of((yield from schemas_with_collections()))
    grants = missing_grants_to_upgrade(access)
    return MissingRightError(_message(primary_message(refusal), access, Profile.OWNER, grants))


def _scope(operation: Operation[Any] | None) -> DatabaseRef | None:
    if isinstance(operation, ExplainQuery):
        return _scope(operation.query)
    scope = getattr(getattr(operation, "collection", operation), "scope", None)
    return scope if isinstance(scope, DatabaseRef) else None


def _required_rights(operation: Operation[Any] | None, access: Access) -> _RequiredRights:
    collection = getattr(getattr(operation, "collection", None), "id", None)
    id = "" if collection is None else collection.hex
    if isinstance(operation, DeleteCollection):
        id = _id_behind(access, view_name(operation.name))
    match operation:
        case AddRecords() | UpsertRecords() | UpdateRecords():
            # The first embedding creates the table of embeddings and recreates the view.
            return _RequiredRights(Profile.WRITER, None if _has_vectors(access, id) else id)
        case DeleteRecords() | CreateCollection() | StoreReembedded():
            return _RequiredRights(Profile.WRITER)
        case (
            DeleteCollection()
            | ModifyCollection()
            | ReplaceCollection()
            | StartReembedding()
            | SwitchEmbeddings()
            | DropReembedding()
        ):
            return _RequiredRights(Profile.OWNER, id)
        case DeleteDatabase() | Reset():
            return _RequiredRights(Profile.OWNER, "", administers=True)
        case (
            CreateTenant() | UpdateTenant() | DeleteTenant() | CreateDatabase() | FindCredential()
            | CreateCredential() | CreateFirstCredential() | ListCredentials() | RevokeCredential()
        ):  # fmt: skip
            return _RequiredRights(Profile.OWNER, administers=True)
        case _:
            return _RequiredRights(Profile.READER)


def _id_behind(access: Access, view: str) -> str:
    tables = [
        relation.base
        for relation in access.relations
        if relation.kind == "v" and relation.name == view
    ]
    return tables[0].removeprefix("records_") if tables else ""


def _has_vectors(access: Access, id: str) -> bool:
    return any(relation.name.startswith(f"vectors_{id}") for relation in access.relations)


def _message(refusal: str, access: Access, profile: Profile, grants: list[str]) -> str:
    command = f"`pgchroma grants {profile.word} {access.user}`"
    lack = f"{refusal}. The database user {access.user} lacks a right"
    if not grants:
        return f"{lack}; {command} prints what such a user needs"
    others = [owner for owner in access.owners() if owner != access.user]
    owners = " or ".join([*others, "a superuser"])
    if len(grants) > MAX_STATEMENTS:
        return (
            f"{lack}: {len(grants)} statements are required. {command} prints them, for {owners} "
            "to run"
        )
    return (
        f"{lack}; {command} prints all that such a user needs. As {owners}, in database "
        f"{access.database}, run: {'; '.join(grants)}"
    )
