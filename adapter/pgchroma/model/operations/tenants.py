"""Operations on tenants and their databases."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from pgchroma.model.entities import Database, DatabaseRef, Tenant
from pgchroma.model.operations.base import OnDatabase, OnInstallation, Operation, Read

__all__ = (
    "CreateDatabase",
    "CreateTenant",
    "DeleteDatabase",
    "DeleteTenant",
    "GetDatabase",
    "GetTenant",
    "ListDatabases",
    "ListTenants",
    "UpdateTenant",
)


@dataclass(frozen=True, slots=True)
class CreateTenant(OnInstallation, Operation[None]):
    """Create a tenant; its name must not be taken."""

    name: str


@dataclass(frozen=True, slots=True)
class GetTenant(Read[Tenant]):
    """Find a tenant by name."""

    name: str

    @property
    def acting_tenant(self) -> str | None:
        """The tenant itself."""
        return self.name


@dataclass(frozen=True, slots=True)
class UpdateTenant(OnInstallation, Operation[None]):
    """Set the name by which collections' resource names refer to a tenant; it can be set once."""

    name: str
    resource_name: str


@dataclass(frozen=True, slots=True)
class ListTenants(OnInstallation, Read[list[Tenant]]):
    """List all tenants, ordered by name."""


@dataclass(frozen=True, slots=True)
class DeleteTenant(OnInstallation, Operation[None]):
    """Delete a tenant that has no databases, and the credentials scoped to it."""

    name: str


@dataclass(frozen=True, slots=True)
class CreateDatabase(OnInstallation, Operation[None]):
    """Create a database; its name must not be taken within the tenant, which must exist.

    Rows of databases say where data is, so no tenant's role may write them.
    """

    scope: DatabaseRef


@dataclass(frozen=True, slots=True)
class GetDatabase(OnDatabase, Read[Database]):
    """Find a database by name."""


@dataclass(frozen=True, slots=True)
class DeleteDatabase(OnInstallation, Operation[None]):
    """Delete a database with all its collections; the login role does it, as it creates them."""

    invalidates_credentials: ClassVar[bool] = True

    scope: DatabaseRef


@dataclass(frozen=True, slots=True)
class ListDatabases(Read[list[Database]]):
    """List a tenant's databases, ordered by name."""

    tenant: str
    limit: int | None = None
    offset: int | None = None

    @property
    def acting_tenant(self) -> str | None:
        """The tenant whose databases are listed."""
        return self.tenant
