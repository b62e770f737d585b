"""``pgchroma export``: collections as files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, cast
from urllib.parse import quote

import click

from pgchroma.cli.database import TargetDatabase, on_database
from pgchroma.cli.errors import exit_on_error
from pgchroma.cli.sources import source_options
from pgchroma.cli.transfer_progress import transfer_progress
from pgchroma.cli.transfers import (
    finish,
    one_selected,
    print_report,
    reporting,
    selected,
    source_of,
    with_report_options,
)
from pgchroma.errors import InvalidArgumentError, UniqueConstraintError
from pgchroma.transfer.report import TransferReport

if TYPE_CHECKING:
    from pgchroma.transfer.exporting import Format
    from pgchroma.transfer.source import SourceCollection

__all__ = ("export",)

FORMATS: Final = ("parquet", "jsonl", "jsonl.gz")


@click.command()
@click.argument("target_path", metavar="FILE_OR_DIRECTORY", type=click.Path(path_type=Path))
@click.option(
    "--collection", "names", multiple=True, help="Export this collection only; repeatable."
)
@click.option("--tenant", help="Export this tenant only.")
@click.option("--database", help="Export this database only; of the default tenant, if none.")
@click.option(
    "--format",
    "format_name",
    type=click.Choice(FORMATS),
    help="The format; that of the file's name, or parquet.",
)
@click.option(
    "--coordinates", is_flag=True, help="Add coordinates x and y of the embeddings to Parquet."
)
@click.option("--yes", "is_sure", is_flag=True, help="Replace files that exist.")
@with_report_options()
@on_database()
def export(
    target_path: Path,
    names: tuple[str, ...],
    tenant: str | None,
    database: str | None,
    format_name: str | None,
    coordinates: bool,
    is_sure: bool,
    as_json: bool,
    report_file: Path | None,
    target: TargetDatabase,
) -> None:
    """Export collections to files.

    Several collections become one file each in a directory. A file is complete when it has its
    name. It is read again and compared with the collection.
    """
    from pgchroma.transfer.exporting import (  # noqa: PLC0415  (only here)
        export_collection,
        report_of,
    )

    options = source_options(tenant, database)
    format = _format(target_path, format_name)
    if coordinates and format != "parquet":
        raise click.UsageError("--coordinates needs the format parquet")
    with exit_on_error(), source_of(target, options) as source:
        collections = selected(source, options, names)
        files = _files(target_path, collections, format)
        existing = [path for path in files if path.exists()]
        if existing and not is_sure:
            raise UniqueConstraintError(f"{existing[0]} exists already; replace it with --yes")
        report = TransferReport(source.describe(), str(target_path), warnings=source.warnings())
        with reporting(report, as_json, report_file):
            for collection, path in zip(collections, files, strict=True):
                made = report_of(collection, path)
                report.collections.append(made)
                with transfer_progress(collection.name, collection.count) as advance:
                    export_collection(
                        source,
                        collection,
                        path,
                        format,
                        has_coordinates=coordinates,
                        advance=advance,
                        report=made,
                    )
                if not as_json:
                    print_report(made)
    finish(report, as_json, report_file)


def _format(path: Path, given: str | None) -> Format:
    """Return the format that a user has chosen, or the one of the file's name."""
    named = _named_format(path)
    if given is not None and named is not None and given != named:
        raise click.UsageError(f"--format {given} contradicts the name of {path}")
    return cast("Format", given or named or "parquet")


def _named_format(path: Path) -> str | None:
    return next((each for each in FORMATS if path.name.lower().endswith(f".{each}")), None)


def _files(path: Path, collections: Sequence[SourceCollection], format: Format) -> list[Path]:
    """Return the file of each collection.

    Raises:
        InvalidArgumentError: One file is named for several collections.
    """
    if _named_format(path) is not None and not path.is_dir():
        one_selected(collections, f"{path} is one file and no directory")
        return [path]
    if path.exists() and not path.is_dir():
        raise InvalidArgumentError(f"{path} is a file; name a directory, or end it with .{format}")
    has_several = len({(each.tenant, each.database) for each in collections}) > 1
    return [path / f"{_stem(each, has_several)}.{format}" for each in collections]


def _stem(collection: SourceCollection, has_several: bool) -> str:
    if not has_several:
        return collection.name
    # A tenant's name may have any characters.
    names = (collection.tenant, collection.database, collection.name)
    return ".".join(quote(name, safe="") for name in names)
