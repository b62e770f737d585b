"""A worker's way to the database: connected late if need be, counted and traced."""

from __future__ import annotations

import asyncio
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any, TypeVar

from psycopg.errors import QueryCanceled

from pgchroma.backends.base import AsyncBackend
from pgchroma.backends.connect import connect_async
from pgchroma.config import Settings
from pgchroma.errors import DeadlineExceededError, InternalError, UnavailableError
from pgchroma.model.entities import Limits
from pgchroma.model.operations import Operation

if TYPE_CHECKING:
    from pgchroma.server.metrics import Metrics
    from pgchroma.server.telemetry import Telemetry

__all__ = ("Database",)

R = TypeVar("R")


class Database:
    """A backend that can be there before its database is.

    A worker may start while PostgreSQL is away: it then answers that it is away, and connects with
    the first request that finds it back.
    """

    def __init__(
        self,
        conninfo: str,
        settings: Settings,
        metrics: Metrics | None = None,
        telemetry: Telemetry | None = None,
    ) -> None:
        self._conninfo = conninfo
        self._settings = settings
        self._metrics = metrics
        self._telemetry = telemetry
        self._backend: AsyncBackend | None = None
        self._connecting = asyncio.Lock()

    async def start(self) -> None:
        """Connect, unless the database is away.

        Raises:
            ChromaError: It is there, and cannot be worked with.
        """
        try:
            await self._connected()
        except UnavailableError:
            return

    async def execute(self, operation: Operation[R]) -> R:
        """Carry an operation out and return its answer."""
        with self._traced(operation):
            try:
                backend = self._backend or await self._connected()
                result = await backend.execute(operation)
            except InternalError as fault:
                if isinstance(fault.__cause__, QueryCanceled):
                    raise DeadlineExceededError(fault.message()) from fault.__cause__
                raise
        if self._metrics is not None:
            self._metrics.count_records(operation, result)
        return result

    async def limits(self) -> Limits:
        """Tell what one request may carry."""
        return await (self._backend or await self._connected()).limits()

    async def close(self) -> None:
        """Let go of connections."""
        if self._backend is not None:
            await self._backend.close()

    def statistics(self) -> dict[str, int]:
        """Tell how the pool of connections is; empty before there is one."""
        source = getattr(self._backend, "_source", None)
        pool = getattr(source, "_pool", None)
        return {} if pool is None else pool.get_stats()

    async def _connected(self) -> AsyncBackend:
        async with self._connecting:
            if self._backend is None:
                self._backend = await connect_async(self._conninfo, self._settings)
            return self._backend

    def _traced(self, operation: Operation[Any]) -> AbstractContextManager[None]:
        return nullcontext() if self._telemetry is None else self._telemetry.database(operation)
