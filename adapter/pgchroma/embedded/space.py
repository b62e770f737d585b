"""Disk space: reject writes while PostgreSQL still has space for its write-ahead log.

PostgreSQL stops if it cannot create the next file of its write-ahead log, and without space for one
it does not start again. So a write that would leave too little space is rejected before it is sent,
and a reserve file is deleted to let a stopped server recover and to allow deletes.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from pgchroma.errors import StorageFullError
from pgchroma.model.operations import (
    AddRecords,
    CreateCollection,
    CreateDatabase,
    Operation,
    StartReembedding,
    StoreReembedded,
    UpdateRecords,
    UpsertRecords,
)

__all__ = ("DiskSpace",)

MIB: Final = 1 << 20

MARGIN: Final = 20 * MIB
"""Bytes that must stay free after a write: a file of the write-ahead log has 16 MiB."""

RESERVE: Final = 20 * MIB
"""Size of the reserve file in bytes: the least that a recovery writes."""

ROOMY: Final = RESERVE + MARGIN + 10 * MIB
"""Free bytes above which the reserve file is created."""

COPIES: Final = 3
"""How often a record is written: to a table, to an index, to the write-ahead log."""

_RECORDS: Final = (AddRecords, UpsertRecords, UpdateRecords)
_GROWING: Final = (
    *_RECORDS,
    CreateCollection,
    CreateDatabase,
    StartReembedding,
    StoreReembedded,
)


class DiskSpace:
    """The disk that an embedded server's directory is on.

    Args:
        directory: The server's directory.
        keeps_reserve: Whether there is a reserve file; an ephemeral server is never recovered.
    """

    def __init__(self, directory: Path, *, keeps_reserve: bool = True) -> None:
        self._directory = directory
        self._keeps_reserve = keeps_reserve
        self._reserve = directory / "pgchroma.reserve"
        self._has_given_up = False

    def check(self, operation: Operation[Any]) -> None:
        """Reject an operation that stores more than the disk has space for.

        Deletes and reads pass; if a delete is short of space, the reserve file is deleted.

        Raises:
            StorageFullError: The disk would be too full.
        """
        free = self._free()
        if isinstance(operation, _GROWING):
            self._refuse(free, MARGIN + COPIES * _bytes(operation))
            if self._has_given_up:
                self.set_aside()
        elif not operation.only_reads and free < MARGIN:
            self.give_up()

    def make_room(self) -> None:
        """Delete the reserve file if a server would not have space to start."""
        if self._free() < RESERVE:
            self.give_up()

    def set_aside(self) -> None:
        """Create the reserve file if there is plenty of space."""
        if not self._keeps_reserve or self._reserve.exists() or self._free() < ROOMY:
            return
        self._has_given_up = False
        with suppress(OSError), self._reserve.open("xb") as file:
            # Written, because not every system and file system can allocate space.
            file.write(os.urandom(RESERVE))

    def give_up(self) -> None:
        """Delete the reserve file."""
        self._has_given_up = True
        self._reserve.unlink(missing_ok=True)

    def _refuse(self, free: int, needed: int) -> None:
        if free < needed:
            raise StorageFullError(
                f"the disk of {self._directory} is nearly full: {free // MIB} MiB are free, and"
                f" this write needs {needed // MIB} MiB, most of it for PostgreSQL's write-ahead"
                " log. Nothing was written: delete collections, or free space on the disk"
            )

    def _free(self) -> int:
        room = os.statvfs(self._directory)
        return room.f_bavail * room.f_frsize


def _bytes(operation: Operation[Any]) -> int:
    """Return the approximate size of a write's records."""
    if isinstance(operation, StoreReembedded):
        return int(operation.embeddings.nbytes)
    if not isinstance(operation, _RECORDS):
        return 0
    records = operation.records
    texts = (len(text) for text in records.documents or () if text is not None)
    return sum(texts) + (0 if records.embeddings is None else records.embeddings.nbytes)
