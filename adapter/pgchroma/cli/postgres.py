"""``pgchroma postgres``: runs an embedded PostgreSQL for other programs."""

from __future__ import annotations

import signal
from threading import Event

import click

from pgchroma.cli.database import TargetDatabase, on_database
from pgchroma.cli.errors import exit_on_error

__all__ = ("postgres",)

WATCH_SECONDS = 1.0
"""Seconds between two checks whether the server has died."""


@click.command(short_help="Run an embedded PostgreSQL for other programs until Ctrl-C.")
@on_database()
def postgres(target: TargetDatabase) -> None:
    """Run an embedded PostgreSQL until Ctrl-C or SIGTERM, for psql and other programs.

    The first line on standard output is its URL. PostgreSQL stops at the end unless other programs,
    such as clients or `pgchroma run`, also use the directory.
    """
    if target.path is None:
        raise click.UsageError(
            f"{target.source} names a database whose server is already running; pass the directory "
            "of an embedded PostgreSQL with --path"
        )
    ended = Event()
    with exit_on_error(), target.embedded() as server:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, lambda *_: ended.set())
        click.echo(server.url)
        click.echo(f"PostgreSQL in {server.directory} runs until Ctrl-C", err=True)
        while not ended.wait(WATCH_SECONDS):
            if server.is_down():
                server.revive()
