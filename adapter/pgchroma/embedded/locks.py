"""Locks between processes, which the kernel gives back when their holder dies, and waiting."""

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
_PATIENCE = 5.0


class FileLock:
    """An flock on a file of its own.

    Two objects for one file exclude each other within a process just as between processes, so
    threads need no lock besides.
    """

    def __init__(self, path: Path, *, create: bool = True) -> None:
        # Reading is all that flock asks for, and all that root may leave to a file's next user.
        flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | (os.O_CREAT if create else 0)
        self.fd = os.open(path, flags, 0o600)
        give_to_owner_of(path.parent, self.fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def try_shared(self) -> bool:
        """Take the lock along with others; false when someone has it alone."""
        return self._try(fcntl.LOCK_SH)

    def try_exclusive(self) -> bool:
        """Take the lock alone; false when anyone else has it."""
        return self._try(fcntl.LOCK_EX)

    def is_taken(self) -> bool:
        """Whether another holder has the lock alone."""
        if not self.try_shared():
            return True
        fcntl.flock(self.fd, fcntl.LOCK_UN)
        return False

    def release(self) -> None:
        """Give the lock back, also when a forked child has inherited it."""
        fcntl.flock(self.fd, fcntl.LOCK_UN)
        self.hand_over()

    def hand_over(self) -> None:
        """Leave the lock, if it is held, to the children which have inherited it, or to nobody."""
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
    """Yield, at growing intervals, until the caller has what it waits for or `limit` has passed.

    A wait of more than a few seconds is announced with `notice`, once.
    """
    begun, pause, told = time.monotonic(), _FIRST_PAUSE, False
    while (waited := time.monotonic() - begun) < limit:
        yield
        if waited > _PATIENCE and not told:
            announce(notice if isinstance(notice, str) else notice())
            told = True
        time.sleep(pause)
        pause = min(pause * 1.2, _MAX_PAUSE_SECONDS)
