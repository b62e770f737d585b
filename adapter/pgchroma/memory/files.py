"""The file of an index: a head, the positions of its entries, the index, and a checksum.

    magic           8 bytes
    length          of the head, 4 bytes
    head            JSON; padded with zeros to a multiple of 64 bytes, from the file's beginning
    positions       8 bytes for each entry, and 8 zeros: row -1 is no position
    index           as faiss serializes it
    checksum        BLAKE2b of all of the above, 32 bytes

A file is written under another name, and renamed when it is complete. It is never changed
afterwards, only removed: processes that have mapped it go on reading it. faiss may crash on a
damaged file, so nothing of a file is used before its checksum is right.
"""

from __future__ import annotations

import errno
import mmap
import os
import struct
import sys
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from hashlib import blake2b
from pathlib import Path
from stat import S_ISREG
from typing import Any, Final
from uuid import UUID

import numpy as np
import orjson
from numpy.typing import NDArray

from pgchroma.memory.flat_index import VERSION, FlatIndex
from pgchroma.model.types import Space

__all__ = (
    "FileIndex",
    "Head",
    "OtherSegmentError",
    "OtherVersionError",
    "SegmentKey",
    "UnusableFileError",
    "open_file",
    "write_file",
)

MAGIC: Final = b"pgcmem1\n"
ALIGNMENT: Final = 64
SUM_BYTES: Final = 32

_PREFIX: Final = struct.Struct("<8sI")


class UnusableFileError(Exception):
    """A file is damaged, or it is not the one that was looked for."""


class OtherVersionError(Exception):
    """A file was written by another version, which may still use it."""


class OtherSegmentError(Exception):
    """A file is an index of another segment, or of this one before it was cut."""


@dataclass(frozen=True, slots=True)
class SegmentKey:
    """The part of a table of embeddings that an index has.

    Attributes:
        collection: The collection's id.
        generation: The generation of the table.
    """

    collection: UUID
    generation: int
    first_pos: int
    end_pos: int


@dataclass(frozen=True, slots=True)
class Head:
    """What a file says of itself.

    Attributes:
        token: The key of the index in the catalog.
        shortlist: See `FlatIndex`.
        size: The bytes of the index.
        version: The form of the index, and the version of faiss that wrote it.
        byteorder: That of the machine that wrote it.
    """

    token: str
    key: SegmentKey
    space: Space
    dimension: int
    entries: int
    shortlist: int
    size: int
    version: str = VERSION
    byteorder: str = sys.byteorder

    @property
    def positions_bytes(self) -> int:
        """The bytes of the positions."""
        return 8 * (self.entries + 1)

    def encoded(self) -> bytes:
        """Return what precedes the positions."""
        text = orjson.dumps(asdict(self))
        prefix = _PREFIX.pack(MAGIC, len(text)) + text
        return prefix + bytes(-len(prefix) % ALIGNMENT)

    @classmethod
    def decoded(cls, raw: bytes) -> Head:
        """Return the head of a file whose checksum is right."""
        values: dict[str, Any] = orjson.loads(raw)
        key = values.pop("key")
        return cls(key=SegmentKey(UUID(key.pop("collection")), **key), **values)


class FileIndex:
    """An index whose file was checked and is mapped. It is a `pgchroma.store.proposers.Proposer`.

    Attributes:
        path: The file.
        head: Its head.
        opened_at: When it was opened, on the clock of `time.monotonic`.
        used_at: When it was last asked for candidates, or opened, on the same clock.
    """

    def __init__(
        self, path: Path, head: Head, positions: NDArray[np.int64], index: FlatIndex
    ) -> None:
        self.path = path
        self.head = head
        self.opened_at = time.monotonic()
        self.used_at = self.opened_at
        self._positions = positions
        self._index = index

    @property
    def token(self) -> str:
        """The key of its row in the catalog."""
        return self.head.token

    @property
    def entries(self) -> int:
        """How many embeddings it has."""
        return self.head.entries

    def propose(self, queries: NDArray[np.float32], count: int) -> NDArray[np.int64]:
        """Return the positions of embeddings that are probably among the nearest."""
        self.used_at = time.monotonic()
        proposed: NDArray[np.int64] = self._positions[self._index.search(queries, count)]
        return proposed


def write_file(path: Path, head: Head, positions: NDArray[np.int64], index: bytes) -> None:
    """Write a file as a whole, or not at all.

    Raises:
        OSError: It cannot be written, for example because the disk is full.
    """
    part = path.with_suffix(".part")
    descriptor = os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            checksum = blake2b(digest_size=SUM_BYTES)
            for block in (head.encoded(), positions.tobytes(), bytes(8), index):
                checksum.update(block)
                file.write(block)
            file.write(checksum.digest())
            file.flush()
            os.fsync(file.fileno())
        part.rename(path)
    except BaseException:
        with suppress(OSError):
            part.unlink()
        raise
    _sync_directory(path.parent)


def open_file(path: Path, token: str, key: SegmentKey) -> FileIndex:
    """Check a file and map it.

    Args:
        path: The file.
        token: The token that it has to have.
        key: What it has to be an index of.

    Raises:
        FileNotFoundError: There is no such file.
        OSError: It cannot be opened.
        OtherVersionError: Another version wrote it.
        OtherSegmentError: It is of another segment, or of more of this one.
        UnusableFileError: It is damaged, or not this user's alone.
    """
    raw = _map(path)
    try:
        head, start = _checked(raw)
        if head.token != token:
            raise UnusableFileError("it has another token")
        if head.key != key:
            raise OtherSegmentError
        end = start + head.positions_bytes
        positions = raw[start:end].view(np.int64)
        index = FlatIndex.mapped(raw[end : end + head.size], head.space, head.shortlist)
    except (ValueError, KeyError, TypeError, struct.error) as error:
        raise UnusableFileError(f"its head is wrong: {error}") from error
    except RuntimeError as error:
        raise UnusableFileError(f"faiss cannot read it: {error}") from error
    return FileIndex(path, head, positions, index)


def _map(path: Path) -> NDArray[np.uint8]:
    try:
        # Opening a pipe would wait for a writer.
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno != errno.ELOOP:
            # The file itself may be in order.
            raise
        raise UnusableFileError("it is a symbolic link") from error
    try:
        state = os.fstat(descriptor)
        if not S_ISREG(state.st_mode) or state.st_uid != os.geteuid() or state.st_mode & 0o077:
            raise UnusableFileError("other users may have written it")
        if state.st_size < _PREFIX.size + SUM_BYTES:
            raise UnusableFileError("it is too short")
        return np.frombuffer(mmap.mmap(descriptor, 0, prot=mmap.PROT_READ), np.uint8)
    finally:
        os.close(descriptor)


def _checked(raw: NDArray[np.uint8]) -> tuple[Head, int]:
    """Return the head of a file, and where the positions begin."""
    magic, length = _PREFIX.unpack(raw[: _PREFIX.size].tobytes())
    if magic != MAGIC:
        raise UnusableFileError("it is no index")
    body, given = raw[:-SUM_BYTES], raw[-SUM_BYTES:].tobytes()
    if blake2b(body.data, digest_size=SUM_BYTES).digest() != given:
        raise UnusableFileError("its checksum is wrong")
    end = _PREFIX.size + length
    head = Head.decoded(raw[_PREFIX.size : end].tobytes())
    start = end + -end % ALIGNMENT
    if (head.version, head.byteorder) != (VERSION, sys.byteorder):
        raise OtherVersionError
    if start + head.positions_bytes + head.size != len(body):
        raise UnusableFileError("its length is wrong")
    return head, start


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
