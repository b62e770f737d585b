"""Limits on how long a connection may keep a call waiting.

PostgreSQL's own limits do not hold where nothing arrives any more: behind a firewall that forgot a
connection, or a proxy that stopped. There the connection is cut on this side.
"""

from __future__ import annotations

import asyncio
import os
import select
import socket
import threading
from collections.abc import Generator
from contextlib import contextmanager, suppress
from typing import Any, Final

import psycopg

from pgchroma.errors import DeadlineExceededError

__all__ = ("has_input", "limited", "limited_async")

GRACE_SECONDS: Final = 2.0
"""How long PostgreSQL may take to cancel a statement before the connection is cut."""


class Limit:
    """A limit that is being kept.

    Attributes:
        is_over: Whether it was reached.
    """

    def __init__(self, connection: psycopg.BaseConnection[Any]) -> None:
        self.is_over = False
        self._connection = connection
        self._has_ended = False
        self._lock = threading.Lock()

    def end(self) -> None:
        """Let the connection be from now on."""
        with self._lock:
            self._has_ended = True

    def cut(self) -> None:
        """End the connection, and with it the wait for an answer on it."""
        with self._lock:
            self.is_over = True
            if not self._has_ended:
                _shut(self._connection)


@contextmanager
def limited(
    connection: psycopg.Connection[Any], seconds: float, *, cancels: bool = False
) -> Generator[None, None, None]:
    """Cut a connection whose answers take longer than this.

    Args:
        connection: Which.
        seconds: How long it may take.
        cancels: Whether PostgreSQL is first asked to cancel what it works on.

    Raises:
        DeadlineExceededError: It took longer.
    """
    limit = Limit(connection)

    def end() -> None:
        limit.is_over = True
        if cancels:
            with suppress(psycopg.Error, OSError):
                connection.cancel_safe(timeout=GRACE_SECONDS)
            if has_ended.wait(GRACE_SECONDS):
                return
        limit.cut()

    has_ended = threading.Event()
    timer = threading.Timer(seconds, end)
    timer.daemon = True
    # A process that is ending starts no more threads.
    with suppress(RuntimeError):
        timer.start()
    try:
        with _told(limit, seconds):
            yield
    finally:
        has_ended.set()
        timer.cancel()
        limit.end()


@contextmanager
def limited_async(
    connection: psycopg.AsyncConnection[Any], seconds: float, *, cancels: bool = False
) -> Generator[None, None, None]:
    """Cut a connection whose answers take longer than this; see `limited`."""
    limit = Limit(connection)
    loop = asyncio.get_running_loop()
    cancelling: set[asyncio.Task[None]] = set()

    def end() -> None:
        limit.is_over = True
        if cancels:
            cancelling.add(loop.create_task(_cancel_or_cut(limit, connection)))
        else:
            limit.cut()

    handle = loop.call_later(seconds, end)
    try:
        with _told(limit, seconds):
            yield
    finally:
        handle.cancel()
        limit.end()
        for task in cancelling:
            task.cancel()


@contextmanager
def _told(limit: Limit, seconds: float) -> Generator[None, None, None]:
    try:
        yield
    except psycopg.Error as error:
        if not limit.is_over:
            raise
        # A cancellation that comes too late would hit what is run next.
        limit.cut()
        raise DeadlineExceededError(
            f"the database did not answer within {seconds:g} seconds, and the request was given "
            "up; a write may have taken effect"
        ) from error


async def _cancel_or_cut(limit: Limit, connection: psycopg.AsyncConnection[Any]) -> None:
    with suppress(psycopg.Error, OSError):
        await connection.cancel_safe(timeout=GRACE_SECONDS)
    await asyncio.sleep(GRACE_SECONDS)
    limit.cut()


def has_input(connection: psycopg.BaseConnection[Any]) -> bool:
    """Whether something came on a connection that nobody asked: as a rule its end."""
    try:
        poll = select.poll()
        poll.register(connection.fileno(), select.POLLIN)
        return bool(poll.poll(0))
    except (psycopg.Error, OSError, ValueError):
        return True


def _shut(connection: psycopg.BaseConnection[Any]) -> None:
    # Of a copy of the descriptor: to close the socket object must not close libpq's own.
    with (
        suppress(psycopg.Error, OSError),
        socket.socket(fileno=os.dup(connection.fileno())) as copy,
    ):
        copy.shutdown(socket.SHUT_RDWR)
