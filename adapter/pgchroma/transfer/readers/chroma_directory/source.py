"""A data directory of Chroma as a source of records."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Final, Self

from pgchroma.errors import InternalError, InvalidArgumentError, UnavailableError
from pgchroma.transfer.readers.chroma_directory.catalog import (
    Catalog,
    StoredCollection,
    read_catalog,
)
from pgchroma.transfer.readers.chroma_directory.database import (
    Database,
    open_database,
    reopen_database,
    side_files,
)
from pgchroma.transfer.readers.chroma_directory.queue import read_queues
from pgchroma.transfer.readers.chroma_directory.records import CollectionReader
from pgchroma.transfer.readers.chroma_directory.shapes import UUID
from pgchroma.transfer.readers.chroma_directory.usage import FileStates, file_states, find_users
from pgchroma.transfer.source import SourceBatch, SourceCollection

__all__ = ("ChromaDirectory",)

_NEWEST: Final = {"embeddings_queue": 2, "sysdb": 10, "metadb": 6}
"""The migrations of Chroma 1.5.9, the newest release that this reader was tested with."""

_RELEASES: Final = (
    ("metadb", 6, "1.5"),
    ("sysdb", 10, "1.3"),
    ("metadb", 5, "1.0"),
    ("sysdb", 9, "0.5.6"),
    ("sysdb", 7, "0.5.4"),
    ("sysdb", 6, "0.5.1"),
    ("sysdb", 5, "0.5.0"),
    ("sysdb", 4, "0.4.15"),
    ("metadb", 3, "0.4.6"),
    ("metadb", 2, "0.4.4"),
    ("metadb", 1, "0.4.0"),
)
"""Migrations and the first releases with them, the newest first."""

_BEFORE_0_4: Final = ("chroma-collections.parquet", "chroma-embeddings.parquet")
_INDEX_FILES: Final = (
    "data_level0.bin", "header.bin", "length.bin", "link_lists.bin", "index_metadata.pickle",
)  # fmt: skip


class ChromaDirectory:
    """The data directory of a `PersistentClient` or a server of Chroma 0.4.0 to 1.5.9.

    Chroma is not needed, and nothing in the directory is written. Damaged directories are read as
    far as possible, and what is lost or suspect is reported with the records.

    A directory whose database is damaged, in use, or in the middle of a transaction is read from a
    temporary copy of `chroma.sqlite3`, which needs as much space as the file.
    """

    def __init__(self, path: str | Path, *, allow_in_use: bool = False) -> None:
        """Describe the source; it is opened as a context manager.

        Args:
            path: The directory.
            allow_in_use: Whether to read a directory that another process has open. A change to it
                during the reading ends the reading with an error.
        """
        self._path = Path(path)
        self._allow_in_use = allow_in_use
        self._resources = ExitStack()
        self._database: Database | None = None
        self._catalog: Catalog | None = None
        self._sources: list[SourceCollection] = []
        self._stored: dict[str, StoredCollection] = {}
        self._warnings: list[str] = []
        self._release: str | None = None
        self._states: FileStates = {}

    def __enter__(self) -> Self:
        """Open the directory.

        Raises:
            InvalidArgumentError: It is not a data directory of Chroma 0.4 or newer, is in use, or
                cannot be read.
            UnavailableError: It changes too often to be copied.
        """
        self._sources, self._stored, self._warnings = [], {}, []
        _check_directory(self._path)
        is_in_use = self._check_usage()
        with ExitStack() as resources:
            try:
                self._open(is_in_use, resources)
            except (OSError, sqlite3.Error) as error:
                raise InvalidArgumentError(f"{self._path} cannot be read: {error}") from error
            self._resources = resources.pop_all()
        return self

    def __exit__(self, *exception: object) -> None:
        """Close the directory and remove temporary copies."""
        self._database = self._catalog = None
        self._resources.close()

    def describe(self) -> str:
        """Return what the source is, in a few words for the user."""
        release = "" if self._release is None else f" {self._release} or newer"
        return f"a data directory of Chroma{release}: {self._path}"

    def warnings(self) -> Sequence[str]:
        """Return sentences about the directory as a whole."""
        return tuple(self._warnings)

    def collections(self) -> Sequence[SourceCollection]:
        """Return the collections of all tenants and databases, in the order of their creation."""
        return tuple(self._sources)

    def batches(
        self, collection: SourceCollection, size: int, skip: int = 0
    ) -> Iterator[SourceBatch]:
        """Yield the records of a collection in the order of their insertion.

        Losses of the collection as a whole are those of the first batch that is yielded, which has
        no records if the collection has none.

        Raises:
            UnavailableError: The directory was changed while it was read.
            InternalError: A file cannot be read any further.
        """
        stored = self._stored[collection.key]
        states = self._index_states(stored)
        with ExitStack() as resources:
            try:
                reader = self._reader(stored, resources)
                for batch in reader.batches(size, skip):
                    self._check_unchanged(states)
                    yield batch
            except (OSError, sqlite3.Error) as error:
                # What changed under the reader shows as one error or another.
                self._check_unchanged(states)
                message = f"{self._path}: collection {stored.name} cannot be read further: {error}"
                raise InternalError(message) from error
            self._check_unchanged(states)

    def opener(self) -> Callable[[], ChromaDirectory] | None:
        """Return what creates the same source in another process.

        `None` if the database was copied or rebuilt, which would take as long once more.
        """
        if self._catalog is None or self._database is None or not self._database.is_original:
            return None
        # The numbers of ids in a queue are those of this process.
        catalog = self._catalog.with_queues({})
        return partial(_Reopened, self._path, catalog, self._sources, self._states)

    def _open(self, is_in_use: bool, resources: ExitStack) -> None:
        path = self._path / "chroma.sqlite3"
        self._states = file_states([path, *side_files(path)])
        database = open_database(path, is_in_use=is_in_use, resources=resources)
        queues = read_queues(database)
        catalog = read_catalog(database, self._path, queues)
        self._take(database, catalog)
        self._warnings += database.warnings + catalog.warnings
        self._read_release(database)
        for stored in catalog.collections:
            count = len(stored.rowids)
            if database.is_damaged or len(stored.queue):
                with ExitStack() as temporary:
                    count = self._reader(stored, temporary).count
            self._sources.append(_described(stored, count))
        self._check_unchanged({})

    def _take(self, database: Database, catalog: Catalog) -> None:
        self._database, self._catalog = database, catalog
        self._stored = {stored.id: stored for stored in catalog.collections}

    def _reader(self, stored: StoredCollection, resources: ExitStack) -> CollectionReader:
        if self._database is None or self._catalog is None:
            raise InternalError("the source is not open")
        return CollectionReader(self._database, self._catalog, stored, resources)

    def _check_usage(self) -> bool:
        users = find_users(self._path)
        if not users:
            return False
        who = ", ".join(f"process {user.pid} ({user.program}) {user.what}" for user in users)
        if not self._allow_in_use:
            raise InvalidArgumentError(
                f"{self._path} is in use: {who}; stop it first, or read it all the same with "
                "--allow-in-use"
            )
        self._warnings.append(f"the directory is in use: {who}")
        return True

    def _read_release(self, database: Database) -> None:
        versions: dict[str, int] = {}
        for row in database.rows("migrations"):
            if isinstance(row["version"], int):
                versions[row["dir"]] = max(row["version"], versions.get(row["dir"], 0))
        for directory, version in sorted(versions.items()):
            if version > _NEWEST.get(directory, 0):
                self._warnings.append(
                    f"a Chroma newer than 1.5.9 wrote the directory ({directory} {version}): what "
                    "this version does not know of is left out"
                )
        for directory, version, release in _RELEASES:
            if versions.get(directory, 0) >= version:
                self._release = release
                break

    def _index_states(self, stored: StoredCollection) -> FileStates:
        directory = stored.index_directory
        return {} if directory is None else file_states(directory / name for name in _INDEX_FILES)

    def _check_unchanged(self, states: FileStates) -> None:
        """Raise if the database or some of the files have changed since their states were taken."""
        path = self._path / "chroma.sqlite3"
        database = file_states([path, *side_files(path)])
        if database != self._states or file_states(states) != states:
            raise UnavailableError(
                f"{self._path} was changed while it was read: stop the programs that use it and "
                "begin again"
            )


class _Reopened(ChromaDirectory):
    """A directory that another process has open, which hands over what it found out about it."""

    def __init__(
        self,
        path: Path,
        catalog: Catalog,
        sources: list[SourceCollection],
        states: FileStates,
    ) -> None:
        super().__init__(path)
        self._sources, self._states = sources, states
        self._found = catalog

    def __enter__(self) -> Self:
        self._check_unchanged({})
        with ExitStack() as resources:
            database = reopen_database(self._path / "chroma.sqlite3", resources)
            self._take(database, self._found.with_queues(read_queues(database)))
            self._resources = resources.pop_all()
        return self


def _described(stored: StoredCollection, count: int) -> SourceCollection:
    return SourceCollection(
        key=stored.id,
        name=stored.name,
        tenant=stored.tenant,
        database=stored.database,
        metadata=stored.settings.metadata,
        configuration=stored.settings.configuration,
        schema=stored.settings.schema,
        dimension=stored.dimension,
        count=count,
    )


def _check_directory(path: Path) -> None:
    try:
        names = {entry.name for entry in path.iterdir()}
    except NotADirectoryError:
        raise InvalidArgumentError(
            f"{path} is a file: give the directory that contains chroma.sqlite3"
        ) from None
    except OSError as error:
        raise InvalidArgumentError(f"{path} cannot be read: {error.strerror}") from error
    if "chroma.sqlite3" in names or any(_is_index(path / name) for name in names):
        return
    if names.intersection(_BEFORE_0_4):
        raise InvalidArgumentError(
            f"{path} was written by Chroma 0.3 or older, whose files are not read: convert it with "
            "Chroma's program chroma-migrate (pip install chroma-migrate) first"
        )
    raise InvalidArgumentError(
        f"{path} is not a data directory of Chroma: it has no chroma.sqlite3"
    )


def _is_index(path: Path) -> bool:
    return UUID.match(path.name) is not None and (path / "data_level0.bin").exists()
