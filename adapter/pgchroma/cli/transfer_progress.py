"""A progress bar of a transfer, on standard error and in a terminal only."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from pgchroma.cli.printing import is_terminal

__all__ = ("transfer_progress",)


@contextmanager
def transfer_progress(name: str, total: int | None) -> Iterator[Callable[[int], None]]:
    """Show a bar for a collection, and yield a function that adds to the records that were read.

    Args:
        name: The text before the bar.
        total: How many records there are, if that is known.
    """
    if not is_terminal(sys.stderr):
        yield lambda count: None
        return
    from rich.console import Console  # noqa: PLC0415  (only in a terminal)
    from rich.markup import escape  # noqa: PLC0415
    from rich.progress import (  # noqa: PLC0415
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(),
    )  # fmt: skip
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(escape(name), total=total)
        yield lambda count: progress.advance(task, count)
