"""Keep a limit with a timer's thread."""

from __future__ import annotations

import threading
from collections.abc import Generator
from contextlib import contextmanager, suppress
from typing import Any

import psycopg

from pgchroma.backends.limits import GRACE_SECONDS, Limit, limit_errors

__all__ = ("limited",)


@contextmanager
def limited(
    connection: psycopg.Connection[Any], seconds: float, *, cancels: bool = False
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
        with limit_errors(limit, seconds):
            yield
    finally:
        has_ended.set()
        timer.cancel()
        limit.end()
