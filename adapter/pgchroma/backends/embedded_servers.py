"""Embedded servers, and the connections to them, that the clients of a process share.

Clients of one directory share its server, its connections and what is cached of its collections.
The last client that is closed, or dropped without being closed, releases them. Connections of
asynchronous clients are shared within their event loop.
"""

from __future__ import annotations

import atexit
import os
import time
from collections.abc import Callable
from queue import Empty, SimpleQueue
from threading import Lock, Thread
from typing import TYPE_CHECKING, Any, Final, Generic, Protocol, TypeAlias, TypeVar

from pgchroma.config import Settings
from pgchroma.extras import check_driver

if TYPE_CHECKING:
    from pgchroma.embedded import EmbeddedPostgres

__all__ = (
    "EPHEMERAL",
    "SharedServer",
    "acquire",
    "clear_system_cache",
    "embedded_postgres",
    "release",
    "release_dropped",
)

LINGER: Final = 1.0
"""Seconds for which a server outlives its last client, if that was dropped without being closed:
an application that makes a client for every request would start a server for every request."""

EPHEMERAL: Final = "ephemeral"
"""Stands for the location of the process's temporary server."""

_NOT_SHARED: Final = {"pgchroma_http_timeout", "pgchroma_trust_stored_functions"}


class _Closable(Protocol):
    def close_now(self) -> None: ...


B = TypeVar("B", bound=_Closable)

_Key: TypeAlias = tuple[str, object]
"""A directory, or `EPHEMERAL`, and the event loop that connections belong to, if any."""


def embedded_postgres(user: str) -> type[EmbeddedPostgres]:
    """Return the class of embedded servers.

    Args:
        user: What needs a server, such as ``PersistentClient``.

    Raises:
        ImportError: There is no embedded PostgreSQL for this platform.
        MissingExtraError: A package that `user` needs is not installed. Nothing was created.
    """
    from pgchroma.embedded.platforms import check_embedded  # noqa: PLC0415

    check_embedded(user, offered="onnx")
    check_driver(user)
    from pgchroma.embedded import EmbeddedPostgres  # noqa: PLC0415

    return EmbeddedPostgres


def clear_system_cache() -> None:
    """Let the next client of a directory connect for itself, and the next ephemeral one be empty.

    Open clients keep working.
    """
    with _lock:
        was_ephemeral = any(location == EPHEMERAL for location, _ in _by_key)
        _by_key.clear()
    if was_ephemeral:
        from pgchroma.embedded import EmbeddedPostgres  # noqa: PLC0415

        EmbeddedPostgres.forget_ephemeral()


class SharedServer(Generic[B]):
    """A server with the connections to it, and the number of clients that use them."""

    def __init__(self, key: _Key, settings: Settings, server: EmbeddedPostgres, backend: B) -> None:
        self.settings = settings
        self.server = server
        self.backend = backend
        self.users = 0
        self._key = key
        # Registered after the server's own, so run before it: connections are closed first.
        atexit.register(self.close)

    def prepare_also(self, settings: Settings) -> None:
        """Check or upgrade the catalog for a client if earlier ones did not want that."""
        with _lock:
            if self.settings.migrations == "none" != settings.migrations:
                from pgchroma.backends.conninfo import complete_conninfo  # noqa: PLC0415
                from pgchroma.backends.preparing import prepare_by_conninfo  # noqa: PLC0415

                prepare_by_conninfo(complete_conninfo(self.server.conninfo), settings)
                self.settings = settings

    def invalidate(self) -> None:
        """Let the next client connect for itself."""
        if _by_key.get(self._key) is self:
            del _by_key[self._key]

    def close(self) -> None:
        """Close the connections, and release the server."""
        atexit.unregister(self.close)
        try:
            self.backend.close_now()
        finally:
            self.server.close()


_by_key: dict[_Key, SharedServer[Any]] = {}
_lock = Lock()
_dropped: SimpleQueue[SharedServer[Any]] = SimpleQueue()
_releasing: Thread | None = None


def _forget_parent() -> None:
    """In a forked child, leave the parent's connections alone, also at exit."""
    global _lock, _dropped, _releasing
    _lock, _dropped, _releasing = Lock(), SimpleQueue(), None
    for shared in _by_key.values():
        atexit.unregister(shared.close)
    _by_key.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_parent)


def acquire(
    location: str,
    scope: object,
    settings: Settings,
    start: Callable[[], EmbeddedPostgres],
    connect: Callable[[EmbeddedPostgres, Settings], B],
) -> SharedServer[B]:
    """Count one client more of a server; start it and connect to it if it is the first.

    Raises:
        ValueError: The connections were made with other settings.
    """
    key = location, scope
    with _lock:
        _release_in_background()
        shared = _by_key.get(key)
        if shared is not None and shared.server.is_gone():
            shared.invalidate()
            shared = None
        if shared is None:
            shared = _by_key[key] = _open(key, settings, start, connect)
        else:
            _check_same(location, shared.settings, settings)
        shared.users += 1
        return shared


def _open(
    key: _Key,
    settings: Settings,
    start: Callable[[], EmbeddedPostgres],
    connect: Callable[[EmbeddedPostgres, Settings], B],
) -> SharedServer[B]:
    server = start()
    try:
        return SharedServer(key, settings, server, connect(server, settings))
    except BaseException:
        server.close()
        raise


def _check_same(location: str, known: Settings, settings: Settings) -> None:
    """Refuse settings that the connections of another client do not have."""
    ours, theirs = _connecting(settings), _connecting(known)
    different = [name for name in ours if ours[name] != theirs[name]]
    if different:
        raise ValueError(
            f"An instance of Chroma already exists for {location} with different settings:"
            f" {', '.join(different)}; close its clients first, or give the same settings"
        )


def _connecting(settings: Settings) -> dict[str, Any]:
    """Return the settings that connections are made with."""
    return {
        name: value
        for name, value in settings.model_dump().items()
        if name == "allow_reset" or (name.startswith("pgchroma_") and name not in _NOT_SHARED)
    }


def release(used: SharedServer[Any]) -> None:
    """Count one client less of a server and of dropped ones; close those that no client uses."""
    unused = []
    with _lock:
        for shared in (used, *_all_dropped()):
            shared.users -= 1
            if not shared.users:
                shared.invalidate()
                unused.append(shared)
    for shared in unused:
        # Without the lock: a build may take seconds to end, and other clients open in that time.
        shared.close()


def release_dropped(shared: SharedServer[Any]) -> None:
    """Release the server of a client that was collected, a little later and in another thread.

    Garbage is collected at any moment, also while this thread holds the lock.
    """
    _dropped.put(shared)


def _all_dropped() -> list[SharedServer[Any]]:
    found = []
    while True:
        try:
            found.append(_dropped.get_nowait())
        except Empty:
            return found


def _release_in_background() -> None:
    """Start the thread that releases the servers of dropped clients."""
    global _releasing  # noqa: PLW0603
    if _releasing is None:
        _releasing = Thread(
            target=_release_forever, args=(_dropped,), name="pgchroma-release", daemon=True
        )
        _releasing.start()


def _release_forever(dropped: SimpleQueue[SharedServer[Any]]) -> None:
    while True:
        first = dropped.get()
        time.sleep(LINGER)
        release(first)
