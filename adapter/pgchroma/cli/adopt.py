"""``pgchroma adopt``: adds restored schemas and collections to the catalog."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import click

from pgchroma.catalog.adoption import AdoptionReport, AdoptionRequest
from pgchroma.catalog.upgrade import adopt as adopt_restored
from pgchroma.catalog.upgrade import prepare
from pgchroma.cli.database import TargetDatabase, on_database
from pgchroma.cli.errors import CommandError
from pgchroma.cli.printing import json_option, print_json, printable

__all__ = ("adopt",)


@click.command(short_help="Add what was restored from a dump to the catalog.")
@click.option("--schema", help="Adopt only this schema.")
@click.option(
    "--tenant", help="The tenant, if the schema does not name it or to change it. Needs --schema."
)
@click.option("--database", help="The database's name. Needs --schema.")
@click.option(
    "--space",
    type=click.Choice(["l2", "cosine", "ip"]),
    help="The distance of collections whose dump does not contain it.",
)
@json_option
@on_database()
def adopt(target: TargetDatabase, as_json: bool, **given: Any) -> None:
    """Add schemas and collections that were restored from a dump to the catalog.

    It creates or upgrades the catalog first. Entries that are in the catalog stay as they are.
    """
    if given["schema"] is None and (given["tenant"] or given["database"]):
        raise click.UsageError("--tenant and --database need --schema")
    if given["tenant"] is not None and given["database"] is None:
        raise click.UsageError("--tenant needs --database")
    with target.connection() as connection:
        prepare(connection, "apply", adopts=False)
        adopted = adopt_restored(connection, AdoptionRequest(**given))
    if as_json:
        print_json(asdict(adopted))
    else:
        _print(adopted)
    if adopted.problems:
        raise CommandError("; ".join(adopted.problems))


def _print(adopted: AdoptionReport) -> None:
    for tenant, name, schema in adopted.databases:
        click.echo(f"database {printable(name)} of tenant {printable(tenant)}: schema {schema}")
    for schema, name in adopted.collections:
        click.echo(f"collection {name} in schema {schema}")
    if not (adopted.databases or adopted.collections or adopted.problems):
        click.echo("nothing to adopt: all schemas and collections are in the catalog")
