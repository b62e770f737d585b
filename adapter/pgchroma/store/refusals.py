"""What to grant when PostgreSQL refuses an operation: the statements, with the real names."""

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
from pgchroma.store.layout.tables import schema_name, view_name
from pgchroma.store.rights import Profile, missing_grants, missing_grants_to_upgrade
from pgchroma.store.running.errors import primary_message
from pgchroma.store.running.steps import Steps

__all__ = ("missing_right", "missing_right_to_upgrade", "refusal_behind")

MAX_STATEMENTS: Final = 50
"""A message names no more; `pgchroma grants` prints all."""


@dataclass(frozen=True, slots=True)
class _Need:
    """What an operation takes.

    Attributes:
        owned: A part of the names of tables that have to be the user's own.
        administers: Whether it changes tenants, databases or credentials.
    """

    profile: Profile
    owned: str | None = None
    administers: bool = False


def refusal_behind(error: BaseException) -> pg.InsufficientPrivilege | None:
    """Return PostgreSQL's refusal that caused an error; None if something else did."""
    cause = error.__cause__
    return cause if isinstance(cause, pg.InsufficientPrivilege) else None


def missing_right(operation: Operation[Any] | None, refusal: Exception) -> Steps[MissingRightError]:
    """Find out which rights the user lacks for an operation; None: to open the database."""
    scope = _scope(operation)
    schemas = [] if scope is None else [schema_name(scope.tenant, scope.database)]
    access = yield from access_of(schemas)
    need = _need(operation, access)
    wanted = missing_grants(access, need.profile, owned=need.owned, administers=need.administers)
    return MissingRightError(_text(primary_message(refusal), access, need.profile, wanted))


def missing_right_to_upgrade(refusal: Exception) -> Steps[MissingRightError]:
    """Find out which rights the user lacks for making or upgrading the catalog."""
    access = yield from access_of((yield from schemas_with_collections()))
    wanted = missing_grants_to_upgrade(access)
    return MissingRightError(_text(primary_message(refusal), access, Profile.OWNER, wanted))


def _scope(operation: Operation[Any] | None) -> DatabaseRef | None:
    if isinstance(operation, ExplainQuery):
        return _scope(operation.query)
    place = getattr(getattr(operation, "collection", operation), "scope", None)
    return place if isinstance(place, DatabaseRef) else None


def _need(operation: Operation[Any] | None, access: Access) -> _Need:
    collection = getattr(getattr(operation, "collection", None), "id", None)
    id = "" if collection is None else collection.hex
    if isinstance(operation, DeleteCollection):
        id = _id_behind(access, view_name(operation.name))
    match operation:
        case AddRecords() | UpsertRecords() | UpdateRecords():
            # The first embedding makes the table of embeddings, and the view anew.
            return _Need(Profile.WRITER, None if _has_vectors(access, id) else id)
        case DeleteRecords() | CreateCollection() | StoreReembedded():
            return _Need(Profile.WRITER)
        case (
            DeleteCollection()
            | ModifyCollection()
            | StartReembedding()
            | SwitchEmbeddings()
            | DropReembedding()
        ):
            return _Need(Profile.OWNER, id)
        case DeleteDatabase() | Reset():
            return _Need(Profile.OWNER, "", administers=True)
        case (
            CreateTenant() | UpdateTenant() | DeleteTenant() | CreateDatabase() | FindCredential()
            | CreateCredential() | CreateFirstCredential() | ListCredentials() | RevokeCredential()
        ):  # fmt: skip
            return _Need(Profile.OWNER, administers=True)
        case _:
            return _Need(Profile.READER)


def _id_behind(access: Access, view: str) -> str:
    found = [each.base for each in access.relations if each.kind == "v" and each.name == view]
    return found[0].removeprefix("records_") if found else ""


def _has_vectors(access: Access, id: str) -> bool:
    return any(each.name.startswith(f"vectors_{id}") for each in access.relations)


def _text(refusal: str, access: Access, profile: Profile, wanted: list[str]) -> str:
    command = f"`pgchroma grants {profile.word} {access.user}`"
    lack = f"{refusal}. The database user {access.user} lacks a right"
    if not wanted:
        return f"{lack}; {command} prints what such a user needs"
    others = [owner for owner in access.owners() if owner != access.user]
    owners = " or ".join([*others, "a superuser"])
    if len(wanted) > MAX_STATEMENTS:
        return f"{lack}: it takes {len(wanted)} statements. {command} prints them, for {owners}"
    return (
        f"{lack}; {command} prints all that such a user needs. As {owners}, in database "
        f"{access.database}, run: {'; '.join(wanted)}"
    )
