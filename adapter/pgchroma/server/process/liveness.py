"""A worker's heartbeat, and its end when it cannot start or its supervisor is gone."""

from __future__ import annotations

import asyncio
import logging
import multiprocessing
import os
import signal
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Final, NoReturn

from pgchroma.server.process.run_directory import RunDirectory

__all__ = ("abort_startup", "liveness")

_log = logging.getLogger("pgchroma.server")

HEARTBEAT_SECONDS: Final = 1.0


def abort_startup(run_directory: RunDirectory, reason: str) -> NoReturn:
    """End this process; the supervisor reports the reason."""
    run_directory.write_startup_error(reason)
    # Uvicorn and Litestar would each print a traceback, though the error is not theirs.
    os._exit(1)


@asynccontextmanager
async def liveness(
    run_directory: RunDirectory, on_beat: Callable[[], None] | None
) -> AsyncGenerator[None, None]:
    """Beat while the worker runs, and shut it down if the supervisor exits.

    Args:
        run_directory: Where the heartbeat file is.
        on_beat: Called with each heartbeat. `None` means that the server has no admin port, so
            there is no heartbeat either.
    """
    _end_with_parent(run_directory)
    if on_beat is None:
        yield
        return
    task = asyncio.create_task(_heartbeat(run_directory, on_beat))
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def _heartbeat(run_directory: RunDirectory, on_beat: Callable[[], None]) -> None:
    while True:
        run_directory.beat()
        on_beat()
        await asyncio.sleep(HEARTBEAT_SECONDS)


def _end_with_parent(run_directory: RunDirectory) -> None:
    parent = multiprocessing.parent_process()
    if parent is None:
        return
    loop = asyncio.get_running_loop()

    def end() -> None:
        loop.remove_reader(parent.sentinel)
        _log.error("supervisor exited; shutting down")
        run_directory.remove()
        os.kill(os.getpid(), signal.SIGTERM)

    loop.add_reader(parent.sentinel, end)
