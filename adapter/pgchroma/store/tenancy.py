"""Handlers that list and delete tenants."""

from __future__ import annotations

from pgchroma.errors import InvalidArgumentError, NotFoundError
from pgchroma.model.entities import Tenant
from pgchroma.model.operations import DeleteTenant, ListTenants
from pgchroma.store.context import StoreContext
from pgchroma.store.handlers import handles
from pgchroma.store.running.steps import Statement, Steps, render

__all__ = ("delete_tenant", "list_tenants")

MAX_NAMES = 5
"""How many databases an error message names."""


@handles(ListTenants)
def list_tenants(operation: ListTenants, context: StoreContext) -> Steps[list[Tenant]]:
    """Read all tenants."""
    return [Tenant(*row) for row in (yield Statement(_LIST))]


@handles(DeleteTenant)
def delete_tenant(operation: DeleteTenant, context: StoreContext) -> Steps[None]:
    """Delete a tenant's row. Its PostgreSQL role, if it has one, stays and has no rights."""
    named = {"name": operation.name}
    databases = [name for (name,) in (yield Statement(_DATABASES, named))]
    if databases:
        shown = ", ".join(name[:63] for name in databases[:MAX_NAMES])
        raise InvalidArgumentError(
            f"Tenant [{operation.name[:63]}] has {len(databases)} databases: {shown}; delete them "
            "first"
        )
    if not (yield Statement(_DELETE, named)):
        raise NotFoundError(f"Tenant [{operation.name[:63]}] not found")
    context.forget()


_LIST = render("select name, resource_name from pgchroma.tenants order by name")

_DATABASES = render("select name from pgchroma.databases where tenant = %(name)s order by name")

_DELETE = render("delete from pgchroma.tenants where name = %(name)s returning name")
