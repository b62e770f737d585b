"""The command ``pgchroma``."""

from __future__ import annotations

import click

from pgchroma._version import DOCUMENTATION, __version__
from pgchroma.cli.adopt import adopt
from pgchroma.cli.browse import browse
from pgchroma.cli.collections import collections
from pgchroma.cli.compact import compact
from pgchroma.cli.completion import completion
from pgchroma.cli.connect import connect
from pgchroma.cli.copy import copy
from pgchroma.cli.credentials import keys, users
from pgchroma.cli.doctor import doctor
from pgchroma.cli.explain import explain
from pgchroma.cli.export import export
from pgchroma.cli.grants import grants
from pgchroma.cli.groups import Commands
from pgchroma.cli.import_ import import_collections
from pgchroma.cli.install import install
from pgchroma.cli.login import login, profile
from pgchroma.cli.migrate import migrate
from pgchroma.cli.postgres import postgres
from pgchroma.cli.printing import json_option
from pgchroma.cli.psql import psql
from pgchroma.cli.run import run
from pgchroma.cli.stats import stats
from pgchroma.cli.tenants import db, tenants
from pgchroma.cli.update import update
from pgchroma.cli.upgrade_data import upgrade_data
from pgchroma.cli.vacuum import vacuum

__all__ = ("main",)


@click.group(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=f"Documentation: {DOCUMENTATION}",
)
@click.version_option(__version__, prog_name="pgchroma")
@click.option("--profile", metavar="NAME", help="Use this stored database or server.")
@json_option
def main(profile: str | None, as_json: bool) -> None:
    """Chroma's API on the PostgreSQL you already run.

    Commands find the database in --url, --path or --profile, in PGCHROMA_URL, PGCHROMA_PROFILE or
    PGCHROMA_PATH, or in the profile that you chose. Both options below may also follow the command.
    """


db.add_command(connect)

for command in (
    run,
    adopt,
    browse,
    collections,
    compact,
    completion,
    copy,
    doctor,
    explain,
    export,
    grants,
    import_collections,
    install,
    migrate,
    psql,
    postgres,
    keys,
    users,
    db,
    tenants,
    login,
    profile,
    stats,
    update,
    upgrade_data,
    vacuum,
):
    main.add_command(command)
