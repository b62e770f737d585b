"""``pgchroma compact``: builds indexes that are missing, once."""

from __future__ import annotations

from contextlib import ExitStack
from threading import Event
from time import sleep
from typing import TYPE_CHECKING

import click
import psycopg
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt

from pgchroma.backends.checks import prepare_database
from pgchroma.backends.preparing import compaction_settings
from pgchroma.cli.database import Database, on_database
from pgchroma.cli.errors import exit_on_error
from pgchroma.cli.printing import printable
from pgchroma.compactor.bookkeeping import Collection
from pgchroma.compactor.dropping import drop_all_discarded
from pgchroma.compactor.runner import BuildInterruptedError, Compaction, CompactionSettings
from pgchroma.config import Settings
from pgchroma.errors import ChromaError, UnavailableError
from pgchroma.store.running.errors import mapped_errors, why_not_indexed

if TYPE_CHECKING:
    from rich.progress import Progress

__all__ = ("compact",)

RETRY_SECONDS = 1.0
ATTEMPTS = 3


@click.command()
@on_database()
@click.option(
    "--wait",
    is_flag=True,
    help="Make one index of several, and wait for others who build.",
)
@click.option("--collection", "names", multiple=True, help="Only collections of this name.")
def compact(target: Database, wait: bool, names: tuple[str, ...]) -> None:
    """Build the indexes that the collections of a database wait for.

    The server and clients that stay open do this by themselves; run it after a bulk load, or from
    cron where nothing stays open. It does what is due and ends. Embeddings that are few or short
    get no index, because reading them all is as fast; the command says which those are.
    """
    # Opening its directory starts an embedded PostgreSQL that has died. What was built stays built.
    attempts = Retrying(
        retry=retry_if_exception_type(UnavailableError),
        stop=stop_after_attempt(1 if target.path is None else ATTEMPTS),
        reraise=True,
    )
    with exit_on_error():
        is_whole = attempts(_compact_all, target, names, wait=wait)
    if not is_whole:
        raise SystemExit(1)


def _compact_all(target: Database, names: tuple[str, ...], *, wait: bool) -> bool:
    """Compact collections, print how they are, and return whether nothing went wrong."""
    with mapped_errors(), ExitStack() as opened:
        conninfo = opened.enter_context(target.conninfo())
        prepare_database(conninfo, "validate")
        bars = _Bars(opened.enter_context(_progress()))
        settings = compaction_settings(Settings())
        compaction = opened.enter_context(Compaction(conninfo, settings, Event(), bars.show))
        obstacle = drop_all_discarded(conninfo, Event())
        found = compaction.collections()
        chosen = [each for each in found if not names or each.name in names]
        _refuse_unknown(names, found)
        done = [_attempt(compaction, each, wait=wait) for each in chosen]
        at_rest = [each for each, is_done in zip(chosen, done, strict=True) if is_done]
        notes = [note for each in at_rest if (note := _note(compaction, each, settings))]
        names_by_id = {each.tables.id: printable(each.name) for each in chosen}
        notes += [f"{names_by_id[id]}: {text}" for id, text in compaction.obstacles.items()]
    if obstacle is not None:
        click.echo(f"Error: a table of a deleted database is not dropped: {obstacle}", err=True)
    click.echo(f"{done.count(True)} of {len(chosen)} collections are at rest")
    for note in notes:
        click.echo(note)
    return None not in done and obstacle is None


def _attempt(compaction: Compaction, collection: Collection, *, wait: bool) -> bool | None:
    """Compact a collection; None if that failed, for which the others are no worse off."""
    try:
        return _compact(compaction, collection, wait=wait)
    except (psycopg.Error, ChromaError) as error:
        if compaction.is_broken:
            raise
        message = why_not_indexed(error)
        compaction.note_error(collection.tables.id, message)
        click.echo(f"Error: {printable(collection.name)}: {message}", err=True)
        return None


def _compact(compaction: Compaction, collection: Collection, *, wait: bool) -> bool:
    while True:
        try:
            if compaction.compact(collection, merges_all=wait):
                return True
        except BuildInterruptedError:
            # Somebody waits for its tables; it may be gone by now.
            if not compaction.has(collection.tables.id):
                return True
        if not wait:
            return False
        sleep(RETRY_SECONDS)


def _note(
    compaction: Compaction, collection: Collection, settings: CompactionSettings
) -> str | None:
    """Say of a collection that has no index, although nothing is left to do, why that is."""
    rows = compaction.count_without_index(collection)
    if not rows:
        return None
    size = rows * 4 * (collection.dimension or 0)
    return (
        f"{printable(collection.name)}: no index for {rows} embeddings ({size} bytes); one is "
        f"built from {settings.segment_bytes} bytes (PGCHROMA_SEGMENT_BYTES) and "
        f"{collection.hnsw.sync_threshold} embeddings (sync_threshold) on"
    )


def _refuse_unknown(names: tuple[str, ...], found: list[Collection]) -> None:
    unknown = sorted(set(names) - {each.name for each in found})
    if unknown:
        named = ", ".join(printable(name) for name in unknown)
        raise click.UsageError(f"--collection {named}: there is no collection of that name")


class _Bars:
    """A bar for each index that is built."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress

    def show(self, collection: Collection, name: str, done: int, rows: int) -> None:
        """Draw how far a build is."""
        for task in self._progress.tasks:
            if task.fields["index"] == name:
                self._progress.update(task.id, completed=done)
                return
        self._progress.add_task(collection.name, total=rows, completed=done, index=name)


def _progress() -> Progress:
    from rich import console, progress  # noqa: PLC0415  (a tenth of a second others save)

    return progress.Progress(
        progress.TextColumn("{task.description}"),
        progress.BarColumn(),
        progress.MofNCompleteColumn(),
        progress.TimeRemainingColumn(),
        console=console.Console(stderr=True),
        transient=True,
    )
