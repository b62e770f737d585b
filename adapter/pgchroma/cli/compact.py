"""``pgchroma compact``: builds missing indexes once."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from dataclasses import asdict
from typing import TYPE_CHECKING

import click
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt

from pgchroma.backends.checks import prepare_database
from pgchroma.backends.preparing import compaction_settings
from pgchroma.cli.database import TargetDatabase, on_database
from pgchroma.cli.errors import exit_on_error
from pgchroma.cli.printing import is_terminal, json_option, print_json, printable
from pgchroma.compactor.once import Report, SmallCollection, compact_all
from pgchroma.compactor.settings import CompactionSettings
from pgchroma.compactor.state import TrackedCollection
from pgchroma.config import Settings
from pgchroma.errors import UnavailableError

if TYPE_CHECKING:
    from rich.progress import Progress

__all__ = ("compact", "compact_once")

ATTEMPTS = 3


@click.command(short_help="Build all pending indexes.")
@on_database()
@click.option(
    "--wait",
    is_flag=True,
    help="Merge each collection into a single index and its sparse vectors into full blocks, read "
    "the metadata keys of all records, and wait for other compactors.",
)
@click.option("--collection", "names", multiple=True, help="Only collections of this name.")
@json_option
def compact(target: TargetDatabase, wait: bool, names: tuple[str, ...], as_json: bool) -> None:
    """Build all pending indexes of a database, then exit.

    These include the blocks of sparse vectors and of the words of documents. The command also
    raises the versions of collections and adds new metadata keys to their schemas.

    The server and open clients do this by themselves. Run this command after a bulk load, or from
    cron if no server or client stays open. Few or short embeddings get no index, because scanning
    them is as fast; the command lists these collections.
    """
    report, settings = compact_once(target, names, wait=wait)
    if as_json:
        print_json(asdict(report))
    else:
        _print(report, settings)
    if report.failed or report.discarded is not None:
        raise SystemExit(1)


def compact_once(
    target: TargetDatabase, names: tuple[str, ...], *, wait: bool
) -> tuple[Report, CompactionSettings]:
    """Compact collections, and print the errors of those that fail.

    Raises:
        click.UsageError: A name is unknown; nothing was compacted.
    """
    # If an embedded PostgreSQL has died, opening its directory again restarts it. Indexes that
    # were built before are kept.
    attempts = Retrying(
        retry=retry_if_exception_type(UnavailableError),
        stop=stop_after_attempt(1 if target.path is None else ATTEMPTS),
        reraise=True,
    )
    with exit_on_error():
        settings = compaction_settings(Settings())
        report: Report = attempts(_compact, target, settings, names, wait=wait)
    if report.unknown:
        names_text = ", ".join(printable(name) for name in report.unknown)
        raise click.UsageError(f"--collection {names_text}: there is no collection of that name")
    return report, settings


def _compact(
    target: TargetDatabase, settings: CompactionSettings, names: tuple[str, ...], *, wait: bool
) -> Report:
    with ExitStack() as opened:
        conninfo = opened.enter_context(target.conninfo())
        prepare_database(conninfo, "validate")
        progress = _progress()
        if not progress.disable:
            # Older versions of rich end a line even if nothing is shown.
            opened.enter_context(progress)
        bars = _Bars(progress)
        return compact_all(
            conninfo,
            settings,
            names,
            wait=wait,
            on_progress=bars.show,
            on_failure=_print_failure,
        )


def _print_failure(name: str, message: str) -> None:
    click.echo(f"Error: {printable(name)}: {message}", err=True)


def _print(report: Report, settings: CompactionSettings) -> None:
    if report.discarded is not None:
        click.echo(
            f"Error: a table of a deleted database is not dropped: {report.discarded}", err=True
        )
    click.echo(f"{report.idle} of {report.total} collections are at rest")
    for collection in report.small:
        click.echo(_note(collection, settings))
    for name, obstacle in report.obstacles:
        click.echo(f"{printable(name)}: {obstacle}")


def _note(collection: SmallCollection, settings: CompactionSettings) -> str:
    return (
        f"{printable(collection.name)}: no index for {collection.embeddings} embeddings "
        f"({collection.size} bytes); one is built from {settings.segment_bytes} bytes "
        f"(PGCHROMA_SEGMENT_BYTES) and {collection.sync_threshold} embeddings (sync_threshold) on"
    )


class _Bars:
    """A progress bar for each index that is built."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress

    def show(self, collection: TrackedCollection, name: str, done: int, rows: int) -> None:
        """Show the progress of a build."""
        for task in self._progress.tasks:
            if task.fields["index"] == name:
                self._progress.update(task.id, completed=done)
                return
        self._progress.add_task(collection.name, total=rows, completed=done, index=name)


def _progress() -> Progress:
    from rich import console, progress  # noqa: PLC0415  (a tenth of a second, for this command only)

    return progress.Progress(
        progress.TextColumn("{task.description}"),
        progress.BarColumn(),
        progress.MofNCompleteColumn(),
        progress.TimeRemainingColumn(),
        console=console.Console(stderr=True),
        transient=True,
        disable=not is_terminal(sys.stderr),
    )
