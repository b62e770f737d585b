"""``pgchroma browse``: looks at collections and records in the terminal."""

from __future__ import annotations

import sys

import click

from pgchroma.cli.collection_options import database_options
from pgchroma.cli.database import TargetDatabase, on_database
from pgchroma.cli.errors import CommandError, exit_on_error
from pgchroma.cli.printing import is_terminal
from pgchroma.extras import check_installed

__all__ = ("browse",)


@click.command(short_help="Browse collections and records in the terminal.")
@click.argument("collection", required=False)
@database_options
@on_database()
def browse(collection: str | None, tenant: str, database: str, target: TargetDatabase) -> None:
    """Browse the collections of a database in the terminal, or open one COLLECTION.

    It shows records in pages, filters them by metadata and by words of the document, and searches
    for similar ones, by a text or by a record. It changes nothing. The key ? lists the keys.
    """
    with exit_on_error():
        check_installed("textual", extra="browse")
    if not _has_terminal():
        raise CommandError("browse needs a terminal; see `pgchroma collections` for scripts")
    from pgchroma.cli.browser.app import Browser  # noqa: PLC0415  (an extra)
    from pgchroma.cli.browser.reading import Reader  # noqa: PLC0415

    with target.client(tenant, database) as client:
        reader = Reader(client)
        if collection is not None:
            reader.check(collection)
        app = Browser(reader, target.address(), collection)
        app.run()
    if app.return_code:
        raise SystemExit(app.return_code)


def _has_terminal() -> bool:
    return is_terminal(sys.stdin, sys.stdout)
