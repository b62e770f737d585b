"""How work in a thread learns that nobody waits for it any more."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator
    from concurrent.futures import Future

__all__ = ("cancel_event", "current_call")

current_call: ContextVar[Future[Any] | None] = ContextVar("current_call", default=None)
"""The outcome of what runs in this context; whoever no longer waits for it cancels it."""


@contextmanager
def cancel_event() -> Iterator[threading.Event]:
    """Give an event that is set when the block is left, or before if nobody waits any more."""
    ended = threading.Event()
    if (outcome := current_call.get()) is not None:
        outcome.add_done_callback(lambda _: ended.set())
    try:
        yield ended
    finally:
        ended.set()
