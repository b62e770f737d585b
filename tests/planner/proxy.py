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

# psycopg sends it after a pipeline's end, before or after the answer, and does not wait for it.
_FLUSH = b"H\x00\x00\x00\x04"


@dataclass
class Counted:
    """A database behind a proxy.

    Attributes:
        conninfo: The way through it.
        trips: How often a client spoke after it had been answered.
    """

    conninfo: str
    trips: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def drain(self) -> int:
        """Return the number of round trips since the last call."""
        with self._lock:
            trips, self.trips = self.trips, 0
        return trips

    def add(self) -> None:
        with self._lock:
            self.trips += 1


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
    is_asking = False
    with client, server, DefaultSelector() as selector:
        selector.register(client, EVENT_READ, server)
        selector.register(server, EVENT_READ, client)
        while True:
            for key, _ in selector.select():
                source: Any = key.fileobj
                data = source.recv(1 << 16)
                if not data:
                    return
                if data != _FLUSH:
                    if source is client and not is_asking:
                        counted.add()
                    is_asking = source is client
                key.data.sendall(data)
