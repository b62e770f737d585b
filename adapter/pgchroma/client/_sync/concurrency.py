"""The synchronous twin of `_async.concurrency`: the caller's thread does the work itself."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import ParamSpec, TypeVar

__all__ = ("aside", "pause")

P = ParamSpec("P")
R = TypeVar("R")


def aside(work: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Do `work`."""
    return work(*args, **kwargs)


def pause(seconds: float) -> None:
    """Wait for a while."""
    time.sleep(seconds)
