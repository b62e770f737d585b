"""A relay between clients and PostgreSQL that can stop forwarding, or lose answers."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from selectors import EVENT_READ, DefaultSelector
from typing import Any

from psycopg.conninfo import conninfo_to_dict, make_conninfo


class Relay:
    """A relay that runs.

    Attributes:
        conninfo: The way through it.
        is_silent: Whether nothing is forwarded, and nothing closed.
        loses_answers: Whether a connection is cut where PostgreSQL's next answer would have passed.
        accepts: Whether new connections are taken.
    """

    def __init__(self, conninfo: str) -> None:
        self.conninfo = conninfo
        self.is_silent = False
        self.loses_answers = False
        self.accepts = True
        self._pairs: list[tuple[socket.socket, socket.socket]] = []

    def cut(self) -> None:
        """Close every connection."""
        pairs, self._pairs = self._pairs, []
        for pair in pairs:
            for end in pair:
                with suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)

    def carry(self, client: socket.socket, server: socket.socket) -> None:
        """Forward data between two sockets until one of them is closed."""
        self._pairs.append((client, server))
        with client, server, DefaultSelector() as selector, suppress(OSError):
            selector.register(client, EVENT_READ, server)
            selector.register(server, EVENT_READ, client)
            while True:
                for key, _ in selector.select():
                    source: Any = key.fileobj
                    data = source.recv(1 << 16)
                    if not data or (source is server and self.loses_answers):
                        return
                    if not self.is_silent:
                        key.data.sendall(data)


@contextmanager
def relaying(conninfo: str, directory: Path) -> Iterator[Relay]:
    """Put a relay before a database that is reached by a Unix socket."""
    known: dict[str, Any] = conninfo_to_dict(conninfo)
    name = f".s.PGSQL.{known['port']}"
    relay = Relay(make_conninfo(conninfo, host=str(directory)))
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(directory / name))
        listener.listen()

        def accept() -> None:
            with suppress(OSError):
                while True:
                    client, _ = listener.accept()
                    if not relay.accepts:
                        client.close()
                        continue
                    server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
                    server.connect(f"{known['host']}/{name}")
                    threading.Thread(target=relay.carry, args=(client, server), daemon=True).start()

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        try:
            yield relay
        finally:
            relay.cut()
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()
