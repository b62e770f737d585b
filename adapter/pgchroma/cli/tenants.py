"""``pgchroma db`` and ``pgchroma tenants``: Chroma's databases, and the tenants they belong to."""

from __future__ import annotations

import click

from pgchroma.cli.collection_options import tenant_option
from pgchroma.cli.confirmation import confirm, yes_option
from pgchroma.cli.database import TargetDatabase, on_database
from pgchroma.cli.errors import exit_on_error
from pgchroma.cli.groups import Subcommands
from pgchroma.cli.printing import json_option, print_json, printable
from pgchroma.model.entities import DatabaseRef
from pgchroma.model.names import check_looked_up, check_name, check_tenant_name
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


@click.group(cls=Subcommands, short_help="Create, list, delete and connect to Chroma's databases.")
def db() -> None:
    """Create, list, delete and connect to Chroma's databases, each a schema in PostgreSQL."""


@click.group(cls=Subcommands)
def tenants() -> None:
    """Create, list and delete tenants."""


@db.command("create")
@click.argument("name")
@tenant_option
@json_option
@on_database()
def create_database(name: str, tenant: str, as_json: bool, target: TargetDatabase) -> None:
    """Create a database called NAME."""
    with exit_on_error():
        scope = DatabaseRef(check_looked_up(tenant), check_name(name))
    with target.backend() as backend:
        backend.execute(CreateDatabase(scope))
    _report("created", as_json, database=name, tenant=tenant)


@db.command("list")
@tenant_option
@json_option
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
@tenant_option
@yes_option()
@json_option
@on_database()
def delete_database(
    name: str, tenant: str, is_sure: bool, as_json: bool, target: TargetDatabase
) -> None:
    """Delete the database NAME with all its collections. This cannot be undone."""
    with exit_on_error():
        scope = DatabaseRef(check_looked_up(tenant), check_looked_up(name))
    confirm(is_sure, f"Delete database {printable(name)} and all its collections?")
    with target.backend() as backend:
        backend.execute(DeleteDatabase(scope))
    _report("deleted", as_json, database=name, tenant=tenant)


@tenants.command("create")
@click.argument("name")
@json_option
@on_database()
def create_tenant(name: str, as_json: bool, target: TargetDatabase) -> None:
    """Create a tenant called NAME, without databases."""
    with exit_on_error():
        operation = CreateTenant(check_tenant_name(name))
    with target.backend() as backend:
        backend.execute(operation)
    _report("created", as_json, tenant=name)


@tenants.command("list")
@json_option
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
@yes_option()
@json_option
@on_database()
def delete_tenant(name: str, is_sure: bool, as_json: bool, target: TargetDatabase) -> None:
    """Delete the tenant NAME, which must have no databases, and the keys scoped to it."""
    with exit_on_error():
        operation = DeleteTenant(check_looked_up(name))
    confirm(is_sure, f"Delete tenant {printable(name)} and the keys scoped to it?")
    with target.database_backend() as backend:
        backend.execute(operation)
    _report("deleted", as_json, tenant=name)


def _report(done: str, as_json: bool, **names: str) -> None:
    if as_json:
        print_json(names)
    else:
        parts = (f"{kind} {printable(name)}" for kind, name in names.items())
        click.echo(f"{done} {' of '.join(parts)}")
