"""Backends that the clients of one embedded server share within a process.

They share connections and what is known of collections. The last client that is closed, or dropped
without being closed, lets go of the server.
"""

from __future__ import annotations

import atexit
import os
import time
import weakref
from collections.abc import Callable
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Lock, Thread
from typing import TYPE_CHECKING, Any, Final, TypeVar

from pgchroma.client.postgres import embedded_postgres, postgres_backend
from pgchroma.config import Settings
from pgchroma.errors import InvalidArgumentError
from pgchroma.model.entities import Limits
from pgchroma.model.operations import Operation

if TYPE_CHECKING:
    from pgchroma.embedded import EmbeddedPostgres

__all__ = ("EmbeddedBackend", "clear_system_cache", "ephemeral_backend", "persistent_backend")

R = TypeVar("R")

LINGER: Final = 1.0
"""Seconds for which a server outlives its last client, if that was dropped without being closed:
an application that makes a client for every request would start a server for every request."""

_EPHEMERAL: Final = "ephemeral"
_NOT_SHARED: Final = {"pgchroma_http_timeout", "pgchroma_trust_stored_functions"}


def ephemeral_backend(settings: Settings) -> EmbeddedBackend:
    """Use this process's throw-away server.

    Raises:
        ValueError: This process uses it with other settings.
        MissingExtraError: A package that it needs is not installed.
    """
    servers = embedded_postgres("EphemeralClient")
    return _share(_EPHEMERAL, settings, servers.open_ephemeral)


def persistent_backend(
    path: str | Path, settings: Settings, *, create: bool = True
) -> EmbeddedBackend:
    """Use the server of a directory.

    Args:
        path: The directory.
        settings: How to connect.
        create: Whether a database is created in a directory that has none.

    Raises:
        InvalidArgumentError: The path is a URL or an address, cannot be a directory, or has no
            database while `create` is false.
        ValueError: This process uses the directory with other settings.
        MissingExtraError: A package that the server needs is not installed.
    """
    servers = embedded_postgres("PersistentClient")
    from pgchroma.embedded.directory import resolved  # noqa: PLC0415

    key = str(resolved(path))
    return _share(key, settings, lambda: servers.open(path, create=create))


def clear_system_cache() -> None:
    """Have the next client of a directory connect for itself, and the next ephemeral one be empty.

    Clients that are open go on working.
    """
    with _lock:
        was_ephemeral = _EPHEMERAL in _by_key
        _by_key.clear()
    if was_ephemeral:
        from pgchroma.embedded import EmbeddedPostgres  # noqa: PLC0415

        EmbeddedPostgres.forget_ephemeral()


class EmbeddedBackend:
    """One client's use of a server and of the connections to it."""

    in_caller_transaction = False

    def __init__(self, connections: _Connections) -> None:
        self._connections: _Connections | None = connections
        # Garbage is collected at any moment, also in the middle of what holds the lock.
        self._drop = weakref.finalize(self, _dropped.put, connections)
        self._drop.atexit = False
        connections.users += 1

    def execute(self, operation: Operation[R]) -> R:
        """Carry an operation out; see `pgchroma.backends._sync.base.Backend`."""
        return self._open().backend.execute(operation)

    def limits(self) -> Limits:
        """Tell what one request may carry."""
        return self._open().backend.limits()

    def close(self) -> None:
        """Leave the server; the last one closes its connections."""
        connections, self._connections = self._connections, None
        if self._drop.detach() and connections is not None:
            _release([connections, *_all_dropped()])

    def _open(self) -> _Connections:
        if self._connections is None:
            raise InvalidArgumentError("this client is closed")
        return self._connections


class _Connections:
    """A server with the connections to it, and how many clients use them."""

    def __init__(self, key: str, settings: Settings, server: EmbeddedPostgres) -> None:
        from pgchroma.client.healing import HealingBackend  # noqa: PLC0415  (with its server)

        self.settings = settings
        self.server = server
        self.users = 0
        self._key = key
        self.backend = HealingBackend(server, settings)
        _by_key[key] = self
        # Registered after the server's own, so run before it: connections go first.
        atexit.register(self.close)

    def withdraw(self) -> None:
        """Have the next client connect for itself."""
        if _by_key.get(self._key) is self:
            del _by_key[self._key]

    def close(self) -> None:
        atexit.unregister(self.close)
        try:
            self.backend.close()
        finally:
            self.server.close()


_by_key: dict[str, _Connections] = {}
_lock = Lock()
_dropped: SimpleQueue[_Connections] = SimpleQueue()
_releasing: Thread | None = None


def _forget_parent() -> None:
    """In a fork's child: leave the parent's connections alone, also at exit."""
    global _lock, _dropped, _releasing
    _lock, _dropped, _releasing = Lock(), SimpleQueue(), None
    for connections in _by_key.values():
        atexit.unregister(connections.close)
    _by_key.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_parent)


def _share(key: str, settings: Settings, start: Callable[[], EmbeddedPostgres]) -> EmbeddedBackend:
    with _lock:
        _release_in_background()
        known = _by_key.get(key)
        if known is not None and known.server.is_gone():
            known.withdraw()
            known = None
        if known is not None:
            _check_same(key, known.settings, settings)
            known.backend.heal()
            _prepare_too(known, settings)
            return EmbeddedBackend(known)
        server = start()
        try:
            return EmbeddedBackend(_Connections(key, settings, server))
        except BaseException:
            server.close()
            raise


def _check_same(key: str, known: Settings, settings: Settings) -> None:
    """Refuse settings that the connections of another client do not have."""
    ours, theirs = _connecting(settings), _connecting(known)
    different = [name for name in ours if ours[name] != theirs[name]]
    if different:
        raise ValueError(
            f"An instance of Chroma already exists for {key} with different settings:"
            f" {', '.join(different)}; close its clients first, or give the same settings"
        )


def _connecting(settings: Settings) -> dict[str, Any]:
    """Return the settings that connections are made with."""
    given = settings.model_dump()
    return {
        name: value
        for name, value in given.items()
        if name == "allow_reset" or (name.startswith("pgchroma_") and name not in _NOT_SHARED)
    }


def _prepare_too(known: _Connections, settings: Settings) -> None:
    """Look after the catalog if the clients before did not want that."""
    if known.settings.migrations == "none" != settings.migrations:
        postgres_backend(known.server.conninfo, settings).close()
        known.settings = settings


def _release(users: list[_Connections]) -> None:
    """Count one client less for each, and close what has no clients any more."""
    last = []
    with _lock:
        for connections in users:
            connections.users -= 1
            if not connections.users:
                connections.withdraw()
                last.append(connections)
    for connections in last:
        # Without the lock: a build may take seconds to end, and others open meanwhile.
        connections.close()


def _all_dropped() -> list[_Connections]:
    found = []
    while True:
        try:
            found.append(_dropped.get_nowait())
        except Empty:
            return found


def _release_in_background() -> None:
    """Start the thread that looks after dropped clients, which cannot close anything themselves."""
    global _releasing  # noqa: PLW0603
    if _releasing is None:
        _releasing = Thread(
            target=_release_dropped, args=(_dropped,), name="pgchroma-release", daemon=True
        )
        _releasing.start()


def _release_dropped(dropped: SimpleQueue[_Connections]) -> None:
    while True:
        first = dropped.get()
        time.sleep(LINGER)
        _release([first, *_all_dropped()])
