"""httpx's client of all threads. `_async/http_clients.py` has the same name."""

from __future__ import annotations

import os

import httpx

from pgchroma.backends.endpoint import Endpoint
from pgchroma.errors import InvalidArgumentError

__all__ = ("HttpClients",)


class HttpClients:
    """One client for all threads."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._options = endpoint.options()
        self._client = httpx.Client(**self._options)
        self._pid = os.getpid()

    def current(self) -> httpx.Client:
        """Return the client."""
        if self._client.is_closed:
            raise InvalidArgumentError("this client is closed")
        if os.getpid() != self._pid:
            # A forked child must not use its parent's connections.
            self._client = httpx.Client(**self._options)
            self._pid = os.getpid()
        return self._client

    def close(self) -> None:
        """Close the connections."""
        self._client.close()
