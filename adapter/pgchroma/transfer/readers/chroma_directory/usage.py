"""Find out whether a directory is in use, and notice changes to its files.

An idle Chroma keeps `chroma.sqlite3` open but holds no lock on it, so open files say more than
locks. Processes in other containers, and those of other users, show neither.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias

__all__ = ("FileStates", "User", "file_states", "find_users")

FileStates: TypeAlias = Mapping[Path, tuple[int, int, int] | None]
"""The inode, the size and the time of the last change of files; `None` for a missing file."""


_FLAGS: Final = re.compile(r"^flags:\s*([0-7]+)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class User:
    """A process that uses a directory.

    Attributes:
        what: What it does there, such as "has chroma.sqlite3 open".
    """

    pid: int
    program: str
    what: str


def find_users(directory: Path) -> list[User]:
    """Return other processes that may write to the directory.

    They have files below it open for writing, or hold locks on its database. A process that only
    reads, such as another import, does no harm.
    """
    database = directory / "chroma.sqlite3"
    places = directory.resolve(), database.resolve()
    found: dict[int, str] = {}
    readers = {os.getpid()}
    for pid, path, may_write in _open_files(places):
        if may_write:
            found[pid] = f"has {path.name} open"
        else:
            readers.add(pid)
    for pid in _lock_holders(database):
        if pid not in readers:
            found.setdefault(pid, "holds a lock on chroma.sqlite3")
    found.pop(os.getpid(), None)
    return [User(pid, _program(pid), what) for pid, what in sorted(found.items())]


def file_states(paths: Iterable[Path]) -> FileStates:
    """Return the states of files, which differ after a change."""
    return {path: _state(path) for path in paths}


def _state(path: Path) -> tuple[int, int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns


def _open_files(places: Sequence[Path]) -> Iterator[tuple[int, Path, bool]]:
    """Yield processes with the files below places that they have open, and whether for writing."""
    # Elsewhere than on Linux there is no /proc, and nothing is found.
    for entry in Path("/proc").glob("[0-9]*"):
        for number, path in _links(entry / "fd"):
            if any(path.is_relative_to(place) for place in places):
                yield int(entry.name), path, _may_write(entry / "fdinfo" / number)


def _may_write(descriptor: Path) -> bool:
    try:
        found = _FLAGS.search(descriptor.read_text("ascii"))
    except OSError:
        return True
    return found is None or int(found[1], 8) & os.O_ACCMODE != os.O_RDONLY


def _links(descriptors: Path) -> Iterator[tuple[str, Path]]:
    try:
        links = list(descriptors.iterdir())
    except OSError:
        # The process has ended, or belongs to another user.
        return
    for link in links:
        try:
            yield link.name, link.readlink()
        except OSError:
            continue


def _lock_holders(database: Path) -> Iterator[int]:
    """Yield the processes with a lock on a file.

    The kernel's list of locks is read, since opening and closing the file would release the locks
    that SQLite holds on it elsewhere in this process.
    """
    try:
        status = database.stat()
        lines = Path("/proc/locks").read_text("ascii").splitlines()
    except OSError:
        return
    device = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}:{status.st_ino}"
    for line in lines:
        words = line.split()
        if device in words:
            pid = int(words[words.index(device) - 1])
            if pid > 0:
                yield pid


def _program(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text("utf-8", "replace").strip()
    except OSError:
        return "unknown program"
