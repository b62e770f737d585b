"""SQLAlchemy's asynchronous classes. `_sync/sqlalchemy_types.py` has the synchronous ones."""

from __future__ import annotations

import asyncio
from typing import Any, Final

import psycopg
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession

from pgchroma.backends.preparing import conninfo_of, prepare_by_conninfo
from pgchroma.catalog.server_facts import ServerFacts
from pgchroma.config import Settings

__all__ = (
    "EXPECTED",
    "AsyncConnection",
    "AsyncEngine",
    "AsyncSession",
    "driver_of",
    "prepare_owned",
)

EXPECTED: Final = "a URL, or a SQLAlchemy AsyncEngine, AsyncConnection or AsyncSession"


async def driver_of(connection: AsyncConnection) -> psycopg.AsyncConnection[Any]:
    """Return psycopg's connection of SQLAlchemy's."""
    raw = await connection.get_raw_connection()
    return raw.driver_connection  # type: ignore[return-value]


async def prepare_owned(
    connection: psycopg.AsyncConnection[Any], settings: Settings
) -> ServerFacts:
    """Check or upgrade the catalog of a connection's database.

    Alembic is synchronous, so this uses another connection, in a thread.
    """
    return await asyncio.to_thread(prepare_by_conninfo, conninfo_of(connection), settings)
