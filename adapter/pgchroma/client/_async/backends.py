"""Backends of clients.

What they consist of is imported with the first of each kind: a client of a server needs neither
psycopg nor the time to import it.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pgchroma.client.endpoints import endpoint_of
from pgchroma.client.origin import Origin
from pgchroma.config import Settings
from pgchroma.extras import check_driver

if TYPE_CHECKING:
    from pgchroma.backends._async.base import AsyncBackend
    from pgchroma.backends._async.direct import AsyncDirectBackend
    from pgchroma.backends._async.embedded import AsyncEmbeddedBackend
    from pgchroma.backends._async.http import AsyncHttpBackend

__all__ = (
    "backend_of",
    "ephemeral_backend",
    "http_backend",
    "persistent_backend",
    "postgres_backend",
)


async def backend_of(origin: Origin) -> AsyncBackend:
    """Connect to where a pickled client's data is."""
    settings = origin.settings()
    match origin.kind:
        case "ephemeral":
            return await ephemeral_backend(settings)
        case "directory":
            return await persistent_backend(origin.target, settings)
        case "postgres":
            return await postgres_backend(origin.target, settings)
        case "server":
            return http_backend(settings)


async def ephemeral_backend(settings: Settings) -> AsyncEmbeddedBackend:
    """Return a backend on this process's temporary server."""
    from pgchroma.backends._async.embedded import ephemeral_backend as connect  # noqa: PLC0415

    return await connect(settings)


async def persistent_backend(path: str | Path, settings: Settings) -> AsyncEmbeddedBackend:
    """Return a backend on the server of a directory."""
    from pgchroma.backends._async.embedded import persistent_backend as connect  # noqa: PLC0415

    return await connect(path, settings)


async def postgres_backend(target: object, settings: Settings) -> AsyncDirectBackend:
    """Connect to a database; see `pgchroma.backends._async.connect.connect`.

    Raises:
        MissingExtraError: psycopg or libpq is not installed.
    """
    check_driver("AsyncPostgresClient")
    from pgchroma.backends._async.connect import connect  # noqa: PLC0415

    return await connect(target, settings)


def http_backend(settings: Settings) -> AsyncHttpBackend:
    """Return a backend on the server of the settings."""
    from pgchroma.backends._async.http import AsyncHttpBackend  # noqa: PLC0415

    return AsyncHttpBackend(endpoint_of(settings))
