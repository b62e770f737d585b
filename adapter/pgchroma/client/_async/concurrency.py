"""Threads and waiting, so that slow work does not block the event loop."""

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
"""Seconds between two calls of the other work."""

_MAX_THREADS = min(32, (os.cpu_count() or 1) + 4)
"""The limit of asyncio's default executor."""


async def in_thread(work: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Call `work` in a separate thread with a copy of this context, and return its result.

    If the task is cancelled, the work can see it, see `pgchroma.embeddings.calls.cancellation`.
    Its result is dropped, and neither the event loop nor the program waits for it to end.
    """
    loop = asyncio.get_running_loop()
    finished = loop.create_future()
    outcome: Future[R] = Future()
    context = copy_context()
    context.run(current_call.set, outcome)

    def finish() -> None:
        if not finished.done():
            finished.set_result(None)

    def wake(_: Future[R]) -> None:
        # A closed loop has no task that waits.
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(finish)

    outcome.add_done_callback(wake)
    _threads.run(lambda: context.run(_fulfil, outcome, lambda: work(*args, **kwargs)))
    try:
        await finished
    finally:
        outcome.cancel()
    return outcome.result()


async def run_while(work: Callable[[], Awaitable[R]], other: Callable[[], Awaitable[object]]) -> R:
    """Run `work`, and call `other` repeatedly until it is done."""
    task = asyncio.ensure_future(work())
    try:
        while not task.done():
            await other()
            await asyncio.wait([task], timeout=BETWEEN)
    except BaseException:
        task.cancel()
        raise
    return await task


async def sleep(seconds: float) -> None:
    """Wait for some seconds, and let other tasks run."""
    await asyncio.sleep(seconds)


def _fulfil(outcome: Future[R], work: Callable[[], R]) -> None:
    if outcome.cancelled():
        return
    # The task may be cancelled while the work runs, and then takes no result.
    with suppress(InvalidStateError):
        try:
            result = work()
        except BaseException as error:
            outcome.set_exception(error)
        else:
            outcome.set_result(result)


class _Threads:
    """A pool of daemon threads.

    An executor, such as asyncio's, would make the program wait for its threads when it ends.
    """

    def __init__(self, max_threads: int) -> None:
        self._max_threads = max_threads
        self.reset()

    def reset(self) -> None:
        """Start from scratch in a forked child, which has none of the threads."""
        self._count = 0
        self._lock = threading.Lock()
        self._idle = threading.Semaphore(0)
        self._work: SimpleQueue[Callable[[], object]] = SimpleQueue()

    def run(self, work: Callable[[], object]) -> None:
        """Run work in an idle thread, or start one; at the limit, the next idle thread runs it."""
        self._work.put(work)
        if self._idle.acquire(blocking=False):
            return
        with self._lock:
            if self._count == self._max_threads:
                return
            self._count += 1
        threading.Thread(target=self._serve, name="pgchroma-thread", daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                work = self._work.get_nowait()
            except Empty:
                self._idle.release()
                work = self._work.get()
            work()
            # Frees what the work refers to before the thread waits for the next.
            del work


_threads = _Threads(_MAX_THREADS)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_threads.reset)
