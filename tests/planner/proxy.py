"""A proxy between a client and PostgreSQL that counts round trips."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from selectors import EVENT_READ, DefaultSelector
from typing import Any

from psycopg.conninfo import conninfo_to_dict, make_conninfo

# A client waits for the answer to Query or Sync. It does not wait in the middle of a pipeline, even
# if the server has sent a notice by then.
_AWAITED = (b"Q", b"S")


@dataclass
class Counted:
    """A database behind a proxy.

    Attributes:
        conninfo: The way through it.
        trips: How many messages the clients sent that they wait for.
    """

    conninfo: str
    trips: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def drain(self) -> int:
        """Return the number of round trips since the last call."""
        with self._lock:
            trips, self.trips = self.trips, 0
        return trips

    def add(self, trips: int) -> None:
        with self._lock:
            self.trips += trips


@dataclass
class _Messages:
    """The messages of a client, as their bytes arrive."""

    _rest: bytes = b""
    _is_started: bool = False

    def count_awaited(self, data: bytes) -> int:
        """Return how many messages that the client waits for are complete with these bytes."""
        self._rest += data
        awaited = 0
        # The first message has no type.
        while len(self._rest) >= (header := 4 + self._is_started):
            length = int.from_bytes(self._rest[header - 4 : header], "big") + header - 4
            if len(self._rest) < length:
                break
            awaited += self._rest[: header - 4] in _AWAITED
            self._rest = self._rest[length:]
            self._is_started = True
        return awaited


@contextmanager
def counting(conninfo: str, directory: Path) -> Iterator[Counted]:
    """Put a proxy before a database that is reached by a socket."""
    known: dict[str, Any] = conninfo_to_dict(conninfo)
    name = f".s.PGSQL.{known['port']}"
    counted = Counted(make_conninfo(conninfo, host=str(directory)))
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(directory / name))
        listener.listen()

        def accept() -> None:
            with suppress(OSError):
                while True:
                    client, _ = listener.accept()
                    server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
                    server.connect(f"{known['host']}/{name}")
                    threading.Thread(
                        target=_carry, args=(client, server, counted), daemon=True
                    ).start()

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        try:
            yield counted
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


def _carry(client: socket.socket, server: socket.socket, counted: Counted) -> None:
    messages = _Messages()
    with client, server, DefaultSelector() as selector:
        selector.register(client, EVENT_READ, server)
        selector.register(server, EVENT_READ, client)
        while True:
            for key, _ in selector.select():
                source: Any = key.fileobj
                data = source.recv(1 << 16)
                if not data:
                    return
                if source is client:
                    counted.add(messages.count_awaited(data))
                key.data.sendall(data)
