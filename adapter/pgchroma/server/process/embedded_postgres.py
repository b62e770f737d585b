"""Restart the server's embedded PostgreSQL if it dies."""

from __future__ import annotations

import logging
import os
import signal
import time
from collections.abc import Generator
from contextlib import contextmanager
from threading import Event, Thread
from typing import TYPE_CHECKING, Final

from pgchroma.errors import ChromaError, InternalError

if TYPE_CHECKING:
    from pgchroma.embedded import EmbeddedPostgres

__all__ = ("restarting",)

_log = logging.getLogger("pgchroma.server")

CHECK_SECONDS: Final = 0.2
"""Seconds between two checks whether PostgreSQL runs."""

RESTART_SECONDS: Final = 60.0
"""Seconds for which a failing start is retried."""


@contextmanager
def restarting(postgres: EmbeddedPostgres | None) -> Generator[None, None, None]:
    """Restart the embedded PostgreSQL whenever it dies; do nothing if `postgres` is `None`.

    If it cannot be restarted, this process gets SIGTERM.

    Raises:
        InternalError: On leaving, if PostgreSQL could not be restarted.
    """
    if postgres is None:
        yield
        return
    watch = _Watch(postgres)
    try:
        yield
    finally:
        watch.stop()
        if watch.failure is not None:
            raise InternalError(f"PostgreSQL cannot be restarted: {watch.failure}")


class _Watch:
    """A thread that restarts PostgreSQL.

    Attributes:
        failure: Why it gave up; `None` while it has not.
    """

    def __init__(self, postgres: EmbeddedPostgres) -> None:
        self.failure: str | None = None
        self._postgres = postgres
        self._ended = Event()
        self._thread = Thread(target=self._watch, name="pgchroma-postgres", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop watching. A restart that is running continues."""
        self._ended.set()

    def _watch(self) -> None:
        down_since: float | None = None
        while not self._ended.wait(CHECK_SECONDS):
            try:
                down_since = self._check(down_since)
            except ChromaError as error:
                down_since = down_since or time.monotonic()
                is_hopeless = self._postgres.is_gone() or not self._may_retry(down_since)
                if is_hopeless and not self._ended.is_set():
                    self._give_up(error)
                    return

    def _check(self, down_since: float | None) -> float | None:
        if down_since is None and not self._postgres.is_down():
            return None
        self._postgres.revive()
        _log.warning("PostgreSQL is running again")
        return None

    @staticmethod
    def _may_retry(down_since: float) -> bool:
        return time.monotonic() - down_since < RESTART_SECONDS

    def _give_up(self, error: ChromaError) -> None:
        self.failure = error.message()
        _log.error("PostgreSQL cannot be restarted; stopping the server: %s", self.failure)
        os.kill(os.getpid(), signal.SIGTERM)
