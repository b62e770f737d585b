"""Limits of a worker: how many requests run concurrently, and for how long."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from pgchroma.errors import DeadlineExceededError, RateLimitError

__all__ = ("RequestLimiter",)


class RequestLimiter:
    """Bounds the requests that use the database.

    Args:
        max_running: Maximum number of concurrent requests; 0 means no limit.
        timeout: Seconds that each request may take.
    """

    def __init__(self, max_running: int, timeout: float) -> None:
        self._max_running = max_running
        self._timeout = timeout
        self._running = 0

    @asynccontextmanager
    async def slot(self) -> AsyncGenerator[None, None]:
        """Take a slot for the time of the context, which is limited.

        Raises:
            RateLimitError: All slots are taken.
            DeadlineExceededError: The context took too long.
        """
        if self._max_running and self._running >= self._max_running:
            raise RateLimitError("You have been rate limited.")
        self._running += 1
        try:
            async with self.deadline():
                yield
        finally:
            self._running -= 1

    @asynccontextmanager
    async def deadline(self) -> AsyncGenerator[None, None]:
        """Limit the time of the context.

        Raises:
            DeadlineExceededError: The context took too long.
        """
        try:
            async with asyncio.timeout(self._timeout):
                yield
        except TimeoutError as error:
            raise DeadlineExceededError(
                f"the request took longer than {self._timeout:g} seconds and was cancelled"
            ) from error
