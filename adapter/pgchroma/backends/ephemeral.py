"""The backend on this process's temporary server."""

from __future__ import annotations

from pgchroma.backends._sync.embedded import EmbeddedBackend, shared_backend
from pgchroma.backends.embedded_servers import EPHEMERAL, embedded_postgres
from pgchroma.config import Settings

__all__ = ("ephemeral_backend",)


def ephemeral_backend(settings: Settings) -> EmbeddedBackend:
    """Return a backend on this process's temporary server.

    Raises:
        ValueError: This process uses it with other settings.
        MissingExtraError: A package that it needs is not installed.
    """
    servers = embedded_postgres("EphemeralClient")
    return shared_backend(EPHEMERAL, settings, servers.open_ephemeral)
