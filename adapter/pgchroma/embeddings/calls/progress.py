"""A progress bar of embedding."""

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
"""Seconds before a bar appears that the user did not request."""


def progress_bar(
    name: str, total: int, is_shown: bool | None
) -> AbstractContextManager[Callable[[int], None]]:
    """Show a bar on standard error, because standard output belongs to the program.

    Args:
        name: The text before the bar.
        total: The number of inputs.
        is_shown: Whether to show the bar. `None` means: in a terminal, and if the work takes longer
            than two seconds.

    Returns:
        A context with a function that adds to the number of completed inputs. Any thread can call
        it.
    """
    if is_shown is False or (is_shown is None and not sys.stderr.isatty()):
        return nullcontext(lambda count: None)
    return _bar(name, total, 0.0 if is_shown else _SHOWN_AFTER)


@contextmanager
def _bar(name: str, total: int, after: float) -> Iterator[Callable[[int], None]]:
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
