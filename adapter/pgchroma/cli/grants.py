"""``pgchroma grants``: the statements that grant a PostgreSQL user its privileges."""

from __future__ import annotations

import click
import psycopg

from pgchroma.catalog.upgrade import prepare
from pgchroma.cli.database import TargetDatabase, on_database
from pgchroma.cli.errors import CommandError
from pgchroma.cli.printing import json_option, print_json
from pgchroma.store.access import Access, access_of, schemas_of_databases
from pgchroma.store.rights import Profile, grants_for
from pgchroma.store.running._sync.driver import run

__all__ = ("grants",)

_PROFILES = {profile.word: profile for profile in reversed(Profile)}


@click.command(short_help="Print the SQL that grants a user its privileges.")
@click.argument("kind", metavar="PROFILE", type=click.Choice(list(_PROFILES)))
@click.argument("user")
@click.option("--tenant", help="Only the databases of this tenant.")
@click.option("--database", help="Only this database of the tenant.")
@json_option
@on_database()
def grants(
    kind: str,
    user: str,
    tenant: str | None,
    database: str | None,
    as_json: bool,
    target: TargetDatabase,
) -> None:
    """Print the SQL that grants a profile's privileges to USER, a PostgreSQL role.

    A reader reads through the API, an analyst in SQL, a writer also writes records
    and creates collections, an owner may do everything. Review the statements, and run them as
    the owner of the tables or as a superuser. They include later collections of the same
    databases. Run the command again after a database is created.
    """
    if database is not None and tenant is None:
        raise click.UsageError("--database needs --tenant")
    with target.connection() as connection:
        prepare(connection, "validate")
        schemas = run(connection, schemas_of_databases(tenant, database))
        if not schemas:
            raise CommandError(_nothing(tenant, database), 2)
        access = _access(connection, schemas, user)
        statements = grants_for(access, _PROFILES[kind])
    if as_json:
        print_json({"database": access.database, "statements": statements})
        return
    click.echo(f"-- In database {access.database}:")
    for statement in statements:
        click.echo(f"{statement};")


def _nothing(tenant: str | None, database: str | None) -> str:
    if database is not None:
        return f"--database: Database [{database}] not found in tenant [{tenant}]"
    if tenant is not None:
        return f"--tenant: there are no databases of tenant [{tenant}]"
    return "there are no databases yet"


def _access(connection: psycopg.Connection[object], schemas: list[str], user: str) -> Access:
    try:
        access: Access = run(connection, access_of(schemas, user))
    except psycopg.errors.UndefinedObject as error:
        raise CommandError(
            f"there is no role {user[:63]!r} in PostgreSQL; create it first (create role … login)",
            2,
        ) from error
    return access
