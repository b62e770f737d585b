"""Pools of connections that direct backends use.

A pool opens a connection in the call that needs it. If that fails, the call gets PostgreSQL's own
reason, and the pool needs no thread that would have to be kept, stopped or forked. A connection
that was idle is checked before it is used: if the other side closed it, it is replaced silently.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from threading import Lock
from typing import Any, Final, TypeAlias

import psycopg

from pgchroma.backends._async.io import Seats, in_thread, sleep
from pgchroma.backends._async.limits import limited
from pgchroma.backends.pool_state import Attempts, Pooled, PoolState, needs_check
from pgchroma.backends.refusal import is_refused_for_good
from pgchroma.errors import DeadlineExceededError, UnavailableError
from pgchroma.store.running.errors import mapped_errors, reason_of

__all__ = ("AsyncPool", "answers")

AsyncConnection: TypeAlias = psycopg.AsyncConnection[Any]

CHECK_SECONDS: Final = 5.0
"""How long a connection may take to answer that it works."""


class AsyncPool(PoolState[AsyncConnection]):
    """Connections that calls share.

    It belongs to no event loop: a connection that was used in one may be used in the next.

    Args:
        conninfo: The database.
        size: The maximum number of open connections.
        timeout: Seconds that a call waits for a connection while all are in use.
        patience: Seconds that a call keeps trying to connect; `None` means `timeout`.
        configure: Called with each new connection.
    """

    def __init__(
        self,
        conninfo: str,
        *,
        size: int,
        timeout: float,
        configure: Callable[[AsyncConnection], Awaitable[None]],
        patience: float | None = None,
    ) -> None:
        super().__init__(conninfo, size, timeout, patience)
        self._configure = configure
        self._seats = Seats(size)
        self._lock = Lock()

    @asynccontextmanager
    async def connection(self) -> AsyncGenerator[AsyncConnection, None]:
        """Check a connection out.

        Raises:
            PoolExhaustedError: All connections were in use for too long.
            UnavailableError: The database cannot be reached, or refuses the login.
        """
        if not await self._seats.acquire(self._timeout):
            raise self._exhausted()
        try:
            pooled = await self._take()
            try:
                yield pooled.connection
            finally:
                with self._lock:
                    self._push(pooled)
        finally:
            self._seats.release()

    def statistics(self) -> dict[str, int]:
        """Return the numbers of connections and of calls that wait for one."""
        return {"size": self._open, "idle": len(self._idle), "waiting": self._seats.waiting}

    def close(self) -> None:
        """Close every connection: those in use when they are returned."""
        with self._lock:
            self._drop_all()

    async def _take(self) -> Pooled[AsyncConnection]:
        attempts = Attempts(self._patience)
        while True:
            with self._lock:
                pooled = self._pop()
            if pooled is None:
                pooled = await self._connect(attempts)
            elif needs_check(pooled.connection, pooled.used_at) and not await self._works(pooled):
                continue
            if pooled is not None:
                return pooled

    async def _works(self, pooled: Pooled[AsyncConnection]) -> bool:
        works = False
        try:
            works = await answers(pooled.connection)
        finally:
            if not works:
                with self._lock:
                    self._drop(pooled)
        return works

    async def _connect(self, attempts: Attempts) -> Pooled[AsyncConnection] | None:
        """Open a connection; `None` means to look for an idle one and then to try again."""
        try:
            with mapped_errors(self._address):
                connection = await psycopg.AsyncConnection.connect(self._conninfo, autocommit=True)
                await self._configured(connection)
        except UnavailableError as error:
            self._error = reason_of(error)
            pause = attempts.pause()
            if pause is None or await in_thread(is_refused_for_good, self._conninfo):
                raise
            await sleep(pause)
            return None
        with self._lock:
            return self._add(connection)

    async def _configured(self, connection: AsyncConnection) -> None:
        try:
            await self._configure(connection)
        except BaseException:
            await connection.close()
            raise


async def answers(connection: AsyncConnection) -> bool:
    """Ask PostgreSQL whether a connection works."""
    try:
        with limited(connection, CHECK_SECONDS):
            await connection.execute("", prepare=False)
    except (psycopg.Error, DeadlineExceededError):
        return False
    return not connection.closed
