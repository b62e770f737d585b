"""The state of a pool of connections, and the rules for keeping them: whatever needs no waiting."""

from __future__ import annotations

import os
import random
import time
from collections import deque
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

import psycopg
from psycopg.pq import TransactionStatus

from pgchroma.backends.limits import has_input
from pgchroma.backends.urls import address_of
from pgchroma.errors import PoolExhaustedError, UnavailableError

__all__ = ("Attempts", "PoolState", "Pooled", "needs_check")

C = TypeVar("C", bound=psycopg.BaseConnection[Any])

UNCHECKED_SECONDS: Final = 1.0
"""How long a connection may be idle before it is checked when it is used again."""

IDLE_SECONDS: Final = 600.0
"""How long connections but one stay open without being used."""

LIFETIME_SECONDS: Final = 3600.0
"""How old a connection may become: what PostgreSQL caches for it grows, and hosts move."""


@dataclass(slots=True)
class Pooled(Generic[C]):
    """A connection of a pool.

    Attributes:
        ends_at: When it is too old to be used again, on the monotonic clock.
        used_at: When it was last returned to the pool.
    """

    connection: C
    ends_at: float
    used_at: float


class PoolState(Generic[C]):
    """The connections of a pool. The pool calls this with its lock held."""

    def __init__(self, conninfo: str, size: int, timeout: float, patience: float | None) -> None:
        self._conninfo = conninfo
        self._address = address_of(conninfo)
        self._size = size
        self._timeout = timeout
        self._patience = timeout if patience is None else patience
        # The connection used last is checked out first, so that surplus connections grow old.
        self._idle: deque[Pooled[C]] = deque()
        self._open = 0
        self._is_closed = False
        self._error: str | None = None
        self._pid = os.getpid()

    def _pop(self) -> Pooled[C] | None:
        """Take an idle connection that is neither closed nor too old."""
        if self._is_closed:
            raise UnavailableError("the database cannot be reached: this client is closed")
        while self._idle:
            pooled = self._idle.pop()
            is_usable = not pooled.connection.closed and time.monotonic() < pooled.ends_at
            if is_usable:
                return pooled
            self._drop(pooled)
        return None

    def _push(self, pooled: Pooled[C]) -> None:
        """Return a connection to the pool, or close it if it cannot be used again."""
        connection, now = pooled.connection, time.monotonic()
        is_idle = connection.pgconn.transaction_status == TransactionStatus.IDLE
        if self._is_closed or connection.closed or not is_idle:
            self._drop(pooled)
            return
        pooled.used_at = now
        self._idle.append(pooled)
        while len(self._idle) > 1 and now - self._idle[0].used_at > IDLE_SECONDS:
            self._drop(self._idle.popleft())

    def _add(self, connection: C) -> Pooled[C]:
        self._open += 1
        self._error = None
        # psycopg warns of connections that are open when they are collected, except those of pools.
        connection._pool = None
        now = time.monotonic()
        lifetime = LIFETIME_SECONDS * random.uniform(0.9, 1.1)  # noqa: S311
        return Pooled(connection, now + lifetime, now)

    def _drop(self, pooled: Pooled[C]) -> None:
        self._open -= 1
        pooled.connection.pgconn.finish()

    def _drop_all(self) -> None:
        self._is_closed = True
        if os.getpid() != self._pid:
            # These connections belong to the process that this one was forked from.
            self._idle.clear()
        while self._idle:
            self._drop(self._idle.pop())

    def _exhausted(self) -> PoolExhaustedError:
        last = "" if self._error is None else f"; connecting failed last with: {self._error}"
        return PoolExhaustedError(
            f"all {self._size} connections of the pool were in use for {self._timeout:g} seconds; "
            f"raise pgchroma_pool_size or pgchroma_pool_timeout{last}"
        )


class Attempts:
    """How often, and at what intervals, a call tries to connect."""

    def __init__(self, patience: float) -> None:
        self._deadline = time.monotonic() + patience
        self._pause = 0.02

    def pause(self) -> float | None:
        """Return the seconds to wait before the next attempt; `None` means there is none."""
        now = time.monotonic()
        if now >= self._deadline:
            return None
        self._pause = min(2 * self._pause, 1.0)
        return min(self._pause * random.uniform(0.8, 1.2), self._deadline - now)  # noqa: S311


def needs_check(connection: psycopg.BaseConnection[Any], used_at: float) -> bool:
    """Whether to check that a connection works, given when it was last used."""
    return time.monotonic() - used_at > UNCHECKED_SECONDS or has_input(connection)
