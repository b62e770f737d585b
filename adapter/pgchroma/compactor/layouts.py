"""Upgrading the tables of collections that have an older layout, one collection at a time.

This uses a separate connection, which may go through a pooler: no state outlives a transaction.
"""

from __future__ import annotations

import logging
from threading import Event
from typing import Any, Final

import psycopg

from pgchroma.store import run
from pgchroma.store.layout.upgrading import OldCollection, find_old, upgrade_collection
from pgchroma.store.running.errors import primary_message
from pgchroma.store.waits import COMPACTOR

__all__ = ("upgrade_layouts",)

_log = logging.getLogger("pgchroma.compaction")

LOCK_TIMEOUT: Final = "500ms"
"""The longest wait for a lock. Writers that come later wait behind it."""


def upgrade_layouts(conninfo: str, stop: Event) -> list[tuple[str, str]]:
    """Upgrade the tables of all collections with an older layout.

    Args:
        conninfo: The PostgreSQL database.
        stop: Set to leave the rest for later.

    Returns:
        The names of the collections whose tables could not be upgraded, and why.

    Raises:
        psycopg.Error: The database cannot be reached, or the catalog cannot be read.
    """
    with psycopg.connect(
        conninfo, autocommit=True, application_name=COMPACTOR, prepare_threshold=None
    ) as connection:
        old: list[OldCollection] = run(connection, find_old())
        obstacles = []
        for collection in old:
            if stop.is_set():
                break
            obstacle = _upgrade(connection, collection)
            if obstacle is not None:
                obstacles.append((collection.name, obstacle))
        return obstacles


def _upgrade(connection: psycopg.Connection[Any], collection: OldCollection) -> str | None:
    """Upgrade the tables of a collection; return why that is not possible now."""
    try:
        run(connection, upgrade_collection(collection.id, LOCK_TIMEOUT))
    except psycopg.Error as error:
        if connection.closed:
            raise
        return primary_message(error)
    _log.info("upgraded the tables of collection %s to the present layout", collection.name)
    return None
