"""``pgchroma import``: collections of Chroma, of files and of other programs' tables."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pgchroma.cli.database import TargetDatabase, on_database
from pgchroma.cli.sources import PLACE, Place, with_source_options
from pgchroma.cli.transfers import (
    Destination,
    run_transfer,
    with_report_options,
    with_transfer_options,
)

if TYPE_CHECKING:
    from pgchroma.transfer.opening import SourceOptions
    from pgchroma.transfer.options import TransferOptions

__all__ = ("import_collections",)


@click.command("import")
@click.argument("source", type=PLACE)
@click.option(
    "--collection", "names", multiple=True, help="Import this collection only; repeatable."
)
@with_source_options()
@with_transfer_options("--batch-size")
@with_report_options()
@on_database()
def import_collections(
    source: Place,
    names: tuple[str, ...],
    from_options: SourceOptions,
    options: TransferOptions,
    target: TargetDatabase,
    as_json: bool,
    report_file: Path | None,
    **given: Any,
) -> None:
    """Import collections from SOURCE.

    SOURCE is a directory of Chroma or pgchroma, the URL of a server or of a PostgreSQL database, a
    file (.parquet, .jsonl, .jsonl.gz), or a directory of such files. Nothing in it is changed.

    A collection gets its name when all of its records are there and were compared with the source.
    If the import is interrupted, the same command continues it. The exit code is 1 if something
    could not be saved; the report says what.
    """
    run_transfer(
        source,
        from_options,
        names,
        target,
        Destination(given["to_tenant"], given["to_database"], given["new_name"]),
        options,
        given["is_sure"],
        as_json,
        report_file,
    )
