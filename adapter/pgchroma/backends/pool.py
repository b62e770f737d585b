"""Pools of connections that the direct backends lend from, for threads and for an event loop.

A pool opens a connection in the call that needs it, so that the call gets PostgreSQL's own reason
where that fails, and no thread of the pool's has to be kept, stopped or forked. A connection that
was idle is looked at before it is lent: one that the other side closed is replaced unseen.
"""

from __future__ import annotations

import asyncio
import os
import random
import threading
import time
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeAlias, TypeVar

import psycopg
from psycopg.pq import TransactionStatus

from pgchroma.backends.limits import has_input, limited, limited_async
from pgchroma.backends.refusal import is_refused_for_good
from pgchroma.backends.urls import place_of
from pgchroma.errors import DeadlineExceededError, PoolExhaustedError, UnavailableError
from pgchroma.store.running.errors import mapped_errors, reason_of

__all__ = ("AsyncPool", "Pool")

C = TypeVar("C", bound=psycopg.BaseConnection[Any])

UNCHECKED_SECONDS: Final = 1.0
"""How long a connection may be idle and be lent without asking PostgreSQL whether it works."""

CHECK_SECONDS: Final = 5.0
"""How long a connection may take to answer that it works."""

IDLE_SECONDS: Final = 600.0
"""How long connections but one stay open without being used."""

LIFETIME_SECONDS: Final = 3600.0
"""How old a connection may become: what PostgreSQL caches for it grows, and hosts move."""


@dataclass(slots=True)
class _Held(Generic[C]):
    """A connection of a pool.

    Attributes:
        ends_at: When it is too old to be lent again, on the monotonic clock.
        used_at: When it was last given back.
    """

    connection: C
    ends_at: float
    used_at: float


class _Shared(Generic[C]):
    """What pools of both kinds know without waiting."""

    def __init__(self, conninfo: str, size: int, timeout: float, patience: float | None) -> None:
        self._conninfo = conninfo
        self._place = place_of(conninfo)
        self._size = size
        self._timeout = timeout
        self._patience = timeout if patience is None else patience
        # The connection used last is lent first, so that those in excess grow old.
        self._idle: deque[_Held[C]] = deque()
        self._open = 0
        self._queued = 0
        self._is_closed = False
        self._error: str | None = None
        self._pid = os.getpid()

    def statistics(self) -> dict[str, int]:
        """Count connections and the calls that wait for one."""
        return {"size": self._open, "idle": len(self._idle), "waiting": self._queued}

    def _pop(self) -> _Held[C] | None:
        """Take an idle connection that is neither closed nor too old."""
        if self._is_closed:
            raise UnavailableError("the database cannot be reached: this client is closed")
        while self._idle:
            held = self._idle.pop()
            is_usable = not held.connection.closed and time.monotonic() < held.ends_at
            if is_usable:
                return held
            self._drop(held)
        return None

    def _push(self, held: _Held[C]) -> None:
        """Take a connection back, or close it if nobody can use it as it is."""
        connection, now = held.connection, time.monotonic()
        is_idle = connection.info.transaction_status is TransactionStatus.IDLE
        if self._is_closed or connection.closed or not is_idle:
            self._drop(held)
            return
        held.used_at = now
        self._idle.append(held)
        while len(self._idle) > 1 and now - self._idle[0].used_at > IDLE_SECONDS:
            self._drop(self._idle.popleft())

    def _hold(self, connection: C) -> _Held[C]:
        self._open += 1
        self._error = None
        # psycopg warns of connections that are still open when they are collected, but for pools'.
        connection._pool = None
        now = time.monotonic()
        return _Held(connection, now + LIFETIME_SECONDS * random.uniform(0.9, 1.1), now)  # noqa: S311

    def _drop(self, held: _Held[C]) -> None:
        self._open -= 1
        held.connection.pgconn.finish()

    def _drop_all(self) -> None:
        self._is_closed = True
        if os.getpid() != self._pid:
            # These are the connections of the process that this one was forked from.
            self._idle.clear()
        while self._idle:
            self._drop(self._idle.pop())

    def _needs_check(self, held: _Held[C]) -> bool:
        return needs_check(held.connection, held.used_at)

    def _exhausted(self) -> PoolExhaustedError:
        last = "" if self._error is None else f"; connecting failed last with: {self._error}"
        return PoolExhaustedError(
            f"all {self._size} connections of the pool were in use for {self._timeout:g} seconds; "
            f"raise pgchroma_pool_size or pgchroma_pool_timeout{last}"
        )


class _Attempts:
    """How often, and at what intervals, connecting is tried again."""

    def __init__(self, patience: float) -> None:
        self._deadline = time.monotonic() + patience
        self._pause = 0.02

    def pause(self) -> float | None:
        """Return how many seconds to wait before the next attempt; None: there is none."""
        now = time.monotonic()
        if now >= self._deadline:
            return None
        self._pause = min(2 * self._pause, 1.0)
        return min(self._pause * random.uniform(0.8, 1.2), self._deadline - now)  # noqa: S311


Connection: TypeAlias = psycopg.Connection[Any]
AsyncConnection: TypeAlias = psycopg.AsyncConnection[Any]


class Pool(_Shared[Connection]):
    """Connections that threads share.

    Args:
        conninfo: The database.
        size: The most connections that are open at once.
        timeout: Seconds that a call waits for a connection while all are in use.
        patience: Seconds that a call goes on trying to connect; None: as long as `timeout`.
        configure: Called with each new connection.
    """

    def __init__(
        self,
        conninfo: str,
        *,
        size: int,
        timeout: float,
        configure: Callable[[Connection], None],
        patience: float | None = None,
    ) -> None:
        super().__init__(conninfo, size, timeout, patience)
        self._configure = configure
        self._seats = threading.BoundedSemaphore(size)
        self._lock = threading.Lock()

    @contextmanager
    def lend(self) -> Generator[Connection, None, None]:
        """Lend a connection.

        Raises:
            PoolExhaustedError: All were in use for too long.
            UnavailableError: The database cannot be reached, or refuses the login.
        """
        self._sit()
        try:
            held = self._take()
            try:
                yield held.connection
            finally:
                with self._lock:
                    self._push(held)
        finally:
            self._seats.release()

    def close(self) -> None:
        """Close every connection: those in use when they are given back."""
        with self._lock:
            self._drop_all()

    def _sit(self) -> None:
        if self._seats.acquire(blocking=False):
            return
        with self._lock:
            self._queued += 1
        try:
            has_seat = self._seats.acquire(timeout=self._timeout)
        finally:
            with self._lock:
                self._queued -= 1
        if not has_seat:
            raise self._exhausted()

    def _take(self) -> _Held[Connection]:
        attempts = _Attempts(self._patience)
        while True:
            with self._lock:
                held = self._pop()
            if held is None:
                held = self._connect(attempts)
            elif not self._works(held):
                with self._lock:
                    self._drop(held)
                continue
            if held is not None:
                return held

    def _works(self, held: _Held[Connection]) -> bool:
        return not self._needs_check(held) or answers(held.connection)

    def _connect(self, attempts: _Attempts) -> _Held[Connection] | None:
        """Open a connection; None: look for an idle one again and then try again."""
        try:
            with mapped_errors(self._place):
                connection = psycopg.connect(self._conninfo, autocommit=True)
                self._configured(connection)
        except UnavailableError as error:
            self._error = reason_of(error)
            pause = attempts.pause()
            if pause is None or is_refused_for_good(self._conninfo):
                raise
            time.sleep(pause)
            return None
        with self._lock:
            return self._hold(connection)

    def _configured(self, connection: Connection) -> None:
        try:
            self._configure(connection)
        except BaseException:
            connection.close()
            raise


class AsyncPool(_Shared[AsyncConnection]):
    """Connections for the tasks of an event loop; see `Pool`.

    It belongs to no loop: what one left idle may be lent in the next.
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
        self._free = size
        self._waiters: deque[asyncio.Future[None]] = deque()

    @asynccontextmanager
    async def lend(self) -> AsyncGenerator[AsyncConnection, None]:
        """Lend a connection; see `Pool.lend`."""
        await self._sit()
        try:
            held = await self._take()
            try:
                yield held.connection
            finally:
                self._push(held)
        finally:
            self._leave()

    def close(self) -> None:
        """Close every connection: those in use when they are given back."""
        self._drop_all()

    async def _sit(self) -> None:
        if self._free:
            self._free -= 1
            return
        waiter = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        self._queued += 1
        try:
            async with asyncio.timeout(self._timeout):
                await waiter
        except BaseException as error:
            if waiter.done() and not waiter.cancelled():
                # The seat came with the cancellation.
                self._leave()
            if isinstance(error, TimeoutError):
                raise self._exhausted() from None
            raise
        finally:
            self._queued -= 1

    def _leave(self) -> None:
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done() and not waiter.get_loop().is_closed():
                waiter.set_result(None)
                return
        self._free += 1

    async def _take(self) -> _Held[AsyncConnection]:
        attempts = _Attempts(self._patience)
        while True:
            held = self._pop()
            if held is None:
                held = await self._connect(attempts)
            elif not await self._works(held):
                continue
            if held is not None:
                return held

    async def _works(self, held: _Held[AsyncConnection]) -> bool:
        try:
            works = not self._needs_check(held) or await answers_async(held.connection)
        except BaseException:
            self._drop(held)
            raise
        if not works:
            self._drop(held)
        return works

    async def _connect(self, attempts: _Attempts) -> _Held[AsyncConnection] | None:
        try:
            with mapped_errors(self._place):
                connection = await psycopg.AsyncConnection.connect(self._conninfo, autocommit=True)
                await self._configured(connection)
        except UnavailableError as error:
            self._error = reason_of(error)
            pause = attempts.pause()
            if pause is None or await asyncio.to_thread(is_refused_for_good, self._conninfo):
                raise
            await asyncio.sleep(pause)
            return None
        return self._hold(connection)

    async def _configured(self, connection: AsyncConnection) -> None:
        try:
            await self._configure(connection)
        except BaseException:
            await connection.close()
            raise


def needs_check(connection: psycopg.BaseConnection[Any], used_at: float) -> bool:
    """Whether a connection that nobody used since then has to be asked whether it works."""
    return time.monotonic() - used_at > UNCHECKED_SECONDS or has_input(connection)


def answers(connection: Connection) -> bool:
    """Ask PostgreSQL whether a connection works."""
    try:
        with limited(connection, CHECK_SECONDS):
            connection.execute("", prepare=False)
    except (psycopg.Error, DeadlineExceededError):
        return False
    return not connection.closed


async def answers_async(connection: AsyncConnection) -> bool:
    """Ask PostgreSQL whether a connection works."""
    try:
        with limited_async(connection, CHECK_SECONDS):
            await connection.execute("", prepare=False)
    except (psycopg.Error, DeadlineExceededError):
        return False
    return not connection.closed
