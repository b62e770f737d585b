"""``pgchroma db`` and ``pgchroma tenants``: Chroma's databases, and the tenants they belong to."""

from __future__ import annotations

import sys
from collections.abc import Callable

import click

from pgchroma.cli.database import TargetDatabase, on_database
from pgchroma.cli.errors import exit_on_error
from pgchroma.cli.printing import print_json, printable
from pgchroma.model.entities import DatabaseRef
from pgchroma.model.names import DEFAULT_TENANT, check_looked_up, check_name, check_tenant_name
from pgchroma.model.operations import (
    CreateDatabase,
    CreateTenant,
    DeleteDatabase,
    DeleteTenant,
    GetTenant,
    ListDatabases,
    ListTenants,
)

__all__ = ("db", "tenants")

_of_tenant = click.option(
    "--tenant", default=DEFAULT_TENANT, show_default=True, help="The database's tenant."
)
_as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
_is_sure = click.option("--yes", "is_sure", is_flag=True, help="Do not ask for confirmation.")


@click.group()
def db() -> None:
    """Create, list and delete Chroma's databases, each of which is a schema in PostgreSQL."""


@click.group()
def tenants() -> None:
    """Create, list and delete tenants."""


@db.command("create")
@click.argument("name")
@_of_tenant
@on_database()
def create_database(name: str, tenant: str, target: TargetDatabase) -> None:
    """Create a database called NAME."""
    with exit_on_error():
        scope = DatabaseRef(check_looked_up(tenant), check_name(name))
    with target.backend() as backend:
        backend.execute(CreateDatabase(scope))
    click.echo(f"created database {name} of tenant {printable(tenant)}")


@db.command("list")
@_of_tenant
@_as_json
@on_database()
def list_databases(tenant: str, as_json: bool, target: TargetDatabase) -> None:
    """List the databases of a tenant by name."""
    with exit_on_error():
        check_looked_up(tenant)
    with target.backend() as backend:
        backend.execute(GetTenant(tenant))
        found = backend.execute(ListDatabases(tenant))
    if as_json:
        print_json([{"id": str(d.id), "name": d.name, "tenant": d.tenant} for d in found])
        return
    for database in found:
        click.echo(printable(database.name))


@db.command("delete")
@click.argument("name")
@_of_tenant
@_is_sure
@on_database()
def delete_database(name: str, tenant: str, is_sure: bool, target: TargetDatabase) -> None:
    """Delete the database NAME with all its collections. This cannot be undone."""
    with exit_on_error():
        scope = DatabaseRef(check_looked_up(tenant), check_looked_up(name))
    _confirm(is_sure, lambda: f"Delete database {printable(name)} and all its collections?")
    with target.backend() as backend:
        backend.execute(DeleteDatabase(scope))
    click.echo(f"deleted database {printable(name)} of tenant {printable(tenant)}")


@tenants.command("create")
@click.argument("name")
@on_database()
def create_tenant(name: str, target: TargetDatabase) -> None:
    """Create a tenant called NAME, without databases."""
    with exit_on_error():
        operation = CreateTenant(check_tenant_name(name))
    with target.backend() as backend:
        backend.execute(operation)
    click.echo(f"created tenant {printable(name)}")


@tenants.command("list")
@_as_json
@on_database()
def list_tenants(as_json: bool, target: TargetDatabase) -> None:
    """List all tenants by name."""
    with target.database_backend() as backend:
        found = backend.execute(ListTenants())
    if as_json:
        print_json([{"name": t.name, "resource_name": t.resource_name} for t in found])
        return
    for tenant in found:
        click.echo(printable(tenant.name))


@tenants.command("delete")
@click.argument("name")
@_is_sure
@on_database()
def delete_tenant(name: str, is_sure: bool, target: TargetDatabase) -> None:
    """Delete the tenant NAME, which must have no databases, and the keys scoped to it."""
    with exit_on_error():
        operation = DeleteTenant(check_looked_up(name))
    _confirm(is_sure, lambda: f"Delete tenant {printable(name)} and the keys scoped to it?")
    with target.database_backend() as backend:
        backend.execute(operation)
    click.echo(f"deleted tenant {printable(name)}")


def _confirm(is_sure: bool, question: Callable[[], str]) -> None:
    # A script is not asked, because it could not answer.
    if not is_sure and sys.stdin.isatty():
        click.confirm(question(), abort=True, err=True)
