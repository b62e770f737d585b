"""Backends that talk to PostgreSQL themselves.

What they consist of is imported with the first of them: a client of a server needs neither psycopg
nor the time to import it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pgchroma.extras import check_driver

if TYPE_CHECKING:
    from pgchroma.backends._async.direct import AsyncDirectBackend
    from pgchroma.backends._sync.direct import DirectBackend
    from pgchroma.config import Settings

__all__ = ("postgres_backend", "postgres_backend_async")


def postgres_backend(target: object, settings: Settings) -> DirectBackend:
    """Connect to a database; see `pgchroma.backends._sync.connect.connect`.

    Raises:
        MissingExtraError: psycopg or libpq is not installed.
    """
    check_driver("PostgresClient")
    from pgchroma.backends._sync.connect import connect  # noqa: PLC0415

    return connect(target, settings)


async def postgres_backend_async(target: object, settings: Settings) -> AsyncDirectBackend:
    """Do what `postgres_backend` does; the SQLAlchemy objects are the asynchronous ones."""
    check_driver("AsyncPostgresClient")
    from pgchroma.backends._async.connect import connect as connect_async  # noqa: PLC0415

    return await connect_async(target, settings)
