"""The directory of the files, which the processes of one user share on a host."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pgchroma.memory.files import SegmentKey

__all__ = ("Directory", "OccupiedError")

FILE, PART, REFUSAL = ".index", ".part", ".refused"
"""The suffixes of complete files, of files that are being written, and of notes that a segment's
embeddings do not suit an index."""

LOCK: Final = "lock"

MAX_UNUSED_SECONDS: Final = 7 * 86_400.0
"""Files that no process used for this long are removed."""


class OccupiedError(Exception):
    """Another process is building an index."""


@dataclass(frozen=True, slots=True)
class Directory:
    """A directory of this user's alone.

    Attributes:
        max_bytes: How long all files may be together.
    """

    path: Path
    max_bytes: int

    def prepare(self) -> None:
        """Create the directory if it does not exist.

        Raises:
            OSError: It cannot be created, or other users may write to it.
        """
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        state = self.path.stat()
        if state.st_uid != os.geteuid() or state.st_mode & 0o077:
            raise PermissionError(
                f"other users may read or write {self.path}: it has to belong to this user, with "
                "mode 0700"
            )

    def file(self, token: str) -> Path:
        """Return the path of an index's file."""
        return self.path / (token + FILE)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Build: only one process does at a time. Its end, however it comes, frees the lock.

        Raises:
            OccupiedError: Another process does.
            OSError: The directory cannot be written to.
        """
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(self.path / LOCK, flags, 0o600)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise OccupiedError from error
            yield
        finally:
            # A forked child has the descriptor, too, and with it the lock.
            with suppress(OSError):
                fcntl.flock(descriptor, fcntl.LOCK_UN)
            os.close(descriptor)

    def make_room(self, size: int) -> bool:
        """Remove the files that were not used for longest, and those of builders that were killed.

        Args:
            size: The bytes of a file that is to be added.

        Returns:
            Whether there is room for it.
        """
        for part in self.path.glob("*" + PART):
            _remove(part)
        if size > self.max_bytes:
            return False
        left, now = self.max_bytes - size, time.time()
        for path, used_at, length in sorted(self._files(), key=lambda each: each[1], reverse=True):
            left -= length
            if left < 0 or now - used_at > MAX_UNUSED_SECONDS:
                _remove(path)
                left += length
        return True

    def refuse(self, key: SegmentKey) -> None:
        """Note that a segment's embeddings do not suit an index."""
        self._refusal(key).touch(mode=0o600)

    def is_refused(self, key: SegmentKey) -> bool:
        """Whether a segment's embeddings do not suit an index."""
        return self._refusal(key).exists()

    def _refusal(self, key: SegmentKey) -> Path:
        name = f"{key.collection.hex}-{key.generation}-{key.first_pos}-{key.end_pos}"
        return self.path / (name + REFUSAL)

    def _files(self) -> Iterator[tuple[Path, float, int]]:
        for suffix in (FILE, REFUSAL):
            for path in self.path.glob("*" + suffix):
                # Another process may have removed it.
                with suppress(FileNotFoundError):
                    state = path.lstat()
                    yield path, state.st_mtime, state.st_size


def _remove(path: Path) -> None:
    with suppress(FileNotFoundError):
        path.unlink()
