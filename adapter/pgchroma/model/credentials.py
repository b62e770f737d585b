"""What credentials allow: roles, scopes, and the checks of a request against them."""

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
    "FoundCredential",
    "Kind",
    "Role",
    "Scope",
    "Target",
    "check_credential_name",
)

Role: TypeAlias = Literal["read", "write", "admin"]
Kind: TypeAlias = Literal["key", "user"]

ROLES: Final[tuple[Role, ...]] = ("read", "write", "admin")
"""Each may do what those before it may."""

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+-]{0,127}", re.ASCII)
_ID: Final = re.compile(r"[0-9a-f]{16}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Target:
    """What a request is about; without a tenant, the whole installation.

    Attributes:
        is_lookup: Whether the request asks no more than whether this very tenant or database is
            there, as every client does before all else.
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
        place = f"database {self.database} of tenant {self.tenant}"
        collection = self.collection_name or self.collection_id
        return place if collection is None else f"collection {collection} in {place}"


@dataclass(frozen=True, slots=True)
class Scope:
    """Where a caller may do anything at all; without a tenant, everywhere.

    Attributes:
        collection: The collection's name, for requests that name it; it can change.
        collection_id: Its id, for requests that know it.
    """

    tenant: str | None = None
    database: str | None = None
    collection: str | None = None
    collection_id: UUID | None = None

    def __post_init__(self) -> None:
        # A narrow scope that lost its outer part would be a wide one.
        if self.database is not None and self.tenant is None:
            raise InvalidArgumentError("the scope has a database, but not its tenant")
        if self._has_collection and self.database is None:
            raise InvalidArgumentError("the scope has a collection, but not its database")

    def covers(self, target: Target) -> bool:
        """Whether `target` lies within."""
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
        """Whether `target` is the scope's very tenant or database."""
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
    """Somebody who was let in.

    Attributes:
        name: The credential's; empty where everybody is let in.
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
    kind: Kind
    name: str
    role: Role
    scope: Scope
    created_at: datetime
    expires_at: datetime | None = None
    revoked_at: datetime | None = None
    is_live: bool = True

    @property
    def caller(self) -> Caller:
        """Who shows it."""
        return Caller(self.name, self.role, self.scope)


@dataclass(frozen=True, slots=True)
class FoundCredential:
    """A live credential and what is needed to verify it.

    Attributes:
        seconds_left: How long until it expires; None for ever.
    """

    credential: Credential
    secret_hash: str = field(repr=False)
    seconds_left: float | None = None


def check_credential_name(name: str) -> str:
    """Return `name` if a key or a user may be called so.

    Raises:
        InvalidArgumentError: It may not.
    """
    if not _NAME.fullmatch(name):
        raise InvalidArgumentError(
            "expected a name of 1-128 characters from [a-zA-Z0-9._@+-], starting with a letter "
            f"or a digit, got {name!r}"
        )
    if _ID.fullmatch(name):
        raise InvalidArgumentError(f"the name {name} has the form of an id")
    return name
