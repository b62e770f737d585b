"""Builds the index of a segment, from the embeddings in PostgreSQL to the row in the catalog."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final
from uuid import uuid4

import psycopg

from pgchroma.memory.directory import Directory
from pgchroma.memory.files import (
    FileIndex,
    Head,
    OtherSegmentError,
    OtherVersionError,
    SegmentKey,
    UnusableFileError,
    open_file,
    write_file,
)
from pgchroma.memory.flat_index import FlatIndex, normalize
from pgchroma.memory.source import (
    SegmentRows,
    SourceSegment,
    VanishedError,
    await_writers,
    find_segment,
    find_tokens,
    insert_token,
    may_insert_token,
    read_rows,
)

__all__ = ("MAX_DIMENSION", "MAX_ENTRIES", "MIN_ENTRIES", "Builder", "RefusedError", "open_any")

_log = logging.getLogger("pgchroma.memory")

MIN_ENTRIES, MAX_ENTRIES = 500, 150_000
"""How many embeddings a segment with an index in memory has. The search of a longer one costs as
much as that of PostgreSQL's index."""

MAX_DIMENSION: Final = 2_000
"""The most dimensions of an index in memory."""

MAX_BYTES: Final = 512 << 20
"""The greatest size of a segment's embeddings. A build takes about twice this much memory: for the
embeddings, a sample of them and the index; and as much again if some of them are zeros."""

APPLICATION: Final = "pgchroma memory"


class RefusedError(Exception):
    """No index can be built of these embeddings."""


@dataclass(frozen=True, slots=True)
class Builder:
    """Builds indexes.

    Attributes:
        conninfo: The database. A pooler may be in between.
        directory: Where the files are.
        wait: Waits for some seconds, and returns whether to give up.
    """

    conninfo: str
    directory: Directory
    wait: Callable[[float], bool]

    def build(self, key: SegmentKey) -> FileIndex:
        """Return the index of a segment, which is built unless there is one on this host.

        Raises:
            OccupiedError: Another process is building an index.
            VanishedError: The segment no longer exists.
            RefusedError: No index finds enough of its embeddings, or there is no room for one.
            psycopg.Error: PostgreSQL refused a statement, or cannot be reached.
            OSError: The file cannot be written.
        """
        self._check_refused(key)
        with self._connected() as connection:
            segment = find_segment(connection, key)
            # Another process may have built it since the last look-up.
            opened = open_any(self.directory, key, find_tokens(connection, segment))
            if opened is not None:
                return opened
            if not may_insert_token(connection):
                raise RefusedError("this user may not make an index known in the catalog")
            # No other segment has to wait for the writers of this one.
            if not await_writers(connection, segment, self.wait):
                raise VanishedError("a transaction that writes to it does not end")
            with self.directory.locked():
                # Or while this process waited.
                opened = open_any(self.directory, key, find_tokens(connection, segment))
                return opened or self._build(connection, segment)

    def _check_refused(self, key: SegmentKey) -> None:
        if self.directory.is_refused(key):
            raise RefusedError("its embeddings do not suit an index of this form")

    def _build(self, connection: psycopg.Connection[Any], segment: SourceSegment) -> FileIndex:
        # Another process may have refused it in the meantime.
        self._check_refused(segment.key)
        started = time.monotonic()
        rows = read_rows(connection, segment, MAX_BYTES, self.wait)
        token = self._write(segment, rows)
        index = self._publish(connection, segment, token, rows.filenode)
        _log.info(
            "collection %s: built an index in memory of %d embeddings in %.1f s",
            segment.key.collection,
            index.entries,
            time.monotonic() - started,
        )
        return index

    def _connected(self) -> psycopg.Connection[Any]:
        return psycopg.connect(
            self.conninfo, autocommit=True, application_name=APPLICATION, prepare_threshold=None
        )

    def _write(self, segment: SourceSegment, rows: SegmentRows) -> str:
        """Write the file of an index, and return its token."""
        positions, matrix = rows.positions, rows.matrix
        if segment.space == "cosine":
            has_direction = normalize(matrix)
            if not has_direction.all():
                # PostgreSQL has an index of the others.
                positions, matrix = positions[has_direction], matrix[has_direction]
        index = FlatIndex.build(matrix, segment.space) if len(matrix) >= MIN_ENTRIES else None
        if index is None:
            self.directory.refuse(segment.key)
            raise RefusedError("its embeddings do not suit an index of this form")
        token, raw = str(uuid4()), index.serialized()
        head = Head(
            token,
            segment.key,
            segment.space,
            segment.dimension,
            len(positions),
            index.shortlist,
            len(raw),
        )
        if not self.directory.make_room(len(raw) + head.positions_bytes):
            raise RefusedError("it is longer than all files may be together")
        write_file(self.directory.file(token), head, positions, raw.tobytes())
        return token

    def _publish(
        self,
        connection: psycopg.Connection[Any],
        segment: SourceSegment,
        token: str,
        filenode: int,
    ) -> FileIndex:
        """Make an index usable; remove its file if that fails."""
        path = self.directory.file(token)
        try:
            opened = open_file(path, token, segment.key)
            if not insert_token(connection, segment, token, filenode):
                raise VanishedError("its segment was replaced during the build")
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        # Only look-ups from now on have to find its token.
        opened.opened_at = time.monotonic()
        return opened


def open_any(directory: Directory, key: SegmentKey, tokens: Iterable[str]) -> FileIndex | None:
    """Open the file of one of a segment's tokens; remove files that are damaged."""
    for token in tokens:
        path = directory.file(token)
        try:
            index = open_file(path, token, key)
        except (FileNotFoundError, OtherVersionError, OtherSegmentError):
            continue
        except UnusableFileError as reason:
            _log.warning("removing the index %s: %s", path, reason)
            path.unlink(missing_ok=True)
            continue
        # Another process may have removed it just now, or the directory may be read-only.
        with suppress(OSError):
            os.utime(path)
        return index
    return None
