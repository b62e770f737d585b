"""What the supervising process and its workers share: a directory, gone with the server.

A worker leaves signs of life there, and the reason if it cannot start.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

__all__ = ("DEAD_AFTER", "STALE_AFTER", "RunDirectory")

STALE_AFTER = 5.0
"""A worker that gave no sign for so many seconds does not answer in time."""

DEAD_AFTER = 30.0
"""A worker that gave no sign for so many seconds hangs, or is gone and was not replaced."""

_PREFIX = "alive-"


@dataclass(frozen=True, slots=True)
class RunDirectory:
    """The shared directory; the same value in every process."""

    directory: Path

    @classmethod
    @contextmanager
    def create(cls) -> Generator[RunDirectory, None, None]:
        """Create a run directory, and remove it at the end."""
        with TemporaryDirectory(prefix="pgchroma-server-") as directory:
            run_directory = cls(Path(directory))
            run_directory.metrics.mkdir()
            yield run_directory

    @property
    def metrics(self) -> Path:
        """Where workers count, for Prometheus."""
        return self.directory / "metrics"

    def beat(self) -> None:
        """Say that this worker is alive."""
        # By the clock that nobody sets; it is the same for every process of the machine.
        file = self.directory / f"{_PREFIX}{os.getpid()}"
        file.touch()
        os.utime(file, (time.monotonic(), time.monotonic()))

    def heartbeat_ages(self) -> dict[int, float]:
        """Return how many seconds ago each worker gave a sign, by process id."""
        heartbeat_ages = {}
        for file in self.directory.glob(f"{_PREFIX}*"):
            # Another thread may just have forgotten it.
            with suppress(FileNotFoundError):
                age = time.monotonic() - file.stat().st_mtime
                heartbeat_ages[int(file.name.removeprefix(_PREFIX))] = age
        return heartbeat_ages

    def forget(self, pid: int) -> None:
        """Remove the sign of a worker that is gone."""
        (self.directory / f"{_PREFIX}{pid}").unlink(missing_ok=True)

    def write_startup_error(self, reason: str) -> None:
        """Say why this worker cannot start."""
        (self.directory / "startup-error").write_text(reason, encoding="utf-8")

    def read_startup_error(self) -> str | None:
        """Return why a worker could not start; None if none has said so."""
        file = self.directory / "startup-error"
        return file.read_text(encoding="utf-8") if file.exists() else None

    def remove(self) -> None:
        """Remove it, for a supervisor that is gone."""
        shutil.rmtree(self.directory, ignore_errors=True)
