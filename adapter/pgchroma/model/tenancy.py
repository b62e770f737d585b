"""Operations on all tenants, which only whoever administers the database carries out."""

from __future__ import annotations

from dataclasses import dataclass

from pgchroma.model.entities import Tenant
from pgchroma.model.operations import Operation, Read

__all__ = ("DeleteTenant", "ListTenants")


@dataclass(frozen=True, slots=True)
class ListTenants(Read[list[Tenant]]):
    """All tenants, by name."""


@dataclass(frozen=True, slots=True)
class DeleteTenant(Operation[None]):
    """Delete a tenant that has no databases, and what credentials are for it alone."""

    name: str
