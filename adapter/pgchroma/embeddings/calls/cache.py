"""Embeddings kept on disk, so that what was embedded once is not paid for again."""

from __future__ import annotations

import hashlib
import os
import sqlite3
import sys
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pgchroma.embeddings.protocol import Embeddings

__all__ = ("VectorCache", "class_identity", "content_key")

_PAGE = 500
"""Keys asked for in one statement; SQLite takes 999 parameters."""


class VectorCache:
    """A SQLite file of embeddings by key; processes may share one.

    All methods raise ValueError if the file is no such database, or cannot be used as one.
    """

    def __init__(self, path: str | Path) -> None:
        """Open a file, or make it, readable by its owner alone."""
        self._path = Path(path).expanduser()
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._path.touch(mode=0o600)
        with self._open() as connection:
            # No write-ahead log: while it is set up, whoever else opens the file is refused.
            connection.execute(
                "create table if not exists embeddings"
                " (key blob primary key, embedding blob not null) without rowid"
            )

    def find(self, keys: Sequence[bytes]) -> dict[bytes, Any]:
        """Read what there is of the keys: a float32 array each, and none that is damaged."""
        found = {}
        with self._open() as connection:
            for page in _pages(keys):
                marks = ", ".join("?" * len(page))
                rows = connection.execute(
                    f"select key, embedding from embeddings where key in ({marks})",  # noqa: S608
                    page,
                )
                read = ((key, _embedding_of(value)) for key, value in rows)
                found.update({key: each for key, each in read if each is not None})
        return found

    def keep(self, keys: Sequence[bytes], embeddings: Embeddings) -> None:
        """Write embeddings; of one that is there already the new one counts."""
        values = [np.asarray(embedding, dtype="<f4").tobytes() for embedding in embeddings]
        with self._open() as connection:
            connection.executemany(
                "insert or replace into embeddings (key, embedding) values (?, ?)",
                list(zip(keys, values, strict=True)),
            )

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        """Begin a transaction, of which all or nothing is written."""
        try:
            # One for each use: a connection belongs to one thread, and to none after a fork.
            with (
                closing(sqlite3.connect(os.fspath(self._path), timeout=60.0)) as connection,
                connection,
            ):
                yield connection
        except sqlite3.DatabaseError as error:
            raise ValueError(f"{self._path} cannot be used as a cache: {error}") from error


def content_key(identity: str, value: Any) -> bytes:
    """Tell the key of an input: a hash of what embeds it and of what it is.

    A text that stands for something else says for what by an attribute ``content_kind``.
    """
    digest = hashlib.sha256(identity.encode("utf-8", "surrogatepass"))
    if isinstance(value, str):
        kind = getattr(value, "content_kind", "text")
        digest.update(f"\x00{kind}\x00".encode() + value.encode("utf-8", "surrogatepass"))
    else:
        array = np.ascontiguousarray(value)
        digest.update(f"\x00array\x00{array.dtype}{array.shape}\x00".encode())
        digest.update(array.tobytes())
    return digest.digest()


def class_identity(kind: type) -> str:
    """Tell a class from others, also in other programs that share a cache."""
    name = f"{kind.__module__}.{kind.__qualname__}"
    if kind.__module__ not in ("__main__", "__mp_main__"):
        return name
    # Each program has a module of that name; one without a file, as a notebook, is where it runs.
    script = getattr(sys.modules.get(kind.__module__), "__file__", None)
    return f"{Path(script or '').absolute()}:{kind.__qualname__}"


def _embedding_of(value: object) -> Any:
    if not isinstance(value, bytes) or not value or len(value) % 4:
        return None
    embedding = np.frombuffer(value, dtype="<f4")
    return embedding if np.isfinite(embedding).all() else None


def _pages(keys: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
    for start in range(0, len(keys), _PAGE):
        yield keys[start : start + _PAGE]
