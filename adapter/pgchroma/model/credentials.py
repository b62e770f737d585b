"""Authorization: roles, scopes, and checking requests against them."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, Literal, TypeAlias
from uuid import UUID

from pgchroma.errors import AuthorizationError, InvalidArgumentError

__all__ = (
    "EVERYTHING",
    "ROLES",
    "Caller",
    "Credential",
    "CredentialKind",
    "FoundCredential",
    "Role",
    "Scope",
    "Target",
    "check_credential_name",
)

Role: TypeAlias = Literal["read", "write", "admin"]
CredentialKind: TypeAlias = Literal["key", "user"]

ROLES: Final[tuple[Role, ...]] = ("read", "write", "admin")
"""Each role includes the ones before it."""

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+-]{0,127}", re.ASCII)
_ID: Final = re.compile(r"[0-9a-f]{16}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Target:
    """The object of a request; without a tenant, the whole installation.

    Attributes:
        is_lookup: Whether the request only checks that this tenant or database exists, as every
            client does first.
    """

    tenant: str | None = None
    database: str | None = None
    collection_id: UUID | None = None
    collection_name: str | None = None
    is_lookup: bool = False

    def __str__(self) -> str:
        if self.tenant is None:
            return "the whole installation"
        if self.database is None:
            return f"tenant {self.tenant}"
        database = f"database {self.database} of tenant {self.tenant}"
        collection = self.collection_name or self.collection_id
        return database if collection is None else f"collection {collection} in {database}"


@dataclass(frozen=True, slots=True)
class Scope:
    """The part of the installation that a credential is restricted to; without a tenant, all of it.

    Attributes:
        collection: The collection's name, for requests that use the name; it can change.
        collection_id: The collection's id, for requests that use the id.
    """

    tenant: str | None = None
    database: str | None = None
    collection: str | None = None
    collection_id: UUID | None = None

    def __post_init__(self) -> None:
        # Without its outer part, a narrow scope would become a wide one.
        if self.database is not None and self.tenant is None:
            raise InvalidArgumentError("the scope has a database but no tenant")
        if self._has_collection and self.database is None:
            raise InvalidArgumentError("the scope has a collection but no database")

    def covers(self, target: Target) -> bool:
        """Whether the scope contains `target`."""
        if self.tenant is None:
            return True
        if target.tenant != self.tenant:
            return False
        if self.database is None:
            return True
        if target.database != self.database:
            return False
        return not self._has_collection or self._is_collection(target)

    def is_ancestor(self, target: Target) -> bool:
        """Whether `target` is a tenant or database that contains the scope."""
        if target.collection_id is not None or target.collection_name is not None:
            return False
        own_path = ((self.tenant, None), (self.tenant, self.database))
        return target.tenant is not None and (target.tenant, target.database) in own_path

    @property
    def _has_collection(self) -> bool:
        return self.collection is not None or self.collection_id is not None

    def _is_collection(self, target: Target) -> bool:
        if target.collection_id is None and target.collection_name is None:
            return False
        by_id = target.collection_id in (None, self.collection_id)
        by_name = target.collection_name in (None, self.collection)
        return by_id and by_name


EVERYTHING: Final = Scope()


@dataclass(frozen=True, slots=True)
class Caller:
    """An authenticated caller.

    Attributes:
        name: The credential's name; empty without authentication.
    """

    name: str
    role: Role
    scope: Scope = EVERYTHING

    def require(self, role: Role, target: Target) -> None:
        """Return if the caller may act in `role` on `target`.

        The caller may also look up the tenant and database that contain its scope.

        Raises:
            AuthorizationError: Permission denied. The message repeats the request; it is the same
                whether or not the target exists.
        """
        has_sight = role == "read" and target.is_lookup and self.scope.is_ancestor(target)
        if not (self._holds(role) and (has_sight or self.scope.covers(target))):
            raise AuthorizationError(f"permission denied: requires the role {role} on {target}")

    def _holds(self, role: Role) -> bool:
        return self.role in ROLES[ROLES.index(role) :]


@dataclass(frozen=True, slots=True)
class Credential:
    """A key or a user, without its secret.

    Attributes:
        id: A key's public part; a user's number.
        is_live: Whether it is neither revoked nor expired, by the database's clock.
    """

    id: str
    kind: CredentialKind
    name: str
    role: Role
    scope: Scope
    created_at: datetime
    expires_at: datetime | None = None
    revoked_at: datetime | None = None
    is_live: bool = True

    @property
    def caller(self) -> Caller:
        """The caller that this credential authenticates."""
        return Caller(self.name, self.role, self.scope)


@dataclass(frozen=True, slots=True)
class FoundCredential:
    """A live credential and the hash that verifies its secret.

    Attributes:
        seconds_left: Seconds until it expires; `None` if it never does.
    """

    credential: Credential
    secret_hash: str = field(repr=False)
    seconds_left: float | None = None


def check_credential_name(name: str) -> str:
    """Return `name` if it is a valid name of a key or a user.

    Raises:
        InvalidArgumentError: It is not.
    """
    if not _NAME.fullmatch(name):
        raise InvalidArgumentError(
            "expected a name of 1-128 characters from [a-zA-Z0-9._@+-], starting with a letter "
            f"or a digit, got {name!r}"
        )
    if _ID.fullmatch(name):
        raise InvalidArgumentError(f"the name {name} has the form of an id")
    return name
