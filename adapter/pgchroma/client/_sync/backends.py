# Generated from _async/backends.py by tools/unasync.py; edit that and run `make fmt`.
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
    from pgchroma.backends._sync.base import Backend
    from pgchroma.backends._sync.direct import DirectBackend
    from pgchroma.backends._sync.embedded import EmbeddedBackend
    from pgchroma.backends._sync.http import HttpBackend

__all__ = (
    "backend_of",
    "ephemeral_backend",
    "http_backend",
    "persistent_backend",
    "postgres_backend",
)


def backend_of(origin: Origin) -> Backend:
    """Connect to where a pickled client's data is."""
    settings = origin.settings()
    match origin.kind:
        case "ephemeral":
            return ephemeral_backend(settings)
        case "directory":
            return persistent_backend(origin.target, settings)
        case "postgres":
            return postgres_backend(origin.target, settings)
        case "server":
            return http_backend(settings)


def ephemeral_backend(settings: Settings) -> EmbeddedBackend:
    """Return a backend on this process's temporary server."""
    from pgchroma.backends._sync.embedded import ephemeral_backend as connect  # noqa: PLC0415

    return connect(settings)


def persistent_backend(path: str | Path, settings: Settings) -> EmbeddedBackend:
    """Return a backend on the server of a directory."""
    from pgchroma.backends._sync.embedded import persistent_backend as connect  # noqa: PLC0415

    return connect(path, settings)


def postgres_backend(target: object, settings: Settings) -> DirectBackend:
    """Connect to a database; see `pgchroma.backends._sync.connect.connect`.

    Raises:
        MissingExtraError: psycopg or libpq is not installed.
    """
    check_driver("PostgresClient")
    from pgchroma.backends._sync.connect import connect  # noqa: PLC0415

    return connect(target, settings)


def http_backend(settings: Settings) -> HttpBackend:
    """Return a backend on the server of the settings."""
    from pgchroma.backends._sync.http import HttpBackend  # noqa: PLC0415

    return HttpBackend(endpoint_of(settings))
