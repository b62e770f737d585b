"""The command ``pgchroma``."""

from __future__ import annotations

import click
import psycopg

from pgchroma._version import __version__
from pgchroma.backends.connect import plain_conninfo
from pgchroma.cli.compact import compact
from pgchroma.cli.faults import told
from pgchroma.cli.keys import keys, users
from pgchroma.cli.run import run
from pgchroma.schema import offline_sql, prepare
from pgchroma.store.faults import translated

__all__ = ("main",)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="pgchroma")
def main() -> None:
    """Chroma's API on the PostgreSQL you already run."""


@main.command()
@click.argument("url", required=False)
@click.option("--sql", "is_offline", is_flag=True, help="Print the SQL for review; run nothing.")
def migrate(url: str | None, is_offline: bool) -> None:
    """Make or upgrade pgchroma's catalog in the database at URL."""
    if is_offline:
        click.echo(offline_sql())
        return
    if url is None:
        raise click.UsageError("give the URL of a database, or --sql")
    with (
        told(),
        translated(),
        psycopg.connect(plain_conninfo(url), autocommit=True) as connection,
    ):
        facts = prepare(connection, "apply")
    click.echo(f"the catalog is at revision {facts.revision}")


main.add_command(run)
main.add_command(compact)
main.add_command(keys)
main.add_command(users)
