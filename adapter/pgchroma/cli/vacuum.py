"""``pgchroma vacuum``: compacts collections and gives their unused space back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import click
import psycopg
from psycopg import errors as pg

from pgchroma.catalog.upgrade import prepare
from pgchroma.cli.compact import compact_once
from pgchroma.cli.confirmation import confirm, yes_option
from pgchroma.cli.database import TargetDatabase, on_database
from pgchroma.cli.errors import CommandError
from pgchroma.cli.printing import json_option, print_json, print_table, printable, size_text
from pgchroma.compactor.maintenance import set_for_session
from pgchroma.compactor.reclaiming import reclaim, tables_of
from pgchroma.store.running._sync.driver import run
from pgchroma.store.running.steps import Steps
from pgchroma.store.statistics import StoredCollection, stored_collections

__all__ = ("vacuum",)

_SIZES = ("before", "after", "reclaimed")


@click.command(short_help="Compact collections and reclaim their unused space.")
@click.option("--collection", "names", multiple=True, help="Only collections of this name.")
@click.option(
    "--full",
    is_flag=True,
    help="Write tables and indexes again, so that the disk gets all of the space back. Each table "
    "is locked while that lasts, for reads, too.",
)
@click.option(
    "--timeout",
    type=click.IntRange(min=1),
    default=5,
    show_default=True,
    help="Seconds to wait for other sessions that use a table; then it is left as it is.",
)
@yes_option("--force")
@json_option
@on_database()
def vacuum(
    target: TargetDatabase,
    names: tuple[str, ...],
    full: bool,
    timeout: int,
    is_sure: bool,
    as_json: bool,
) -> None:
    """Compact collections, vacuum their tables, and show the space that was reclaimed.

    Compaction merges the indexes of each collection, as `pgchroma compact --wait` does. Without
    --full the space of deleted records is used for later records, and only what is at the end of a
    table goes back to the disk. Reads and writes continue.
    """
    what = "rewrite the tables of" if full else "vacuum"
    which = ", ".join(map(printable, names)) if names else "all collections"
    with target.connection() as connection:
        prepare(connection, "validate")
        confirm(is_sure, f"Compact and {what} {which} in {target.address()}?")
        before = _collections(connection, names)
        report, settings = compact_once(target, names, wait=True)
        # A rewritten table gets its HNSW indexes again.
        session = {"lock_timeout": f"{timeout}s"}
        if full:
            session["maintenance_work_mem"] = f"{settings.memory >> 10}kB"
        problems = _reclaim_all(connection, before, session, rewrites=full)
        after = _collections(connection, names)
    sizes = [_change(each, after) for each in before]
    if as_json:
        print_json(sizes)
    else:
        _print(sizes)
    if problems:
        raise CommandError("; ".join(problems))
    if report.failed or report.discarded is not None:
        raise SystemExit(1)


def _collections(
    connection: psycopg.Connection[Any], names: Sequence[str]
) -> list[StoredCollection]:
    found: list[StoredCollection] = run(connection, stored_collections())
    return [each for each in found if not names or each.name in names]


def _reclaim_all(
    connection: psycopg.Connection[Any],
    collections: Sequence[StoredCollection],
    session: Mapping[str, str],
    *,
    rewrites: bool,
) -> list[str]:
    """Vacuum the tables of collections; return what could not be done."""
    warnings: list[str] = []
    # PostgreSQL only warns if the user may not vacuum a table.
    connection.add_notice_handler(lambda notice: _note(notice, warnings))
    run(connection, _settings_of(session))
    problems = (_problem(connection, each, warnings, rewrites=rewrites) for each in collections)
    return [problem for problem in problems if problem is not None]


def _problem(
    connection: psycopg.Connection[Any],
    collection: StoredCollection,
    warnings: list[str],
    *,
    rewrites: bool,
) -> str | None:
    """Vacuum the tables of a collection up to the first that cannot be, and say why not."""
    name, tables = printable(collection.name), collection.tables
    for table in run(connection, tables_of(tables.id.hex, tables.schema)):
        warnings.clear()
        try:
            connection.execute(reclaim(table, rewrites=rewrites).text)
        except pg.UndefinedTable:
            continue
        except pg.LockNotAvailable:
            return f"{name}: another session uses its tables"
        if warnings:
            return f"{name}: {warnings[0]}"
    return None


def _settings_of(session: Mapping[str, str]) -> Steps[None]:
    for name, value in session.items():
        yield set_for_session(name, value)


def _note(notice: psycopg.errors.Diagnostic, warnings: list[str]) -> None:
    if notice.severity_nonlocalized == "WARNING":
        warnings.append(notice.message_primary or "PostgreSQL warned without a message")


def _change(before: StoredCollection, after: Sequence[StoredCollection]) -> dict[str, Any]:
    now = next((each for each in after if each.tables.id == before.tables.id), None)
    old, new = before.sizes.total, 0 if now is None else now.sizes.total
    return {
        "tenant": before.tenant,
        "database": before.database,
        "name": before.name,
        "bytes_before": old,
        "bytes_after": new,
        "bytes_reclaimed": old - new,
    }


def _print(sizes: Sequence[dict[str, Any]]) -> None:
    names: tuple[str, ...] = ("tenant", "database", "name")
    keys = ("bytes_before", "bytes_after", "bytes_reclaimed")
    if len({(each["tenant"], each["database"]) for each in sizes}) == 1:
        names = ("name",)
    print_table(
        (*names, *_SIZES),
        ((*(each[name] for name in names), *(_text(each[key]) for key in keys)) for each in sizes),
    )
    total = sum(each["bytes_reclaimed"] for each in sizes)
    click.echo(f"reclaimed {size_text(total)}" if total > 0 else "there was nothing to reclaim")


def _text(size: int) -> str:
    return size_text(size) if size >= 0 else f"-{size_text(-size)}"
