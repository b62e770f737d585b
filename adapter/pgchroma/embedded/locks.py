"""Locks between processes, which the kernel releases when their holder dies, and polling."""

from __future__ import annotations

import errno
import fcntl
import os
import time
from typing import TYPE_CHECKING, Self

from pgchroma.embedded.host import give_to_owner_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

__all__ = ("FileLock", "poll")

_FIRST_PAUSE, _MAX_PAUSE_SECONDS = 0.004, 0.2
_ANNOUNCE_AFTER_SECONDS = 5.0


class FileLock:
    """An flock on a file.

    Two objects for one file exclude each other within a process as well as between processes, so
    threads need no other lock.
    """

    def __init__(self, path: Path, *, create: bool = True) -> None:
        # flock requires read access only, which is all that a file of root's may grant later users.
        flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | (os.O_CREAT if create else 0)
        self.fd = os.open(path, flags, 0o600)
        give_to_owner_of(path.parent, self.fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def try_shared(self) -> bool:
        """Take the lock shared; false if another holder has it exclusively."""
        return self._try(fcntl.LOCK_SH)

    def try_exclusive(self) -> bool:
        """Take the lock exclusively; false if another holder has it."""
        return self._try(fcntl.LOCK_EX)

    def is_taken(self) -> bool:
        """Whether another holder has the lock exclusively."""
        if not self.try_shared():
            return True
        fcntl.flock(self.fd, fcntl.LOCK_UN)
        return False

    def release(self) -> None:
        """Release the lock, also for forked children that have inherited it."""
        fcntl.flock(self.fd, fcntl.LOCK_UN)
        self.close_keeping_lock()

    def close_keeping_lock(self) -> None:
        """Close the file without releasing the lock: children that have inherited it keep it."""
        os.close(self.fd)

    def _try(self, kind: int) -> bool:
        try:
            fcntl.flock(self.fd, kind | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
                return False
            raise
        return True


def poll(
    announce: Callable[[str], None], notice: str | Callable[[], str], limit: float = float("inf")
) -> Iterator[None]:
    """Yield at growing intervals until the caller stops or `limit` seconds have passed.

    A wait of more than a few seconds is announced with `notice`, once.
    """
    begun, pause, announced = time.monotonic(), _FIRST_PAUSE, False
    while (waited := time.monotonic() - begun) < limit:
        yield
        if waited > _ANNOUNCE_AFTER_SECONDS and not announced:
            announce(notice if isinstance(notice, str) else notice())
            announced = True
        time.sleep(pause)
        pause = min(pause * 1.2, _MAX_PAUSE_SECONDS)
