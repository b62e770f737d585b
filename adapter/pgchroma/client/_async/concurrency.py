"""How slow work, and waiting, is kept off the event loop."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from contextvars import copy_context
from queue import Empty, SimpleQueue
from typing import ParamSpec, TypeVar

from pgchroma.embeddings.calls.cancellation import current_call

__all__ = ("in_thread", "run_while", "sleep")

P = ParamSpec("P")
R = TypeVar("R")

BETWEEN = 0.01
"""Seconds between two looks."""

_MAX_THREADS = min(32, (os.cpu_count() or 1) + 4)
"""As many as asyncio's own."""


async def in_thread(work: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Do `work` in a thread of its own, in this context, and wait for it.

    If the waiting is cancelled the work is told so, see
    `pgchroma.embeddings.calls.cancellation`, and what comes of it is dropped; neither the event
    loop nor the program waits for it to end.
    """
    loop = asyncio.get_running_loop()
    settled = loop.create_future()
    outcome: Future[R] = Future()
    context = copy_context()
    context.run(current_call.set, outcome)

    def settle() -> None:
        if not settled.done():
            settled.set_result(None)

    def tell(_: Future[R]) -> None:
        # Whoever has closed the loop waits no more.
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(settle)

    outcome.add_done_callback(tell)
    _threads.do(lambda: context.run(_fulfil, outcome, lambda: work(*args, **kwargs)))
    try:
        await settled
    finally:
        outcome.cancel()
    return outcome.result()


async def run_while(
    work: Callable[[], Awaitable[R]], meanwhile: Callable[[], Awaitable[object]]
) -> R:
    """Do `work`, and `meanwhile` again and again until that is done."""
    task = asyncio.ensure_future(work())
    try:
        while not task.done():
            await meanwhile()
            await asyncio.wait([task], timeout=BETWEEN)
    except BaseException:
        task.cancel()
        raise
    return await task


async def sleep(seconds: float) -> None:
    """Let others work for a while."""
    await asyncio.sleep(seconds)


def _fulfil(outcome: Future[R], work: Callable[[], R]) -> None:
    if outcome.cancelled():
        return
    # Who has been cancelled meanwhile takes nothing.
    with suppress(InvalidStateError):
        try:
            made = work()
        except BaseException as error:
            outcome.set_exception(error)
        else:
            outcome.set_result(made)


class _Threads:
    """Threads that do one thing after the other.

    Those of an executor, asyncio's among them, are awaited when the program ends.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self.forget()

    def forget(self) -> None:
        """Begin anew in a forked child, where none of the threads is."""
        self._count = 0
        self._lock = threading.Lock()
        self._idle = threading.Semaphore(0)
        self._work: SimpleQueue[Callable[[], object]] = SimpleQueue()

    def do(self, work: Callable[[], object]) -> None:
        """Have work done, by a new thread if none is idle and there may be more."""
        self._work.put(work)
        if self._idle.acquire(blocking=False):
            return
        with self._lock:
            if self._count == self._most:
                return
            self._count += 1
        threading.Thread(target=self._serve, name="pgchroma-aside", daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                work = self._work.get_nowait()
            except Empty:
                self._idle.release()
                work = self._work.get()
            work()
            # What it holds is not kept until there is something else to do.
            del work


_threads = _Threads(_MAX_THREADS)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_threads.forget)
