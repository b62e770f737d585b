"""The backend of a worker: it reconnects, and it counts and traces operations."""

from __future__ import annotations

import asyncio
from contextlib import AbstractContextManager, nullcontext, suppress
from typing import TYPE_CHECKING, Any, TypeVar

from pgchroma.backends._async.connect import connect
from pgchroma.backends._async.delegating import AsyncDelegatingBackend
from pgchroma.backends._async.direct import AsyncDirectBackend
from pgchroma.config import Settings
from pgchroma.errors import UnavailableError
from pgchroma.model.operations import Operation

if TYPE_CHECKING:
    from pgchroma.embedded.space import DiskSpace
    from pgchroma.server.observability.metrics import Metrics
    from pgchroma.server.observability.telemetry import Telemetry

__all__ = ("ReconnectingBackend",)

R = TypeVar("R")

PATIENCE = 1.0
"""Seconds that a request keeps trying to connect while no connection is open."""


class ReconnectingBackend(AsyncDelegatingBackend):
    """A direct backend whose database may become unavailable and return.

    While PostgreSQL is unavailable, every request fails within a second. The first request after it
    has returned connects again.
    """

    def __init__(
        self,
        conninfo: str,
        settings: Settings,
        metrics: Metrics | None = None,
        telemetry: Telemetry | None = None,
        space: DiskSpace | None = None,
    ) -> None:
        self._conninfo = conninfo
        self._settings = settings
        self._metrics = metrics
        self._telemetry = telemetry
        self._space = space
        self._backend: AsyncDirectBackend | None = None
        self._connecting: asyncio.Task[AsyncDirectBackend] | None = None
        self._discarded: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Connect, if the database is available.

        Raises:
            ChromaError: The database is available but cannot be used.
        """
        with suppress(UnavailableError):
            await self._connected()

    async def execute(self, operation: Operation[R]) -> R:
        """Execute an operation; see `pgchroma.backends._async.base.AsyncBackend`."""
        if self._space is not None:
            self._space.check(operation)
        with self._traced(operation):
            backend = await self._delegate()
            try:
                result = await backend.execute(operation)
            except UnavailableError:
                # A lost connection has been replaced, so the database itself is unavailable.
                if not backend.statistics()["size"]:
                    self._discard(backend)
                raise
        if self._metrics is not None:
            self._metrics.count_records(operation, result)
        return result

    async def close(self) -> None:
        """Close the connections."""
        for task in self._discarded:
            task.cancel()
        await asyncio.gather(*self._discarded, return_exceptions=True)
        if self._backend is not None:
            await self._backend.close()

    def statistics(self) -> dict[str, int]:
        """Return the state of the pool of connections; empty before there is one."""
        return {} if self._backend is None else self._backend.statistics()

    async def _delegate(self) -> AsyncDirectBackend:
        return self._backend or await self._connected()

    async def _connected(self) -> AsyncDirectBackend:
        if self._connecting is None or self._connecting.done():
            self._connecting = asyncio.create_task(self._connect())
        # All waiting requests share one attempt; it continues if one of them is cancelled.
        return await asyncio.shield(self._connecting)

    async def _connect(self) -> AsyncDirectBackend:
        self._backend = await connect(self._conninfo, self._settings, PATIENCE)
        self._backend.compact()
        return self._backend

    def _discard(self, backend: AsyncDirectBackend) -> None:
        if backend is self._backend:
            self._backend = None
            task = asyncio.create_task(self._close_after_grace(backend))
            self._discarded.add(task)
            task.add_done_callback(self._discarded.discard)

    async def _close_after_grace(self, backend: AsyncDirectBackend) -> None:
        # Requests that began before may still use it.
        try:
            await asyncio.sleep(self._settings.pgchroma_pool_timeout)
        finally:
            await backend.close()

    def _traced(self, operation: Operation[Any]) -> AbstractContextManager[None]:
        return nullcontext() if self._telemetry is None else self._telemetry.database(operation)
