"""Operations on credentials, and functions that prepare new ones.

None of them has a route: creating and revoking credentials requires access to the database.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from pgchroma.model.credentials import (
    EVERYTHING,
    Credential,
    CredentialKind,
    FoundCredential,
    Role,
    Scope,
    check_credential_name,
)
from pgchroma.model.hashes import Key, check_password, hash_key_secret, hash_password, new_id
from pgchroma.model.operations.base import OnInstallation, Operation, Read

__all__ = (
    "CreateCredential",
    "CreateFirstCredential",
    "FindCredential",
    "ListCredentials",
    "RevokeCredential",
    "new_key",
    "new_user",
)


@dataclass(frozen=True, slots=True)
class CreateCredential(OnInstallation, Operation[Credential]):
    """Create a key or a user; no credential that is not revoked may have its name.

    The scope is given by names, which must exist. See `new_key` and `new_user`.
    """

    id: str
    kind: CredentialKind
    name: str
    role: Role
    scope: Scope
    secret_hash: str = field(repr=False)
    expires_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class CreateFirstCredential(OnInstallation, Operation[bool]):
    """Create a key with all rights unless a live credential exists; return whether it was made."""

    id: str
    name: str
    secret_hash: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class FindCredential(OnInstallation, Read[FoundCredential | None]):
    """Find a live credential: a key by its id, a user by name."""

    kind: CredentialKind
    handle: str


@dataclass(frozen=True, slots=True)
class ListCredentials(OnInstallation, Read[list[Credential]]):
    """List the keys or the users, ordered by name and age; revoked ones only on request."""

    kind: CredentialKind
    with_revoked: bool = False


@dataclass(frozen=True, slots=True)
class RevokeCredential(OnInstallation, Operation[Credential]):
    """Revoke a credential, found by its name or its id. This cannot be undone."""

    kind: CredentialKind
    name_or_id: str


def new_key(
    name: str, role: Role, scope: Scope = EVERYTHING, expires_at: datetime | None = None
) -> tuple[Key, CreateCredential]:
    """Generate a key, and return it with the operation that creates it."""
    key = Key.generate()
    hashed = hash_key_secret(key.secret)
    check_credential_name(name)
    return key, CreateCredential(key.id, "key", name, role, scope, hashed, expires_at)


def new_user(
    name: str,
    password: str,
    role: Role,
    scope: Scope = EVERYTHING,
    expires_at: datetime | None = None,
) -> CreateCredential:
    """Return the operation that creates a user with this password; hashing it takes a moment."""
    check_credential_name(name)
    hashed = hash_password(check_password(password))
    return CreateCredential(new_id(), "user", name, role, scope, hashed, expires_at)
