"""What `pgchroma import`, `export` and `copy` have in common."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, fields
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from pgchroma.cli.confirmation import confirm, yes_option
from pgchroma.cli.database import TargetDatabase
from pgchroma.cli.errors import CommandError, exit_on_error
from pgchroma.cli.printing import json_option, print_json, printable
from pgchroma.cli.sources import Place, open_source
from pgchroma.cli.transfer_progress import transfer_progress
from pgchroma.config import Settings
from pgchroma.errors import InvalidArgumentError, NotFoundError
from pgchroma.model.entities import DatabaseRef
from pgchroma.transfer.naming import is_temporary
from pgchroma.transfer.options import EXISTING, TransferOptions
from pgchroma.transfer.report import CollectionReport, TransferReport

if TYPE_CHECKING:
    from pgchroma.backends._sync.base import Backend
    from pgchroma.transfer.importing import Assignment
    from pgchroma.transfer.opening import SourceOptions
    from pgchroma.transfer.source import Source, SourceCollection

__all__ = (
    "Destination",
    "finish",
    "one_selected",
    "print_report",
    "reporting",
    "run_transfer",
    "selected",
    "source_of",
    "with_report_options",
    "with_transfer_options",
)

F = TypeVar("F", bound=Callable[..., Any])

_MAX_LISTED: Final = 10


@dataclass(frozen=True, slots=True)
class Destination:
    """Where collections go, as far as the user has chosen it.

    Attributes:
        tenant: The tenant; `None` means that of the source.
        database: The database; `None` means that of the source.
        name: The name of the only collection; `None` means that of the source.
    """

    tenant: str | None = None
    database: str | None = None
    name: str | None = None


def with_transfer_options(batch: str) -> Callable[[F], F]:
    """Return a decorator that adds the options of transfers into a database.

    Those that say how records are transferred are passed as `options`, a `TransferOptions`.

    Args:
        batch: The option for the number of records in one write.
    """
    options = [
        click.option(
            batch,
            "batch_size",
            type=click.IntRange(1, 50_000),
            default=1_000,
            show_default=True,
            help="Records in one write.",
        ),
        click.option("--as", "new_name", help="The name of the new collection, if there is one."),
        click.option("--to-tenant", help="The tenant of the new collections; created if missing."),
        click.option(
            "--to-database", help="The database of the new collections; created if missing."
        ),
        click.option(
            "--existing",
            type=click.Choice(EXISTING),
            default="refuse",
            show_default=True,
            help="What to do if a collection of the name exists.",
        ),
        click.option(
            "--nested",
            type=click.Choice(["report", "json"]),
            default="report",
            show_default=True,
            help="What to do with nested objects in metadata: leave them out, or keep the JSON.",
        ),
        click.option(
            "--reembed",
            "is_embedding",
            is_flag=True,
            help="Compute missing embeddings from the documents.",
        ),
        click.option(
            "--embedding-function",
            help="The function for --reembed, if the collection stores none, such as default.",
        ),
        yes_option(),
    ]
    names = [field.name for field in fields(TransferOptions)]

    def decorate(command: F) -> F:
        @wraps(command)
        def wrapped(*args: Any, **given: Any) -> Any:
            chosen = {name: given.pop(name) for name in names}
            return command(*args, options=TransferOptions(**chosen), **given)

        return _with(options)(wrapped)  # type: ignore[return-value]

    return decorate


def with_report_options() -> Callable[[F], F]:
    """Return a decorator that adds the options of the report."""
    return _with(
        [
            json_option,
            click.option(
                "--report",
                "report_file",
                type=click.Path(dir_okay=False, path_type=Path),
                callback=_in_directory,
                help="Write the report with every loss to this file, as JSON.",
            ),
        ]
    )


def _in_directory(
    context: click.Context, option: click.Parameter, file: Path | None
) -> Path | None:
    """Refuse a file that cannot be written before the transfer, which may take hours."""
    if file is None:
        return None
    if not file.parent.is_dir():
        raise click.BadParameter(f"there is no directory {file.parent}")
    if not os.access(file if file.exists() else file.parent, os.W_OK):
        raise click.BadParameter(f"{file} cannot be written")
    return file


def selected(
    source: Source, options: SourceOptions, names: Sequence[str]
) -> list[SourceCollection]:
    """Return the collections of a source that a command is about.

    Raises:
        NotFoundError: There is no collection of a name, or none at all.
    """
    tenant, database = options.selection.tenant, options.selection.database
    found = [
        each
        for each in source.collections()
        if (tenant is None or each.tenant == tenant)
        and (database is None or each.database == database)
        and not is_temporary(each.name)
    ]
    missing = set(names) - {each.name for each in found}
    if missing and found:
        known = _listed(each.name for each in found)
        raise NotFoundError(
            f"--collection: no collection is called {min(missing)!r}; there are {known}"
        )
    if not found:
        raise NotFoundError(_nothing(source, tenant, database))
    return [each for each in found if not names or each.name in names]


def _nothing(source: Source, tenant: str | None, database: str | None) -> str:
    """Return why there is no collection to transfer."""
    every = source.collections()
    if not every:
        reasons = "".join(f"; {warning}" for warning in source.warnings())
        return f"there are no collections in the source, {source.describe()}{reasons}"
    databases = _listed(f"{each.tenant}/{each.database}" for each in every)
    flag, sought = ("--tenant", tenant) if database is None else ("--database", database)
    return f"{flag}: {sought!r} has no collections; there are collections in {databases}"


def _listed(names: Iterable[str]) -> str:
    """Return names without repetitions, and how many more there are than fit into a line."""
    different = list(dict.fromkeys(names))
    more = len(different) - _MAX_LISTED
    return ", ".join(different[:_MAX_LISTED]) + (f" and {more} more" if more > 0 else "")


def one_selected(collections: Sequence[SourceCollection], what: str) -> None:
    """Raise if a name is for one collection, and several are selected.

    Args:
        collections: The collections that are selected.
        what: What is named, such as "--as names one collection".

    Raises:
        InvalidArgumentError: Several collections are selected.
    """
    if len(collections) > 1:
        names = _listed(f"{each.tenant}/{each.database}/{each.name}" for each in collections)
        raise InvalidArgumentError(
            f"{what}, and {len(collections)} collections are selected: {names}; choose one with "
            "--collection, --tenant and --database"
        )


@contextmanager
def source_of(target: TargetDatabase, options: SourceOptions) -> Iterator[Source]:
    """Yield the database or server of a command as a source."""
    from pgchroma.backends._sync.http import HttpBackend  # noqa: PLC0415  (only transfers use it)
    from pgchroma.transfer.readers.backend import BackendSource  # noqa: PLC0415
    from pgchroma.transfer.readers.server import ServerSource  # noqa: PLC0415

    with target.backend() as backend:
        source: BackendSource = (
            ServerSource(backend, options.selection)
            if isinstance(backend, HttpBackend)
            else BackendSource(nullcontext(backend), _name(target), options.selection)
        )
        with source:
            yield source


def run_transfer(
    source_place: Place,
    from_options: SourceOptions,
    names: Sequence[str],
    target: TargetDatabase,
    destination: Destination,
    options: TransferOptions,
    is_sure: bool,
    as_json: bool,
    report_file: Path | None,
) -> None:
    """Transfer collections of a source into a database, report, and exit as `finish` does.

    Unless it is printed as JSON, the report of each collection is printed when it is done.
    """
    from pgchroma.transfer.importing import (  # noqa: PLC0415  (only what transfers needs it)
        check_existing,
        check_names,
        import_collection,
        names_of_existing,
    )
    from pgchroma.transfer.writers.backend import BackendTarget  # noqa: PLC0415

    # Arrow's own pool keeps some 20 MB more of what was freed.
    os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")
    settings = _shared_settings(source_place, target)
    with exit_on_error(), open_source(source_place, from_options, settings) as source:
        assignments = _assignments(selected(source, from_options, names), destination)
        check_names(assignments)
        with _writable(target) as backend:
            writer = BackendTarget(backend)
            done = check_existing(source, writer, assignments, options)
            if options.existing == "replace":
                _confirm_replacing(names_of_existing(writer, assignments), is_sure)
            report = TransferReport(source.describe(), _name(target), warnings=source.warnings())
            for warning in report.warnings:
                click.echo(f"Warning: {printable(warning)}", err=True)
            with reporting(report, as_json, report_file):
                for each, there in zip(assignments, done, strict=True):
                    made = there or each.report()
                    report.collections.append(made)
                    with transfer_progress(each.name, each.collection.count) as advance:
                        if there is None:
                            import_collection(source, writer, each, options, advance, made)
                    if not as_json:
                        print_report(made)
    finish(report, as_json, report_file)


def _confirm_replacing(names: Sequence[str], is_sure: bool) -> None:
    if names:
        listed = ", ".join(map(printable, names))
        confirm(is_sure, f"Replace {listed}? The records there will be deleted.")


def _assignments(
    collections: Sequence[SourceCollection], destination: Destination
) -> list[Assignment]:
    from pgchroma.transfer.importing import Assignment  # noqa: PLC0415

    if destination.name is not None:
        one_selected(collections, "--as names one collection")
    return [
        Assignment(
            each,
            DatabaseRef(destination.tenant or each.tenant, destination.database or each.database),
            destination.name or each.name,
        )
        for each in collections
    ]


def print_report(report: CollectionReport) -> None:
    """Print what became of a collection."""
    for line in report.lines():
        click.echo(printable(line))


@contextmanager
def reporting(report: TransferReport, as_json: bool, report_file: Path | None) -> Iterator[None]:
    """Report what was done until an error, if one ends the context."""
    try:
        yield
    except BaseException:
        try:
            _write(report, as_json, report_file)
        except CommandError as unwritten:
            click.echo(f"Warning: {unwritten.message}", err=True)
        raise


def finish(report: TransferReport, as_json: bool, report_file: Path | None) -> None:
    """Print JSON if asked, write the full report, and exit with 1 if something was not saved.

    Raises:
        CommandError: Something was not saved, or the report cannot be written.
    """
    _write(report, as_json, report_file)
    if not report.is_faithful:
        where = "" if report_file is None else f"; {report_file} lists all of it"
        raise CommandError(report.summary() + where)


def _write(report: TransferReport, as_json: bool, report_file: Path | None) -> None:
    if as_json:
        print_json(report.to_json())
    if report_file is not None:
        try:
            report_file.write_text(json.dumps(report.losses_json(), indent=2) + "\n", "utf-8")
        except OSError as error:
            raise CommandError(f"--report: {report_file}: {error.strerror}") from error


@contextmanager
def _writable(target: TargetDatabase) -> Iterator[Backend]:
    """Yield a backend on the target; a directory without a database gets one."""
    if target.path is None:
        from pgchroma.backends._sync.http import HttpBackend  # noqa: PLC0415
        from pgchroma.transfer.writers.backend import check_writable  # noqa: PLC0415

        with target.backend() as backend:
            if isinstance(backend, HttpBackend):
                check_writable(backend)
            yield backend
        return
    from pgchroma.client._sync.backends import persistent_backend  # noqa: PLC0415

    embedded = persistent_backend(target.path, _target_settings())
    try:
        yield embedded
    finally:
        embedded.close()


def _target_settings() -> Settings:
    return Settings(pgchroma_compaction=False)


def _shared_settings(place: Place, target: TargetDatabase) -> Settings | None:
    """Return the target's settings if the source is the same directory.

    A process opens a directory with one set of settings.
    """
    if target.path is None or place.is_url:
        return None
    is_same = Path(place.text).expanduser().resolve() == target.path
    return _target_settings() if is_same else None


def _name(target: TargetDatabase) -> str:
    if target.path is not None:
        return str(target.path)
    if target.is_server:
        from pgchroma.cli.servers import server_address  # noqa: PLC0415

        return server_address(target.url or "")
    from pgchroma.backends.urls import address_of  # noqa: PLC0415

    return address_of(target.url or "")


def _with(options: Sequence[Callable[[Any], Any]]) -> Callable[[F], F]:
    def decorate(command: F) -> F:
        @wraps(command)
        def wrapped(*args: Any, **given: Any) -> Any:
            return command(*args, **given)

        for option in reversed(options):
            wrapped = option(wrapped)
        return wrapped  # type: ignore[return-value]

    return decorate
