"""A process's membership of a server: a lock on the directory, shared by the process's handles.

Every process holds a shared flock on `pgchroma.lock` in the directory. A process that gets it
exclusively on leaving is the last one, and stops the server. If a process is killed, the kernel
releases its lock; its server keeps running until another process opens and closes the path.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import time
from typing import TYPE_CHECKING, Final

from pgchroma.embedded.locks import FileLock, poll
from pgchroma.errors import InvalidArgumentError, UnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from pgchroma.embedded.cluster import Cluster

__all__ = ("Membership", "explained", "locked")

_log = logging.getLogger("pgchroma.embedded")

USERS: Final = "pgchroma.lock"
START_LOCK: Final = "pgchroma.start.lock"

FIRST_PAUSE: Final = 1.0
"""Seconds between a failed start and the next; doubled after each further failure."""

MAX_PAUSE: Final = 30.0


class Membership:
    """This process's share in the server of one directory.

    Attributes:
        cluster: The directory and its server.
        lock: Held while an ephemeral server is opened or closed.
        conninfo: The connection string.
    """

    def __init__(
        self,
        cluster: Cluster,
        lock: contextlib.AbstractContextManager[object],
        users: FileLock | None = None,
    ) -> None:
        self.cluster = cluster
        self.lock = lock
        self.conninfo = ""
        self._handles = 0
        self._users = users or FileLock(cluster.directory / USERS)
        # A process that holds it exclusively also holds the start lock, so this never waits.
        self._users.try_shared()
        self._server = FileLock(cluster.lock_file)
        self._data: os.stat_result | None = None
        self._failure: UnavailableError | None = None
        self._failures, self._failed_at = 0, 0.0

    def enter(self, start_lock: FileLock) -> None:
        """Count one more handle, once the server runs.

        Args:
            start_lock: The directory's lock for starting and stopping, which the caller holds.
        """
        try:
            self._start(start_lock)
        except BaseException:
            if not self._handles:
                self._release(self.cluster.stop)
            raise
        self._handles += 1

    def leave(self) -> bool:
        """Count one handle less, and return whether it was the last.

        The last handle releases the lock, and stops the server if no other process uses it.
        """
        with self.lock, explained(self.cluster.directory):
            if self.is_gone():
                return self._leave(self.cluster.stop_removed)
            with self.exclusive():
                return self._leave(self.cluster.stop)

    def revive(self) -> None:
        """Start the server again if it has stopped. After a failure, wait before the next attempt.

        Raises:
            UnavailableError: The server does not start, or failed to start a moment ago; or the
                directory is gone.
        """
        with self.lock, explained(self.cluster.directory):
            self.check_there()
            with self.exclusive() as start_lock:
                if not self._handles:
                    raise UnavailableError(f"{self.cluster.directory} was closed by this process")
                self._refuse_too_early()
                # Another thread or process may have started it by now.
                if not self.is_running():
                    reason, directory = self.cluster.log.reason(), self.cluster.directory
                    _log.warning("PostgreSQL in %s stopped: %s; starting it", directory, reason)
                self._start(start_lock)

    def is_usable(self) -> bool:
        """Whether another handle may share it."""
        return bool(self._handles) and not self.is_gone()

    def is_running(self) -> bool:
        """Whether any process of the server is running."""
        return self._server.is_taken()

    def is_gone(self) -> bool:
        """Whether the directory, or PostgreSQL's data in it, was removed, renamed or replaced."""
        try:
            users = (self.cluster.directory / USERS).stat()
            if self._data and not os.path.samestat(self._data, self.cluster.data.stat()):
                return True
        except OSError:
            return True
        return not os.path.samestat(users, os.fstat(self._users.fd))

    def check_there(self) -> None:
        """Raise if the directory is no longer the one that was opened.

        Raises:
            UnavailableError: It was removed, renamed or replaced.
        """
        if self.is_gone():
            raise UnavailableError(
                f"the directory {self.cluster.directory} was removed, renamed or replaced after it"
                " was opened: close this client and open the path again"
            )

    def exclusive(self) -> contextlib.AbstractContextManager[FileLock]:
        """Return a context in which no other thread or process starts or stops the server."""
        return locked(self.cluster.directory / START_LOCK, self.cluster.announce)

    def _start(self, start_lock: FileLock) -> None:
        try:
            self.conninfo = self.cluster.ensure_running(start_lock)
        except UnavailableError as error:
            self._failure, self._failed_at = error, time.monotonic()
            self._failures += 1
            raise
        self._failure, self._failures = None, 0
        self._data = self.cluster.data.stat()

    def _refuse_too_early(self) -> None:
        pause = min(FIRST_PAUSE * 2 ** (self._failures - 1), MAX_PAUSE)
        if self._failure and time.monotonic() - self._failed_at < pause:
            raise UnavailableError(self._failure.message()) from self._failure

    def _leave(self, stop: Callable[[], None]) -> bool:
        self._handles -= 1
        if self._handles:
            return False
        self._release(stop)
        return True

    def _release(self, stop: Callable[[], None]) -> None:
        try:
            if self._users.try_exclusive():
                stop()
        finally:
            self._users.release()
            self._server.close_keeping_lock()


@contextlib.contextmanager
def locked(path: Path, announce: Callable[[str], None]) -> Iterator[FileLock]:
    """Hold a lock exclusively, after waiting for it."""
    notice = f"pgchroma: waiting for another process to start or stop PostgreSQL in {path.parent}"
    with FileLock(path) as lock:
        for _ in poll(announce, notice):
            if lock.try_exclusive():
                break
        yield lock


@contextlib.contextmanager
def explained(directory: Path) -> Iterator[None]:
    """Map the operating system's errors to pgchroma's."""
    try:
        yield
    except (FileExistsError, NotADirectoryError) as error:
        raise InvalidArgumentError(
            f"{directory} is not a directory: choose a directory, or a path that does not exist"
        ) from error
    except OSError as error:
        raise UnavailableError(
            f"PostgreSQL cannot work in {directory}: {error}{_ADVICE.get(error.errno or 0, '')}"
        ) from error


_WRITABLE = ": choose a path that this user can write to"
_ADVICE = {
    errno.EACCES: _WRITABLE,
    errno.EPERM: _WRITABLE,
    errno.EROFS: _WRITABLE,
    errno.ENOSPC: ": the disk is full, and about 64 MiB are needed",
}
