"""The directory that the supervisor and its workers share; it is removed with the server.

It has the workers' heartbeat files, their metrics, and the reason why a worker cannot start.
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
"""Seconds without a heartbeat after which a worker counts as not answering."""

DEAD_AFTER = 30.0
"""Seconds without a heartbeat after which a worker counts as hung or lost."""

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
        """The directory of the workers' metrics, for Prometheus."""
        return self.directory / "metrics"

    def beat(self) -> None:
        """Update this worker's heartbeat file."""
        # The monotonic clock is never set, and is the same for all processes of a machine.
        file = self.directory / f"{_PREFIX}{os.getpid()}"
        file.touch()
        os.utime(file, (time.monotonic(), time.monotonic()))

    def heartbeat_ages(self) -> dict[int, float]:
        """Return the seconds since each worker's last heartbeat, by process id."""
        heartbeat_ages = {}
        for file in self.directory.glob(f"{_PREFIX}*"):
            # Another thread may just have removed it.
            with suppress(FileNotFoundError):
                age = time.monotonic() - file.stat().st_mtime
                heartbeat_ages[int(file.name.removeprefix(_PREFIX))] = age
        return heartbeat_ages

    def forget(self, pid: int) -> None:
        """Remove the heartbeat file of a worker that exited."""
        (self.directory / f"{_PREFIX}{pid}").unlink(missing_ok=True)

    def write_startup_error(self, reason: str) -> None:
        """Record why this worker cannot start."""
        (self.directory / "startup-error").write_text(reason, encoding="utf-8")

    def read_startup_error(self) -> str | None:
        """Return why a worker could not start; `None` if no worker recorded a reason."""
        file = self.directory / "startup-error"
        return file.read_text(encoding="utf-8") if file.exists() else None

    def remove(self) -> None:
        """Remove the directory, on behalf of a supervisor that exited."""
        shutil.rmtree(self.directory, ignore_errors=True)
