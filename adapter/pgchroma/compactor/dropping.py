"""Dropping the tables of deleted databases after the deletion.

This uses a separate connection, which may go through a pooler: no state outlives a transaction.
"""

from __future__ import annotations

import logging
from threading import Event
from typing import Final

import psycopg

from pgchroma.store import run
from pgchroma.store.discarded import Leftovers, drop_discarded
from pgchroma.store.roles import drop_roles
from pgchroma.store.running.errors import primary_message
from pgchroma.store.waits import COMPACTOR

__all__ = ("drop_all_discarded",)

_log = logging.getLogger("pgchroma.compaction")

STOP_CHECK_SECONDS: Final = 0.5
"""Seconds between two checks whether to stop."""


def drop_all_discarded(conninfo: str, stop: Event) -> str | None:
    """Drop the tables of all deleted databases, and the roles of tenants that no longer exist.

    Args:
        conninfo: The PostgreSQL database.
        stop: Set to leave the rest for later.

    Returns:
        What could not be dropped, and why; `None` if everything could be dropped.
    """
    try:
        with psycopg.connect(
            conninfo, autocommit=True, application_name=COMPACTOR, prepare_threshold=None
        ) as connection:
            return _drop_all(connection, stop)
    except psycopg.Error as error:
        return primary_message(error)


def _drop_all(connection: psycopg.Connection[object], stop: Event) -> str | None:
    dropped = 0
    while not stop.is_set():
        leftovers: Leftovers = run(connection, drop_discarded(STOP_CHECK_SECONDS))
        dropped += leftovers.dropped
        if leftovers.is_done and dropped:
            run(connection, drop_roles())
            _log.info("dropped %d tables, views and schemas of deleted databases", dropped)
        if leftovers.is_done or not leftovers.dropped:
            return leftovers.obstacle
    return None
