"""Backends on embedded servers, which the clients of a directory share."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from pgchroma.backends._async.delegating import AsyncDelegatingBackend
from pgchroma.backends._async.io import in_thread, sharing_scope
from pgchroma.backends.embedded_servers import (
    EPHEMERAL,
    SharedServer,
    acquire,
    embedded_postgres,
    release,
    release_dropped,
)
from pgchroma.config import Settings
from pgchroma.errors import InvalidArgumentError

if TYPE_CHECKING:
    from pgchroma.backends._async.healing import AsyncHealingBackend
    from pgchroma.embedded import EmbeddedPostgres

__all__ = ("AsyncEmbeddedBackend", "ephemeral_backend", "persistent_backend", "shared_backend")


class AsyncEmbeddedBackend(AsyncDelegatingBackend):
    """One client's use of an embedded server and of the connections to it."""

    def __init__(self, shared: SharedServer[AsyncHealingBackend]) -> None:
        self._shared: SharedServer[AsyncHealingBackend] | None = shared
        self._finalizer = weakref.finalize(self, release_dropped, shared)
        self._finalizer.atexit = False

    async def close(self) -> None:
        """Release the server; the last client that does closes its connections."""
        shared, self._shared = self._shared, None
        if self._finalizer.detach() and shared is not None:
            await in_thread(release, shared)

    async def _delegate(self) -> AsyncHealingBackend:
        if self._shared is None:
            raise InvalidArgumentError("this client is closed")
        return self._shared.backend


async def ephemeral_backend(settings: Settings) -> AsyncEmbeddedBackend:
    """Return a backend on this process's temporary server.

    Raises:
        ValueError: This process uses it with other settings.
        MissingExtraError: A package that it needs is not installed.
    """
    servers = embedded_postgres("EphemeralClient")
    return await shared_backend(EPHEMERAL, settings, servers.open_ephemeral)


async def persistent_backend(
    path: str | Path, settings: Settings, *, create: bool = True
) -> AsyncEmbeddedBackend:
    """Return a backend on the server of a directory.

    Args:
        path: The directory.
        settings: How to connect.
        create: Whether to create a database in a directory that has none.

    Raises:
        InvalidArgumentError: The path is a URL or an address, cannot be a directory, or has no
            database while `create` is false.
        ValueError: This process uses the directory with other settings.
        MissingExtraError: A package that the server needs is not installed.
    """
    servers = embedded_postgres("PersistentClient")
    from pgchroma.embedded.directory import resolved  # noqa: PLC0415  (with its server)

    def start() -> EmbeddedPostgres:
        return servers.open(path, create=create)

    return await shared_backend(str(resolved(path)), settings, start)


async def shared_backend(
    location: str, settings: Settings, start: Callable[[], EmbeddedPostgres]
) -> AsyncEmbeddedBackend:
    """Return a backend on the server of a location, started or shared with other clients.

    Clients share connections within an event loop, or else within the process.
    """
    from pgchroma.backends._async.healing import AsyncHealingBackend  # noqa: PLC0415

    scope = sharing_scope()

    def use() -> tuple[SharedServer[AsyncHealingBackend], AsyncEmbeddedBackend]:
        shared = acquire(location, scope, settings, start, AsyncHealingBackend)
        # If the caller is cancelled, the backend is collected, and the server released.
        return shared, AsyncEmbeddedBackend(shared)

    shared, backend = await in_thread(use)
    try:
        await shared.backend.heal()
        await in_thread(shared.prepare_also, settings)
    except BaseException:
        await backend.close()
        raise
    return backend
