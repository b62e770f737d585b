"""The synchronous counterpart of `_async.concurrency`: the caller's thread does the work."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from contextvars import copy_context
from typing import ParamSpec, TypeVar

__all__ = ("in_thread", "run_while", "sleep")

P = ParamSpec("P")
R = TypeVar("R")

BETWEEN = 0.01
"""Seconds between two calls of the other work."""


def in_thread(work: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Call `work` in this thread, and return its result."""
    return work(*args, **kwargs)


def run_while(work: Callable[[], R], other: Callable[[], object]) -> R:
    """Run `work` in another thread, and call `other` repeatedly until it is done."""
    with ThreadPoolExecutor(1, "pgchroma-thread") as threads:
        outcome = threads.submit(copy_context().run, work)
        while not outcome.done():
            other()
            wait([outcome], timeout=BETWEEN)
        return outcome.result()


def sleep(seconds: float) -> None:
    """Wait for some seconds."""
    time.sleep(seconds)
