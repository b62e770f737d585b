"""Tenants and databases: the methods that all clients share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pgchroma.client.arguments.checks import check_page
from pgchroma.model.entities import Database, DatabaseRef, Tenant
from pgchroma.model.names import (
    DEFAULT_TENANT,
    check_database_looked_up,
    check_looked_up,
    check_name,
    check_tenant_name,
)
from pgchroma.model.operations import (
    CreateDatabase,
    CreateTenant,
    DeleteDatabase,
    GetDatabase,
    GetTenant,
    ListDatabases,
)

if TYPE_CHECKING:
    from pgchroma.backends._async.base import AsyncBackend

__all__ = ("AsyncAdministration",)


class AsyncAdministration:
    """Tenants and databases.

    Without a tenant, methods use the client's tenant, or the default tenant.

    Attributes:
        tenant: The tenant in use.
    """

    tenant: str = DEFAULT_TENANT
    _backend: AsyncBackend

    async def create_tenant(self, name: str) -> None:
        """Create a tenant without databases.

        Raises:
            UniqueConstraintError: The name is taken.
            InvalidArgumentError: The name is shorter than 3 characters.
        """
        await self._backend.execute(CreateTenant(check_tenant_name(name)))

    async def get_tenant(self, name: str) -> Tenant:
        """Return a tenant.

        Raises:
            NotFoundError: It does not exist.
        """
        return await self._backend.execute(GetTenant(check_looked_up(name)))

    async def create_database(self, name: str, tenant: str | None = None) -> None:
        """Create a database, which is a schema in PostgreSQL.

        Raises:
            UniqueConstraintError: The name is taken.
            NotFoundError: The tenant does not exist.
            InvalidArgumentError: The name is not allowed.
        """
        await self._backend.execute(CreateDatabase(self._ref(check_name(name), tenant)))

    async def get_database(self, name: str, tenant: str | None = None) -> Database:
        """Return a database.

        Raises:
            NotFoundError: It does not exist.
        """
        return await self._backend.execute(GetDatabase(self._ref(name, tenant)))

    async def delete_database(self, name: str, tenant: str | None = None) -> None:
        """Delete a database with all its collections.

        Raises:
            NotFoundError: It does not exist.
        """
        await self._backend.execute(DeleteDatabase(self._ref(name, tenant)))

    async def list_databases(
        self,
        limit: int | None = None,
        offset: int | None = None,
        tenant: str | None = None,
    ) -> Sequence[Database]:
        """List a tenant's databases by name."""
        limit, offset = check_page(limit, offset)
        operation = ListDatabases(check_looked_up(self._home(tenant)), limit, offset)
        return await self._backend.execute(operation)

    def _ref(self, database: str, tenant: str | None) -> DatabaseRef:
        return DatabaseRef(check_looked_up(self._home(tenant)), check_database_looked_up(database))

    def _home(self, tenant: str | None) -> str:
        return self.tenant if tenant is None else tenant
