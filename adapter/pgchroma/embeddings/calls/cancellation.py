"""Cancellation of work in a thread whose caller no longer waits for it."""

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
"""The future of the work in this context. A caller that no longer waits for it cancels it."""


@contextmanager
def cancel_event() -> Iterator[threading.Event]:
    """Yield an event that is set at the end of the block, or earlier if the call is cancelled."""
    cancelled = threading.Event()
    if (future := current_call.get()) is not None:
        future.add_done_callback(lambda _: cancelled.set())
    try:
        yield cancelled
    finally:
        cancelled.set()
