"""Waiting for backends, in the caller's thread. `_async/io.py` has the same names."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import BoundedSemaphore, Lock, RLock
from typing import ParamSpec, TypeVar

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

sleep = time.sleep

Turn = RLock
"""Held by a thread while it uses a connection of the caller's."""


def in_thread(work: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Do work: the caller's thread may wait."""
    return work(*args, **kwargs)


class Seats:
    """A semaphore with a timeout.

    Attributes:
        waiting: The number of threads that wait.
    """

    def __init__(self, size: int) -> None:
        self.waiting = 0
        self._seats = BoundedSemaphore(size)
        self._lock = Lock()
        self.release = self._seats.release

    def acquire(self, timeout: float) -> bool:
        """Take a seat; return whether there was one in time."""
        if self._seats.acquire(blocking=False):
            return True
        with self._lock:
            self.waiting += 1
        try:
            return self._seats.acquire(timeout=timeout)
        finally:
            with self._lock:
                self.waiting -= 1


def together(work: Callable[[A], R], arguments: Sequence[A]) -> list[R]:
    """Call `work` with each argument at the same time, and return the answers."""
    first, *others = arguments
    with ThreadPoolExecutor(len(others), "pgchroma-query") as pool:
        tasks = [pool.submit(work, argument) for argument in others]
        return [work(first), *(task.result() for task in tasks)]


class SingleFlight:
    """Work that one thread does at a time; it checks whether another one has done it."""

    def __init__(self) -> None:
        self._lock = Lock()

    def run(self, work: Callable[[], None]) -> None:
        """Do `work`, after other threads have."""
        with self._lock:
            work()


def sharing_scope() -> object:
    """Return what clients share connections within: nothing less than the process."""
    return None
