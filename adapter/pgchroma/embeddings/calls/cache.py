"""A cache of embeddings on disk, so that no input is embedded and paid for twice."""

from __future__ import annotations

import hashlib
import os
import sqlite3
import sys
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pgchroma.embeddings.protocol import Embeddings

__all__ = ("CacheKeyed", "VectorCache", "class_identity", "content_key")

_PAGE = 500
"""Keys of one statement. SQLite accepts 999 parameters."""


@runtime_checkable
class CacheKeyed(Protocol):
    """An embedding function or an input whose cache key needs more than its settings or its text.

    Examples are a function with a setting that is not stored, and a text that is the address of a
    sound file.
    """

    def cache_identity(self) -> str:
        """Return the text to add to the cache key."""


class VectorCache:
    """A SQLite file of embeddings by key. Several processes can share it.

    All methods raise `ValueError` if SQLite cannot use the file as a database.
    """

    def __init__(self, path: str | Path) -> None:
        """Open the file. A new file is readable by its owner only."""
        self._path = Path(path).expanduser()
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._path.touch(mode=0o600)
        with self._open() as connection:
            # No write-ahead log: SQLite locks out other processes while it sets one up.
            connection.execute(
                "create table if not exists embeddings"
                " (key blob primary key, embedding blob not null) without rowid"
            )

    def find(self, keys: Sequence[bytes]) -> dict[bytes, Any]:
        """Return the stored embeddings of keys as float32 arrays, without damaged ones."""
        embeddings = {}
        with self._open() as connection:
            for page in _pages(keys):
                marks = ", ".join("?" * len(page))
                rows = connection.execute(
                    f"select key, embedding from embeddings where key in ({marks})",  # noqa: S608
                    page,
                )
                read = ((key, _decoded(value)) for key, value in rows)
                embeddings.update({key: each for key, each in read if each is not None})
        return embeddings

    def store(self, keys: Sequence[bytes], embeddings: Embeddings) -> None:
        """Write embeddings. They replace those that are already stored."""
        values = [np.asarray(embedding, dtype="<f4").tobytes() for embedding in embeddings]
        with self._open() as connection:
            connection.executemany(
                "insert or replace into embeddings (key, embedding) values (?, ?)",
                list(zip(keys, values, strict=True)),
            )

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        """Open a connection for one transaction."""
        try:
            # A connection for each use: SQLite's belong to one thread, and do not survive a fork.
            with (
                closing(sqlite3.connect(os.fspath(self._path), timeout=60.0)) as connection,
                connection,
            ):
                yield connection
        except sqlite3.DatabaseError as error:
            raise ValueError(f"cache: cannot use {self._path} as a database: {error}") from error


def content_key(identity: str, value: Any) -> bytes:
    """Return the key of an input: a hash of the function's identity and of the input."""
    digest = hashlib.sha256(identity.encode("utf-8", "surrogatepass"))
    if isinstance(value, str):
        kind = "text"
        # A check against a protocol takes long, and most values are plain texts.
        if type(value) is not str and isinstance(value, CacheKeyed):
            kind = value.cache_identity()
        digest.update(f"\x00{kind}\x00".encode() + value.encode("utf-8", "surrogatepass"))
    else:
        array = np.ascontiguousarray(value)
        digest.update(f"\x00array\x00{array.dtype}{array.shape}\x00".encode())
        digest.update(array.tobytes())
    return digest.digest()


def class_identity(kind: type) -> str:
    """Return a name that distinguishes a class from others, including those of other programs."""
    name = f"{kind.__module__}.{kind.__qualname__}"
    if kind.__module__ not in ("__main__", "__mp_main__"):
        return name
    # Each program has a module of that name. A notebook's has no file, so its directory is used.
    script = getattr(sys.modules.get(kind.__module__), "__file__", None)
    return f"{Path(script or '').absolute()}:{kind.__qualname__}"


def _decoded(value: object) -> Any:
    if not isinstance(value, bytes) or not value or len(value) % 4:
        return None
    embedding = np.frombuffer(value, dtype="<f4")
    return embedding if np.isfinite(embedding).all() else None


def _pages(keys: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
    for start in range(0, len(keys), _PAGE):
        yield keys[start : start + _PAGE]
