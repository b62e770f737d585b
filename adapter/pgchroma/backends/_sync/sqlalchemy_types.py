"""SQLAlchemy's synchronous classes. `_async/sqlalchemy_types.py` has the asynchronous ones."""

from __future__ import annotations

from typing import Any, Final

import psycopg
from sqlalchemy import Connection, Engine
from sqlalchemy.orm import Session

from pgchroma.backends._sync.sources import ConnectionSource
from pgchroma.backends.preparing import conninfo_of, prepare_catalog
from pgchroma.catalog.server_facts import ServerFacts
from pgchroma.config import Settings

__all__ = ("EXPECTED", "Connection", "Engine", "Session", "driver_of", "prepare_owned")

EXPECTED: Final = "a URL, or a SQLAlchemy Engine, Connection or Session"


def driver_of(connection: Connection) -> psycopg.Connection[Any]:
    """Return psycopg's connection of SQLAlchemy's."""
    return connection.connection.driver_connection  # type: ignore[return-value]


def prepare_owned(source: ConnectionSource, settings: Settings) -> tuple[str, ServerFacts]:
    """Check or upgrade the catalog of a source's database; return its connection string, too."""
    with source.connection() as connection:
        return conninfo_of(connection), prepare_catalog(connection, settings)
