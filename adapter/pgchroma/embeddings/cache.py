"""Embeddings kept on disk, so that what was embedded once is not paid for again."""

from __future__ import annotations

import hashlib
import os
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pgchroma.embeddings.protocol import Embeddings

__all__ = ("VectorCache", "content_key")

_PAGE = 500
"""Keys asked for in one statement; SQLite takes 999 parameters."""


class VectorCache:
    """A SQLite file of embeddings by key; processes may share one."""

    def __init__(self, path: str | Path) -> None:
        """Open a file, or make it, readable by its owner alone."""
        self._path = Path(path).expanduser()
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._path.touch(mode=0o600)
        with self._open() as connection, connection:
            # No write-ahead log: while it is set up, whoever else opens the file is refused.
            connection.execute(
                "create table if not exists embeddings"
                " (key blob primary key, embedding blob not null) without rowid"
            )

    def find(self, keys: Sequence[bytes]) -> dict[bytes, Any]:
        """Read what there is of the keys: a float32 array each."""
        found = {}
        with self._open() as connection:
            for page in _pages(keys):
                marks = ", ".join("?" * len(page))
                rows = connection.execute(
                    f"select key, embedding from embeddings where key in ({marks})",  # noqa: S608
                    page,
                )
                found.update({key: np.frombuffer(value, dtype="<f4") for key, value in rows})
        return found

    def keep(self, keys: Sequence[bytes], embeddings: Embeddings) -> None:
        """Write embeddings; of one that is there already the new one counts."""
        values = [np.asarray(embedding, dtype="<f4").tobytes() for embedding in embeddings]
        with self._open() as connection, connection:
            connection.executemany(
                "insert or replace into embeddings (key, embedding) values (?, ?)",
                list(zip(keys, values, strict=True)),
            )

    def _open(self) -> closing[sqlite3.Connection]:
        # One for each use: a connection belongs to one thread, and to none after a fork.
        return closing(sqlite3.connect(os.fspath(self._path), timeout=60.0))


def content_key(identity: str, value: Any) -> bytes:
    """Tell the key of an input: a hash of what embeds it and of what it is."""
    digest = hashlib.sha256(identity.encode())
    if isinstance(value, str):
        digest.update(b"\x00text\x00" + value.encode("utf-8", "surrogatepass"))
    else:
        array = np.ascontiguousarray(value)
        digest.update(f"\x00array\x00{array.dtype}{array.shape}\x00".encode())
        digest.update(array.tobytes())
    return digest.digest()


def _pages(keys: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
    for start in range(0, len(keys), _PAGE):
        yield keys[start : start + _PAGE]
