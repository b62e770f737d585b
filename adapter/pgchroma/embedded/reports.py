"""The files that a server writes about itself: its pid file and its log."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from pgchroma.embedded import host

__all__ = ("PidFile", "ServerLog")

MAX_BYTES, KEPT_BYTES = 1 << 20, 1 << 16
MAX_REASON: Final = 200

_SIGNS: Final = ("PANIC:", "No space left", "terminated by", "shutdown request")
"""Parts of the log's messages when the server stops, the most specific first; only for display."""


@dataclass(frozen=True)
class PidFile:
    """The content of postmaster.pid."""

    pid: int
    started: str
    port: str
    socket_directory: str
    status: str

    @classmethod
    def read(cls, data: Path) -> Self | None:
        """Return the running server's file; `None` if it is missing or incomplete."""
        try:
            text = (data / "postmaster.pid").read_text(errors="surrogateescape")
        except FileNotFoundError:
            return None
        lines = text.split("\n")
        if not lines[0].strip().isdigit():
            return None
        lines += [""] * 8
        return cls(int(lines[0]), lines[2], lines[3], lines[4], lines[7].strip())

    @property
    def socket(self) -> Path:
        """The socket that the server listens on."""
        return Path(self.socket_directory, f".s.PGSQL.{self.port}")


class ServerLog:
    """The log of a directory's server.

    Attributes:
        path: The file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._start = 0

    def open(self) -> int:
        """Return a descriptor for the next server to write to."""
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        descriptor = os.open(self.path, flags, 0o600)
        host.give_to_owner_of(self.path.parent, descriptor)
        self._start = os.fstat(descriptor).st_size
        return descriptor

    def trim(self) -> None:
        """Cut a long log to its end."""
        with contextlib.suppress(FileNotFoundError):
            if self.path.stat().st_size > MAX_BYTES:
                kept = self.path.read_bytes()[-KEPT_BYTES:]
                self.path.write_bytes(kept.partition(b"\n")[2])

    def end(self) -> str:
        """Return the last lines that the current server has written."""
        lines = self.path.read_bytes()[self._start :].decode(errors="replace").splitlines()
        return "\n".join(lines[-15:]) or "nothing"

    def reason(self) -> str:
        """Return why the server stopped, according to its log."""
        try:
            text = self.path.read_bytes()[-KEPT_BYTES:].decode(errors="replace")
        except OSError:
            text = ""
        lines = text.rpartition("ready to accept connections")[2].strip().splitlines()
        for sign in _SIGNS:
            for line in lines:
                if sign in line:
                    return line.partition(": ")[2].strip()[:MAX_REASON]
        return "its log has no reason, so it was probably killed"
