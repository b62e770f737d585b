"""httpx's clients of event loops. `_sync/http_clients.py` has the same name."""

from __future__ import annotations

import asyncio
import os
from threading import Lock
from typing import TypeAlias
from weakref import WeakKeyDictionary

import httpx

from pgchroma.backends.endpoint import Endpoint
from pgchroma.errors import InvalidArgumentError

__all__ = ("HttpClients",)


class HttpClients:
    """A client for each event loop, because connections belong to the loop that made them."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._options = endpoint.options()
        self._clients: _Clients = WeakKeyDictionary()
        self._lock = Lock()
        self._pid = os.getpid()
        self._parents: _Clients | None = None
        self._is_closed = False

    def current(self) -> httpx.AsyncClient:
        """Return the client of the running loop."""
        loop = asyncio.get_running_loop()
        with self._lock:
            if self._is_closed:
                raise InvalidArgumentError("this client is closed")
            self._forget_parents()
            for other in [each for each in self._clients if each.is_closed()]:
                del self._clients[other]
            if loop not in self._clients:
                self._clients[loop] = httpx.AsyncClient(**self._options)
            return self._clients[loop]

    async def close(self) -> None:
        """Close the connections; another loop that is running closes its own."""
        with self._lock:
            self._is_closed = True
            self._forget_parents()
            clients = dict(self._clients)
            self._clients.clear()
        own = clients.pop(asyncio.get_running_loop(), None)
        for loop, client in clients.items():
            if loop.is_running():
                asyncio.run_coroutine_threadsafe(client.aclose(), loop)
        if own is not None:
            await own.aclose()

    def _forget_parents(self) -> None:
        """In a forked child, which may run the same loop, do not use the parent's connections."""
        if os.getpid() != self._pid:
            # They are kept, because closing them could send something to the server.
            self._parents, self._clients = self._clients, WeakKeyDictionary()
            self._pid = os.getpid()


_Clients: TypeAlias = WeakKeyDictionary[asyncio.AbstractEventLoop, httpx.AsyncClient]
