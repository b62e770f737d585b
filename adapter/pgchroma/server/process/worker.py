"""A worker process: makes the application, gives signs of life, ends with its supervisor."""

from __future__ import annotations

import asyncio
import logging
import multiprocessing
import os
import signal
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from typing import Any, NoReturn

from pgchroma.server.observability.logs import describe, log_uncaught
from pgchroma.server.process.run_directory import RunDirectory
from pgchroma.server.settings import ServerSettings

__all__ = ("give_up", "load", "working")

_log = logging.getLogger("pgchroma.server")

HEARTBEAT = 1.0
"""Seconds between two signs of life."""


def load(settings: ServerSettings, conninfo: str, run_directory: RunDirectory) -> Any:
    """Return the application; what a worker process begins with."""
    log_uncaught()
    try:
        # The supervisor sends this function to its workers, and has no use for what it imports.
        from pgchroma.server.http.app import create_app  # noqa: PLC0415

        return create_app(settings, conninfo, run_directory)
    except Exception as error:
        _log.error("the worker cannot start", exc_info=error)
        give_up(run_directory, describe(error))


def give_up(run_directory: RunDirectory, reason: str) -> NoReturn:
    """End this process, and let the supervisor say why."""
    run_directory.fail(reason)
    # The frameworks around us would each print a traceback, of what is no fault of theirs.
    os._exit(1)


@asynccontextmanager
async def working(run_directory: RunDirectory, beat: Any) -> AsyncGenerator[None, None]:
    """Give signs of life, and end when the supervisor is gone.

    Args:
        run_directory: Where signs are left.
        beat: Called with each sign; None: nobody looks for signs.
    """
    _end_with_parent(run_directory)
    if beat is None:
        yield
        return
    task = asyncio.create_task(_beat(run_directory, beat))
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def _beat(run_directory: RunDirectory, beat: Any) -> None:
    while True:
        run_directory.beat()
        beat()
        await asyncio.sleep(HEARTBEAT)


def _end_with_parent(run_directory: RunDirectory) -> None:
    parent = multiprocessing.parent_process()
    if parent is None:
        return
    loop = asyncio.get_running_loop()

    def end() -> None:
        loop.remove_reader(parent.sentinel)
        _log.error("the supervising process is gone")
        run_directory.remove()
        os.kill(os.getpid(), signal.SIGTERM)

    loop.add_reader(parent.sentinel, end)
