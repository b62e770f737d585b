"""Backends that the clients of one embedded server share within a process.

They share connections and what is known of collections. Each client holds the server by itself, so
that opening another one also starts a server again that has died meanwhile.
"""

from __future__ import annotations

import atexit
import os
from collections.abc import Callable
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, TypeVar

from pgchroma.backends.connect import connect
from pgchroma.config import Settings
from pgchroma.errors import InvalidArgumentError
from pgchroma.model.entities import Limits
from pgchroma.model.operations import Operation

if TYPE_CHECKING:
    from pgchroma.embedded import EmbeddedPostgres

__all__ = ("SharedBackend", "clear_system_cache", "ephemeral_backend", "persistent_backend")

R = TypeVar("R")

_EPHEMERAL = "ephemeral"


def ephemeral_backend(settings: Settings) -> SharedBackend:
    """Use this process's throw-away server."""
    from pgchroma.embedded import EmbeddedPostgres  # noqa: PLC0415  (only where it is used)

    return _share(_EPHEMERAL, settings, EmbeddedPostgres.open_ephemeral)


def persistent_backend(
    path: str | Path, settings: Settings, *, create: bool = True
) -> SharedBackend:
    """Use the server of a directory.

    Args:
        path: The directory.
        settings: How to connect.
        create: Whether a database is created in a directory that has none.

    Raises:
        InvalidArgumentError: The path is a URL or an address, cannot be a directory, or has no
            database while `create` is false.
        ValueError: This process uses the directory with other settings.
    """
    from pgchroma.embedded import EmbeddedPostgres  # noqa: PLC0415
    from pgchroma.embedded.directory import resolved  # noqa: PLC0415

    key = str(resolved(path))
    return _share(key, settings, lambda: EmbeddedPostgres.open(path, create=create))


def clear_system_cache() -> None:
    """Close the connections of every embedded server that this process uses.

    Clients that still use them are closed with them.
    """
    with _lock:
        withdrawn = list(_by_key.values())
        for connections in withdrawn:
            connections.withdraw()
    for connections in withdrawn:
        connections.close()


class SharedBackend:
    """One client's use of a server and of the connections to it."""

    is_joined = False

    def __init__(self, connections: _Connections, server: EmbeddedPostgres) -> None:
        self._connections: _Connections | None = connections
        self._server = server
        connections.users += 1

    def execute(self, operation: Operation[R]) -> R:
        """Carry an operation out; see `pgchroma.backends.base.Backend`."""
        return self._open().backend.execute(operation)

    def limits(self) -> Limits:
        """Tell what one request may carry."""
        return self._open().backend.limits()

    def close(self) -> None:
        """Leave the server; the last one closes its connections."""
        with _lock:
            connections, self._connections = self._connections, None
            if connections is None:
                return
            connections.users -= 1
            is_last = not connections.users
            if is_last:
                connections.withdraw()
        try:
            if is_last:
                # Beside the lock: a build may take seconds to end, and others open meanwhile.
                connections.close()
        finally:
            self._server.close()

    def _open(self) -> _Connections:
        if self._connections is None:
            raise InvalidArgumentError("this client is closed")
        return self._connections


class _Connections:
    def __init__(self, key: str, settings: Settings, conninfo: str) -> None:
        self.settings = settings
        self.users = 0
        self._key = key
        self.backend = connect(conninfo, settings)
        _by_key[key] = self
        # Registered after the server's own, so run before it: connections go first.
        atexit.register(self.close)

    def withdraw(self) -> None:
        """Have the next client connect anew."""
        atexit.unregister(self.close)
        if _by_key.get(self._key) is self:
            del _by_key[self._key]

    def close(self) -> None:
        self.withdraw()
        self.backend.close()


_by_key: dict[str, _Connections] = {}
_lock = Lock()


def _forget_parent() -> None:
    """In a fork's child: leave the parent's connections alone, also at exit."""
    global _lock  # noqa: PLW0603
    _lock = Lock()
    for connections in _by_key.values():
        atexit.unregister(connections.close)
    _by_key.clear()


os.register_at_fork(after_in_child=_forget_parent)


def _share(key: str, settings: Settings, start: Callable[[], EmbeddedPostgres]) -> SharedBackend:
    with _lock:
        known = _by_key.get(key)
        if known is not None and known.settings != settings:
            raise ValueError(
                f"An instance of Chroma already exists for {key} with different settings"
            )
        server = start()
        try:
            return SharedBackend(known or _Connections(key, settings, server.conninfo), server)
        except BaseException:
            server.close()
            raise
