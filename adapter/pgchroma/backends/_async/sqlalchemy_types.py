"""SQLAlchemy's asynchronous classes. `_sync/sqlalchemy_types.py` has the synchronous ones."""

from __future__ import annotations

from typing import Any, Final

import psycopg
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession

__all__ = ("EXPECTED", "AsyncConnection", "AsyncEngine", "AsyncSession", "driver_of")

EXPECTED: Final = "a URL, or a SQLAlchemy AsyncEngine, AsyncConnection or AsyncSession"


async def driver_of(connection: AsyncConnection) -> psycopg.AsyncConnection[Any]:
    """Return psycopg's connection of SQLAlchemy's."""
    raw = await connection.get_raw_connection()
    return raw.driver_connection  # type: ignore[return-value]
