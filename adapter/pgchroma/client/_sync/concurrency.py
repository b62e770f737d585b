"""The synchronous twin of `_async.concurrency`: the caller's thread does the work itself."""

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
"""Seconds between two looks."""


def in_thread(work: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Do `work`."""
    return work(*args, **kwargs)


def run_while(work: Callable[[], R], meanwhile: Callable[[], object]) -> R:
    """Do `work` in a thread of its own, and `meanwhile` again and again until that is done."""
    with ThreadPoolExecutor(1, "pgchroma-beside") as threads:
        outcome = threads.submit(copy_context().run, work)
        while not outcome.done():
            meanwhile()
            wait([outcome], timeout=BETWEEN)
        return outcome.result()


def sleep(seconds: float) -> None:
    """Wait for a while."""
    time.sleep(seconds)
