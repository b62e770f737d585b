"""The handler of logs: it writes the lines of requests in batches.

A write to standard error takes several times as long as formatting the line, and blocks while its
reader is slow.
"""

from __future__ import annotations

import logging
import sys
import time
from collections import deque
from contextlib import suppress
from threading import Event, Lock, Thread
from typing import Final

__all__ = ("BATCHED", "BatchingHandler")

BATCHED: Final = "pgchroma.requests"
"""The logger whose lines are written in batches. Lines of others are written at once."""

SECONDS: Final = 0.1
"""The longest time until a line is written."""

MAX_LINES: Final = 10_000
"""How many lines may wait; requests wait with them if standard error takes no more."""


class BatchingHandler(logging.Handler):
    """Writes to standard error, in the order of the records."""

    def __init__(self) -> None:
        super().__init__()
        # Lines are added while others are taken out, without a common lock.
        self._lines: deque[str] = deque()
        self._writing = Lock()
        self._has_lines = Event()
        self._thread: Thread | None = None

    def emit(self, record: logging.LogRecord) -> None:
        """Add a line, and write it unless it is a request's."""
        try:
            self._lines.append(self.format(record))
        except Exception:
            self.handleError(record)
            return
        if record.name != BATCHED or len(self._lines) > MAX_LINES:
            self.flush()
        elif not self._has_lines.is_set():
            self._has_lines.set()
            self._start()

    def flush(self) -> None:
        """Write all lines."""
        with self._writing:
            lines = []
            while self._lines:
                lines.append(f"{self._lines.popleft()}\n")
            # There is nowhere to report that standard error is closed.
            with suppress(OSError, ValueError):
                sys.stderr.write("".join(lines))
                sys.stderr.flush()

    def _start(self) -> None:
        if self._thread is None:
            thread = Thread(target=self._work, name="pgchroma-log", daemon=True)
            try:
                thread.start()
            except RuntimeError:
                # An ending process can start no threads.
                self.flush()
            else:
                self._thread = thread

    def _work(self) -> None:
        while True:
            self._has_lines.wait()
            time.sleep(SECONDS)
            self._has_lines.clear()
            self.flush()
