"""Waiting for the driver, in an event loop: pages of rows, and threads for long work.

`_sync/io.py` has the same names.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final, ParamSpec, TypeVar

from psycopg import AsyncCursor
from psycopg.abc import Transformer

from pgchroma.store.running.steps import Rows, Step, Steps
from pgchroma.store.running.weight import is_heavy

__all__ = ("RETURNED", "fetch", "has_many_rows", "in_thread", "is_heavy", "load", "send_in_thread")

P = ParamSpec("P")
T = TypeVar("T")

PAGE: Final = 500
"""Rows that are converted at a time; in between, other tasks run."""


class _ReturnedInThread(Exception):  # noqa: N818  (as `StopIteration`, it is no error)
    """A handler returned; a `StopIteration` cannot pass through a thread's future."""

    def __init__(self, value: Any) -> None:
        self.value = value


RETURNED: Final = (StopIteration, _ReturnedInThread)
"""Raised when a handler has returned; `value` is its answer."""


def has_many_rows(answer: Any) -> bool:
    """Whether a handler may work on an answer for long enough to make other tasks wait."""
    return isinstance(answer, list) and len(answer) > PAGE


async def send_in_thread(steps: Steps[Any], answer: Any) -> Step:
    """Send a handler an answer in a thread, and return its next step."""
    return await in_thread(_send, steps, answer)


def _send(steps: Steps[Any], answer: Any) -> Step:
    try:
        return steps.send(answer)
    except StopIteration as done:
        raise _ReturnedInThread(done.value) from None


async def in_thread(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Do work in a thread.

    A cancellation takes effect once the work has ended: it uses what is closed then.
    """
    task = asyncio.ensure_future(asyncio.to_thread(work, *args, **kwargs))
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        task.exception()
        raise cancelled
    return task.result()


async def fetch(cursor: AsyncCursor[Any]) -> Rows:
    """Return the rows of an executed statement."""
    if cursor.description is None:
        return ()
    rows = await cursor.fetchmany(PAGE)
    page = rows
    while len(page) == PAGE:
        await asyncio.sleep(0)
        page = await cursor.fetchmany(PAGE)
        rows += page
    return rows


async def load(transformer: Transformer, count: int) -> Rows:
    """Return the rows of a transformer's result."""
    rows = transformer.load_rows(0, min(count, PAGE), tuple)
    for first in range(PAGE, count, PAGE):
        await asyncio.sleep(0)
        rows += transformer.load_rows(first, min(first + PAGE, count), tuple)
    return rows
