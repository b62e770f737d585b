"""Read the statistics of collections by SQL."""

from __future__ import annotations

from typing import Any

import psycopg
from psycopg import errors as pg

from pgchroma.catalog.upgrade import prepare
from pgchroma.cli.database import TargetDatabase
from pgchroma.store.running._sync.driver import run
from pgchroma.store.statistics import (
    CollectionStatistics,
    StoredCollection,
    collection_statistics,
    stored_collections,
)

__all__ = ("measured",)


def measured(
    target: TargetDatabase,
    tenant: str | None = None,
    database: str | None = None,
    name: str | None = None,
) -> list[CollectionStatistics]:
    """Return the statistics of collections.

    Args:
        target: The PostgreSQL database.
        tenant: Only collections of this tenant.
        database: Only collections of Chroma's databases of this name.
        name: Only collections of this name.
    """
    with target.connection() as connection:
        prepare(connection, "validate")
        found: list[StoredCollection] = run(connection, stored_collections(tenant, database, name))
        counted = (_counted(connection, stored) for stored in found)
        return [each for each in counted if each is not None]


def _counted(
    connection: psycopg.Connection[Any], stored: StoredCollection
) -> CollectionStatistics | None:
    for is_last in (False, True):
        try:
            counted: CollectionStatistics = run(
                connection, collection_statistics(stored), role=stored.role
            )
            return counted
        except (pg.UndefinedTable, pg.InvalidSchemaName):
            # It was deleted since, or its embeddings were exchanged.
            again = stored_collections(stored.tenant, stored.database, stored.name)
            found: list[StoredCollection] = run(connection, again)
            if is_last or not found:
                return None
            stored = found[0]
    return None
