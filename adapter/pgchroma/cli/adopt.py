"""``pgchroma adopt``: adds restored schemas and collections to the catalog."""

from __future__ import annotations

from typing import Any

import click

from pgchroma.catalog.adoption import AdoptionRequest
from pgchroma.catalog.upgrade import adopt as adopt_restored
from pgchroma.catalog.upgrade import prepare
from pgchroma.cli.database import Database, on_database
from pgchroma.cli.errors import CommandError
from pgchroma.cli.printing import printable

__all__ = ("adopt",)


@click.command()
@click.option("--schema", help="Only this schema.")
@click.option("--tenant", help="Whose it is to be, where the schema does not tell or is to change.")
@click.option("--database", help="What it is to be called. Needs --schema.")
@click.option(
    "--space",
    type=click.Choice(["l2", "cosine", "ip"]),
    help="The distance of collections from dumps that do not tell it.",
)
@on_database()
def adopt(target: Database, **given: Any) -> None:
    """Take schemas and collections that were restored from a dump into the catalog.

    It makes or upgrades the catalog first. What is in the catalog already is left as it is.
    """
    if given["schema"] is None and (given["tenant"] or given["database"]):
        raise click.UsageError("--tenant and --database need --schema: which one is it about?")
    if given["tenant"] is not None and given["database"] is None:
        raise click.UsageError("--tenant needs --database")
    with target.connection() as connection:
        prepare(connection, "apply", adopts=False)
        adopted = adopt_restored(connection, AdoptionRequest(**given))
    for tenant, name, schema in adopted.databases:
        click.echo(f"database {printable(name)} of tenant {printable(tenant)}: schema {schema}")
    for schema, name in adopted.collections:
        click.echo(f"collection {name} in schema {schema}")
    if not (adopted.databases or adopted.collections or adopted.problems):
        click.echo("everything there is is in the catalog")
    if adopted.problems:
        raise CommandError("; ".join(adopted.problems))
