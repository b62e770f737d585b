"""A worker's way to the database: connected late if need be, counted and traced."""

from __future__ import annotations

import asyncio
from contextlib import AbstractContextManager, nullcontext, suppress
from typing import TYPE_CHECKING, Any, TypeVar

from pgchroma.backends._async.connect import connect as connect_async
from pgchroma.backends._async.direct import AsyncDirectBackend
from pgchroma.config import Settings
from pgchroma.errors import UnavailableError
from pgchroma.model.entities import Limits
from pgchroma.model.operations import Operation

if TYPE_CHECKING:
    from pgchroma.embedded.space import Space
    from pgchroma.server.observability.metrics import Metrics
    from pgchroma.server.observability.telemetry import Telemetry

__all__ = ("Database",)

R = TypeVar("R")

PATIENCE = 1.0
"""Seconds that a request goes on trying to connect while no connection is open."""


class Database:
    """A backend whose database may go and come back.

    While PostgreSQL is away every request is told so within a second, and the first that finds it
    back connects anew.
    """

    in_caller_transaction = False

    def __init__(
        self,
        conninfo: str,
        settings: Settings,
        metrics: Metrics | None = None,
        telemetry: Telemetry | None = None,
        space: Space | None = None,
    ) -> None:
        self._conninfo = conninfo
        self._settings = settings
        self._metrics = metrics
        self._telemetry = telemetry
        self._space = space
        self._backend: AsyncDirectBackend | None = None
        self._connecting: asyncio.Task[AsyncDirectBackend] | None = None
        self._leaving: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Connect, unless the database is away.

        Raises:
            ChromaError: It is there, and cannot be worked with.
        """
        with suppress(UnavailableError):
            await self._connected()

    async def execute(self, operation: Operation[R]) -> R:
        """Carry an operation out and return its answer."""
        if self._space is not None:
            self._space.check(operation)
        with self._traced(operation):
            backend = self._backend or await self._connected()
            try:
                result = await backend.execute(operation)
            except UnavailableError:
                # A connection that was lost has been replaced. This is a database that is gone.
                if not backend.statistics()["size"]:
                    self._leave(backend)
                raise
        if self._metrics is not None:
            self._metrics.count_records(operation, result)
        return result

    async def limits(self) -> Limits:
        """Tell what one request may carry."""
        return await (self._backend or await self._connected()).limits()

    async def close(self) -> None:
        """Let go of connections."""
        for task in self._leaving:
            task.cancel()
        await asyncio.gather(*self._leaving, return_exceptions=True)
        if self._backend is not None:
            await self._backend.close()

    def statistics(self) -> dict[str, int]:
        """Tell how the pool of connections is; empty before there is one."""
        return {} if self._backend is None else self._backend.statistics()

    async def _connected(self) -> AsyncDirectBackend:
        if self._connecting is None or self._connecting.done():
            self._connecting = asyncio.create_task(self._connect())
        # All that wait share one attempt, and it goes on when one of them hangs up.
        return await asyncio.shield(self._connecting)

    async def _connect(self) -> AsyncDirectBackend:
        self._backend = await connect_async(self._conninfo, self._settings, PATIENCE)
        self._backend.compact()
        return self._backend

    def _leave(self, backend: AsyncDirectBackend) -> None:
        if backend is self._backend:
            self._backend = None
            task = asyncio.create_task(self._close_later(backend))
            self._leaving.add(task)
            task.add_done_callback(self._leaving.discard)

    async def _close_later(self, backend: AsyncDirectBackend) -> None:
        # Requests that have just begun may still be at it.
        try:
            await asyncio.sleep(self._settings.pgchroma_pool_timeout)
        finally:
            await backend.close()

    def _traced(self, operation: Operation[Any]) -> AbstractContextManager[None]:
        return nullcontext() if self._telemetry is None else self._telemetry.database(operation)
