"""The command ``pgchroma``."""

from __future__ import annotations

import click

from pgchroma._version import DOCUMENTATION, __version__
from pgchroma.cli.adopt import adopt
from pgchroma.cli.compact import compact
from pgchroma.cli.credentials import keys, users
from pgchroma.cli.errors import Commands
from pgchroma.cli.grants import grants
from pgchroma.cli.migrate import migrate
from pgchroma.cli.postgres import postgres
from pgchroma.cli.psql import psql
from pgchroma.cli.run import run
from pgchroma.cli.tenants import db, tenants
from pgchroma.cli.upgrade_data import upgrade_data

__all__ = ("main",)


@click.group(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=f"Documentation: {DOCUMENTATION}",
)
@click.version_option(__version__, prog_name="pgchroma")
def main() -> None:
    """Chroma's API on the PostgreSQL you already run."""


main.add_command(migrate)
main.add_command(run)
main.add_command(adopt)
main.add_command(compact)
main.add_command(grants)
main.add_command(psql)
main.add_command(postgres)
main.add_command(keys)
main.add_command(users)
main.add_command(db)
main.add_command(tenants)
main.add_command(upgrade_data)
