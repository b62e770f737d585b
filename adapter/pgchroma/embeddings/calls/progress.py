"""A bar that shows how far embedding has come."""

from __future__ import annotations

import sys
import threading
import time
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ("progress_bar",)

_SHOWN_AFTER = 2.0
"""Seconds before a bar appears that was not asked for."""


def progress_bar(
    name: str, total: int, wanted: bool | None
) -> AbstractContextManager[Callable[[int], None]]:
    """Show a bar on standard error; what a program prints is its own.

    Args:
        name: What stands before it.
        total: How many there are.
        wanted: Whether to show it; None: in a terminal, and if it takes longer than two seconds.

    Returns:
        A context, with a function that is told how many more are done; any thread may call it.
    """
    if wanted is False or (wanted is None and not sys.stderr.isatty()):
        return nullcontext(lambda count: None)
    return _shown(name, total, 0.0 if wanted else _SHOWN_AFTER)


@contextmanager
def _shown(name: str, total: int, after: float) -> Iterator[Callable[[int], None]]:
    from rich.console import Console  # noqa: PLC0415
    from rich.progress import Progress  # noqa: PLC0415

    begin = time.monotonic()
    lock = threading.Lock()
    progress = Progress(console=Console(stderr=True))
    task = progress.add_task(name, total=total)

    def advance(count: int) -> None:
        with lock:
            progress.advance(task, count)
            if not progress.live.is_started and time.monotonic() - begin >= after:
                progress.start()

    if after == 0:
        progress.start()
    try:
        yield advance
    finally:
        progress.stop()
