"""``pgchroma update``: the installed version, and the command that installs the newest one."""

from __future__ import annotations

import shlex
import sys

import click

from pgchroma._version import __version__
from pgchroma.cli.printing import json_option, print_json
from pgchroma.extras import installed_extras

__all__ = ("update",)


@click.command(short_help="Print the installed version and how to upgrade it.")
@json_option
def update(as_json: bool) -> None:
    """Print the installed version and how to upgrade it.

    It changes nothing and needs no network.
    """
    extras = installed_extras()
    package = f"pgchroma[{','.join(extras)}]" if extras else "pgchroma"
    command = shlex.join([sys.executable, "-m", "pip", "install", "--upgrade", package])
    if as_json:
        print_json({"version": __version__, "extras": extras, "command": command})
        return
    click.echo(f"pgchroma {__version__} is installed. To upgrade it, run")
    click.echo(f"    {command}")
    click.echo("and then `pgchroma migrate` on each database, before its servers are replaced.")
