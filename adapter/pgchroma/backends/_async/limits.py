"""Keep a limit with a timer of the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from contextlib import contextmanager, suppress
from typing import Any

import psycopg

from pgchroma.backends.limits import GRACE_SECONDS, Limit, limit_errors

__all__ = ("limited",)


@contextmanager
def limited(
    connection: psycopg.AsyncConnection[Any], seconds: float, *, cancels: bool = False
) -> Generator[None, None, None]:
    """Close a connection whose answers take longer than this.

    Args:
        connection: The connection.
        seconds: The limit.
        cancels: Whether PostgreSQL is first asked to cancel the statement.

    Raises:
        DeadlineExceededError: The limit was reached.
    """
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
        with limit_errors(limit, seconds):
            yield
    finally:
        handle.cancel()
        limit.end()
        for task in cancelling:
            task.cancel()


async def _cancel_or_cut(limit: Limit, connection: psycopg.AsyncConnection[Any]) -> None:
    with suppress(psycopg.Error, OSError):
        await connection.cancel_safe(timeout=GRACE_SECONDS)
    await asyncio.sleep(GRACE_SECONDS)
    limit.cut()
