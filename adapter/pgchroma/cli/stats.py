"""``pgchroma stats``: what collections contain, and how much space they take."""

from __future__ import annotations

from typing import Any

import click

from pgchroma.cli.database import TargetDatabase, on_database
from pgchroma.cli.errors import CommandError
from pgchroma.cli.measuring import measured
from pgchroma.cli.printing import (
    json_option,
    print_json,
    print_table,
    printable,
    size_text,
    time_text,
)
from pgchroma.model.names import DEFAULT_DATABASE, DEFAULT_TENANT
from pgchroma.model.plain import count_text
from pgchroma.store.statistics import CollectionStatistics

__all__ = ("stats",)

_PARTS = {
    "records": "records (ids, documents, URIs, metadata)",
    "record_indexes": "indexes of records",
    "embeddings": "embeddings",
    "segments": "HNSW indexes",
    "sparse": "sparse vectors and words",
    "shadow": "pending or previous embeddings",
    "other": "counts and log position",
}


@click.command(short_help="Show rows, sizes, indexes and the last write.")
@click.argument("collection", required=False)
@click.option("--tenant", help="Only this tenant. [default for COLLECTION: default_tenant]")
@click.option("--database", help="Only this database. [default for COLLECTION: default_database]")
@json_option
@on_database()
def stats(
    collection: str | None,
    tenant: str | None,
    database: str | None,
    as_json: bool,
    target: TargetDatabase,
) -> None:
    """Show rows, sizes, indexes and the last write of all collections, or of one COLLECTION.

    The tail is the number of embeddings without an index, which a search scans. Dead is the share
    of the indexes' entries whose embeddings were deleted or replaced; `pgchroma compact` rebuilds
    an index when a fifth of it is dead. The rows are counted, which takes seconds in a large
    collection. This needs SQL: the URL of a database, not that of a server.
    """
    if collection is not None:
        tenant, database = tenant or DEFAULT_TENANT, database or DEFAULT_DATABASE
    found = measured(target, tenant, database, collection)
    if collection is not None and not found:
        raise CommandError(f"Collection [{collection}] does not exist", 2)
    if as_json:
        shown = [_as_json(each) for each in found]
        print_json(shown if collection is None else shown[0])
    elif collection is None:
        _print_all(found)
    else:
        _print_one(found[0])


def _as_json(found: CollectionStatistics) -> dict[str, Any]:
    stored = found.stored
    return {
        "tenant": stored.tenant,
        "database": stored.database,
        "name": stored.name,
        "id": stored.tables.id,
        "schema": stored.tables.schema,
        "rows": found.records,
        "embeddings": found.embeddings,
        "dimension": stored.dimension,
        "bytes": {**stored.sizes.parts(), "total": stored.sizes.total},
        "segments": len(stored.segments),
        "indexed": found.indexed,
        "tail": found.tail,
        "dead_share": round(found.dead_share, 4),
        "last_write": found.last_write,
        "index_error": stored.index_error,
    }


def _print_all(found: list[CollectionStatistics]) -> None:
    columns: tuple[str, ...] = ("name", "rows", "size", "segments", "tail", "dead", "last write")
    has_several = len({(each.stored.tenant, each.stored.database) for each in found}) > 1
    if has_several:
        columns = ("tenant", "database", *columns)
    print_table(columns, (_cells(each, has_several=has_several) for each in found))
    total = sum(each.stored.sizes.total for each in found)
    rows = sum(each.records for each in found)
    counts = (count_text(len(found), "collection"), count_text(rows, "row"))
    click.echo(f"{', '.join(counts)}, {size_text(total)}")
    for each in found:
        if each.stored.index_error:
            click.echo(f"{printable(each.stored.name)}: {printable(each.stored.index_error)}")


def _cells(each: CollectionStatistics, *, has_several: bool) -> tuple[object, ...]:
    stored = each.stored
    last = None if each.last_write is None else time_text(each.last_write)
    place = (stored.tenant, stored.database) if has_several else ()
    size, dead = size_text(stored.sizes.total), f"{each.dead_share:.0%}"
    counts = (each.records, size, len(stored.segments), each.tail, dead)
    return (*place, stored.name, *counts, last)


def _print_one(found: CollectionStatistics) -> None:
    stored = found.stored
    counts = (count_text(found.records, "row"), count_text(found.embeddings, "embedding"))
    click.echo(f"{printable(stored.name)}: {', '.join(counts)}")
    click.echo(
        f"{count_text(len(stored.segments), 'segment')} with {found.indexed:,} entries, "
        f"{found.dead_share:.0%} of them dead; tail of {count_text(found.tail, 'embedding')}"
    )
    if found.last_write is not None:
        click.echo(f"last write {time_text(found.last_write)}")
    if stored.index_error:
        click.echo(f"the last build of an index failed: {printable(stored.index_error)}")
    sizes = [(_PARTS[name], size_text(size)) for name, size in stored.sizes.parts().items() if size]
    print_table(("part", "size"), [*sizes, ("total", size_text(stored.sizes.total))])
