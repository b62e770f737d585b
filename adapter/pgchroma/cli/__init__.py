"""The command ``pgchroma``."""

from __future__ import annotations

import click

from pgchroma._version import DOCUMENTATION, __version__
from pgchroma.catalog.upgrade import offline_sql, prepare, repair
from pgchroma.cli.adopt import adopt
from pgchroma.cli.compact import compact
from pgchroma.cli.copy import copy
from pgchroma.cli.credentials import keys, users
from pgchroma.cli.database import TargetDatabase, on_database
from pgchroma.cli.errors import Commands
from pgchroma.cli.export import export
from pgchroma.cli.grants import grants
from pgchroma.cli.import_ import import_collections
from pgchroma.cli.postgres import postgres
from pgchroma.cli.psql import psql
from pgchroma.cli.run import run
from pgchroma.cli.tenants import db, tenants

__all__ = ("main",)


@click.group(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=f"Documentation: {DOCUMENTATION}",
)
@click.version_option(__version__, prog_name="pgchroma")
def main() -> None:
    """Chroma's API on the PostgreSQL you already run."""


def _print_sql(ctx: click.Context, _: click.Parameter, is_given: bool) -> None:
    if is_given:
        click.echo(offline_sql())
        ctx.exit()


@main.command()
@click.option(
    "--sql",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_print_sql,
    help="Print the SQL for review and exit.",
)
@on_database()
def migrate(target: TargetDatabase) -> None:
    """Create or upgrade pgchroma's catalog in a database."""
    with target.connection() as connection:
        facts = prepare(connection, "apply")
        repair(connection)
    click.echo(f"the catalog is at revision {facts.revision}")


main.add_command(run)
main.add_command(import_collections)
main.add_command(export)
main.add_command(copy)
main.add_command(adopt)
main.add_command(compact)
main.add_command(grants)
main.add_command(psql)
main.add_command(postgres)
main.add_command(keys)
main.add_command(users)
main.add_command(db)
main.add_command(tenants)
