"""How many requests a worker takes on at once, and for how long."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from pgchroma.errors import DeadlineExceededError, RateLimitError

__all__ = ("RequestLimiter",)


class RequestLimiter:
    """Bounds what asks the database.

    Args:
        max_running: How many may ask at once; 0 for no limit.
        timeout: Seconds that each may take.
    """

    def __init__(self, max_running: int, timeout: float) -> None:
        self._max_running = max_running
        self._timeout = timeout
        self._running = 0

    @asynccontextmanager
    async def slot(self) -> AsyncGenerator[None, None]:
        """Do something while there are not too many that do, and not for too long.

        Raises:
            RateLimitError: There are too many.
            DeadlineExceededError: It took too long.
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
        """Do something that takes not too long.

        Raises:
            DeadlineExceededError: It took too long.
        """
        try:
            async with asyncio.timeout(self._timeout):
                yield
        except TimeoutError as error:
            raise DeadlineExceededError(
                f"the request took longer than {self._timeout:g} seconds and was given up"
            ) from error
