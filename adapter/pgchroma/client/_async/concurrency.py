"""How slow work, and waiting, is kept off the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import ParamSpec, TypeVar

__all__ = ("aside", "pause")

P = ParamSpec("P")
R = TypeVar("R")


async def aside(work: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Do `work` in a thread of its own and wait for it."""
    return await asyncio.to_thread(work, *args, **kwargs)


async def pause(seconds: float) -> None:
    """Let others work for a while."""
    await asyncio.sleep(seconds)
