"""Waiting for backends, in an event loop. `_sync/io.py` has the same names."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, ParamSpec, TypeVar

__all__ = (
    "Seats",
    "SingleFlight",
    "Turn",
    "in_thread",
    "sharing_scope",
    "sleep",
    "together",
)

P = ParamSpec("P")
A = TypeVar("A")
R = TypeVar("R")

in_thread = asyncio.to_thread
sleep = asyncio.sleep

Turn = asyncio.Lock
"""Held by a task while it uses a connection of the caller's."""


class Seats:
    """A semaphore with a timeout, which belongs to no event loop.

    Attributes:
        waiting: The number of tasks that wait.
    """

    def __init__(self, size: int) -> None:
        self.waiting = 0
        self._free = size
        self._waiters: deque[asyncio.Future[None]] = deque()

    async def acquire(self, timeout: float) -> bool:
        """Take a seat; return whether there was one in time."""
        if self._free:
            self._free -= 1
            return True
        waiter = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        self.waiting += 1
        try:
            async with asyncio.timeout(timeout):
                await waiter
        except BaseException as error:
            if waiter.done() and not waiter.cancelled():
                # The seat and the cancellation came together.
                self.release()
            if isinstance(error, TimeoutError):
                return False
            raise
        finally:
            self.waiting -= 1
        return True

    def release(self) -> None:
        """Give a seat back, to the task that has waited longest."""
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done() and not waiter.get_loop().is_closed():
                waiter.set_result(None)
                return
        self._free += 1


async def together(work: Callable[[A], Awaitable[R]], arguments: Sequence[A]) -> list[R]:
    """Call `work` with each argument at the same time, and return the answers.

    Raises the first error, since the calls are parts of one request.
    """

    async def do(argument: A) -> R:
        return await work(argument)

    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(do(argument)) for argument in arguments]
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None
    return [task.result() for task in tasks]


class SingleFlight:
    """Work that is done once for all tasks that ask for it at the same time."""

    def __init__(self) -> None:
        self._task: asyncio.Task[None] | None = None

    async def run(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Do `work`, or wait for it; it continues if one of the tasks is cancelled."""
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(work())
        await asyncio.shield(self._task)


def sharing_scope() -> object:
    """Return what clients share connections within: the running event loop."""
    return asyncio.get_running_loop()
