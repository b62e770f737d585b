"""SQLAlchemy's asynchronous classes. `_sync/sqlalchemy_types.py` has the synchronous ones."""

from __future__ import annotations

import asyncio
from typing import Any, Final

import psycopg
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession

from pgchroma.backends._async.sources import AsyncConnectionSource
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
    source: AsyncConnectionSource, settings: Settings
) -> tuple[str, ServerFacts]:
    """Check or upgrade the catalog of a source's database; return its connection string, too.

    Alembic is synchronous, so this uses another connection, in a thread. The source's connection
    is given back before: it may be the only one that the caller has.
    """
    async with source.connection() as connection:
        conninfo = conninfo_of(connection)
    return conninfo, await asyncio.to_thread(prepare_by_conninfo, conninfo, settings)
