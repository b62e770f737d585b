"""``pgchroma copy``: collections from one server, database or directory to another.

The flags of Chroma's own ``copy`` are accepted: ``--from-local`` and ``--to-local`` stand for the
directory or the server of ``--path`` or ``--host``, ``--from-cloud`` and ``--to-cloud`` for the
cloud of Chroma.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from pgchroma.cli.database import TargetDatabase, directory
from pgchroma.cli.errors import exit_on_error
from pgchroma.cli.servers import is_server_url, server_backend
from pgchroma.cli.sources import CLOUD_HOST, PLACE, Place, with_source_options
from pgchroma.cli.transfers import (
    Destination,
    run_transfer,
    with_report_options,
    with_transfer_options,
)
from pgchroma.config import Settings
from pgchroma.errors import InvalidArgumentError

if TYPE_CHECKING:
    from pgchroma.transfer.opening import SourceOptions
    from pgchroma.transfer.options import TransferOptions

__all__ = ("copy",)

CLOUD: Final = f"https://{CLOUD_HOST}"

_FROM: Final = ("--from", "--from-local", "--from-cloud")
_TO: Final = ("--to", "--to-local", "--to-cloud")


@click.command()
@click.option("--from", "from_place", type=PLACE, help="The source: a URL or a path.")
@click.option("--to", "to_place", type=PLACE, help="The target: a URL or a path.")
@click.option("--from-local", is_flag=True, help="From what --host or --path names.")
@click.option("--to-local", is_flag=True, help="To what --host or --path names.")
@click.option("--from-cloud", is_flag=True, help="From Chroma's cloud.")
@click.option("--to-cloud", is_flag=True, help="To Chroma's cloud.")
@click.option("--host", help="The local server's URL.")
@click.option("--path", type=directory, help="The local directory.")
@click.option("--db", help="The database in Chroma's cloud.")
@click.option("--all", "is_all", is_flag=True, help="Copy all collections.")
@click.option(
    "--collections",
    "--collection",
    "names",
    multiple=True,
    help="Copy these collections: names with commas between them; repeatable.",
)
@click.option(
    "--concurrent",
    type=click.IntRange(1, 8),
    help="Accepted as in Chroma; batches are written in order, so that a copy can continue.",
)
@with_source_options()
@with_transfer_options("--batch")
@with_report_options()
def copy(
    from_options: SourceOptions,
    options: TransferOptions,
    as_json: bool,
    report_file: Path | None,
    **given: Any,
) -> None:
    """Copy collections, also back to Chroma.

    The places are servers, databases and directories. A collection gets its name when all of its
    records are there and were compared with the source. If the copy is interrupted, the same
    command continues it.
    """
    source = _source(given)
    target = _target(given)
    names = tuple(name for text in given["names"] for name in text.split(",") if name)
    if bool(names) == given["is_all"]:
        raise click.UsageError("give the names of collections with --collections, or --all")
    if given["from_cloud"] and given["db"] is not None:
        chosen = replace(from_options.selection, database=given["db"])
        from_options = replace(from_options, selection=chosen)
    with exit_on_error():
        destination = _destination(given)
    run_transfer(
        source,
        from_options,
        names,
        target,
        destination,
        options,
        given["is_sure"],
        as_json,
        report_file,
    )


def _source(given: dict[str, Any]) -> Place:
    match _only(given, _FROM):
        case "--from":
            place: Place = given["from_place"]
            return place
        case "--from-local":
            return _local(given)
        case _:
            return Place(CLOUD)


def _target(given: dict[str, Any]) -> TargetDatabase:
    match _only(given, _TO):
        case "--to":
            return _target_at(given["to_place"], "--to")
        case "--to-local":
            return _target_at(_local(given), "--host" if given["host"] else "--path")
        case _:
            return TargetDatabase(CLOUD, source="--to-cloud")


def _target_at(place: Place, flag: str) -> TargetDatabase:
    if place.is_url:
        return TargetDatabase(place.text, source=flag)
    try:
        return TargetDatabase(path=directory(place.text), source=flag)
    except click.BadParameter as error:
        raise click.UsageError(f"{flag}: {error.message}") from error


def _local(given: dict[str, Any]) -> Place:
    host, path = given["host"], given["path"]
    if (host is None) == (path is None):
        raise click.UsageError("--from-local and --to-local need one of --path and --host")
    if host is None:
        return Place(str(path))
    return Place(host if is_server_url(host) else f"http://{host}")


def _only(given: dict[str, Any], flags: tuple[str, str, str]) -> str:
    """Return the one flag of several that was given."""
    names = {flag: flag[2:].replace("-", "_") for flag in flags}
    names[flags[0]] += "_place"
    chosen = [flag for flag, name in names.items() if given[name]]
    if len(chosen) != 1:
        raise click.UsageError(f"give one of {', '.join(flags)}")
    return chosen[0]


def _destination(given: dict[str, Any]) -> Destination:
    """Return where collections go; Chroma's cloud has a tenant for each key."""
    tenant, database = given["to_tenant"], given["to_database"]
    if given["to_cloud"]:
        database = database or given["db"]
        if database is None:
            raise InvalidArgumentError("--to-cloud needs the name of a database with --db")
        tenant = tenant or _cloud_tenant()
    return Destination(tenant, database, given["new_name"])


def _cloud_tenant() -> str | None:
    from pgchroma.model.operations import GetIdentity  # noqa: PLC0415  (only for the cloud)

    backend = server_backend(CLOUD, Settings())
    try:
        return backend.execute(GetIdentity()).tenant
    finally:
        backend.close()
