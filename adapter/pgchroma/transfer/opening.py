"""Find out what a source is: a server, a database, a directory or files."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, TypeAlias, get_args

from pgchroma.backends._sync.connect import connect
from pgchroma.backends._sync.embedded import persistent_backend
from pgchroma.backends.conninfo import complete_conninfo
from pgchroma.backends.urls import address_of
from pgchroma.config import Settings
from pgchroma.embedded.directory import resolved
from pgchroma.errors import InvalidArgumentError
from pgchroma.model.types import Space
from pgchroma.transfer.readers.backend import BackendSource, Selection
from pgchroma.transfer.readers.columns import Role
from pgchroma.transfer.readers.files import SUFFIXES, FilesSource, files_in
from pgchroma.transfer.readers.server import ServerSource
from pgchroma.transfer.readers.tables.source import TablesSource, find_tables
from pgchroma.transfer.source import Source

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pgchroma.backends._sync.base import Backend
    from pgchroma.backends._sync.http import HttpBackend

__all__ = ("KINDS", "Kind", "SourceOptions", "open_database", "open_path", "open_server")

Kind: TypeAlias = Literal["pgchroma", "tables"]
"""What is read in a PostgreSQL database: pgchroma's collections, or other programs' tables."""

KINDS: Final[tuple[Kind, ...]] = get_args(Kind)


@dataclass(frozen=True, slots=True)
class SourceOptions:
    """What a user chooses about a source.

    Attributes:
        selection: The tenant and the database to read.
        columns: The columns of files that are not pgchroma's.
        tables: The tables to read; empty means all that are recognised.
        kind: What to read in a PostgreSQL database; `None` means what is found there.
        space: The distance of tables; `None` means that of their indexes.
        is_in_use_allowed: Whether to read a directory of Chroma that a program has open.
    """

    selection: Selection = field(default_factory=Selection)
    columns: Mapping[Role, str] = field(default_factory=dict)
    tables: tuple[str, ...] = ()
    kind: Kind | None = None
    space: Space | None = None
    is_in_use_allowed: bool = False


def open_server(backend: HttpBackend, options: SourceOptions) -> Source:
    """Return the source of a server, which closes the backend in the end."""
    return ServerSource(backend, options.selection)


def open_database(url: str, options: SourceOptions, settings: Settings) -> Source:
    """Return the source of a PostgreSQL database.

    Raises:
        InvalidArgumentError: It has neither collections of pgchroma nor tables that are known, or
            it has both and the options do not choose.
        UnavailableError: It cannot be reached.
    """
    conninfo = complete_conninfo(url)
    if (options.kind or _kind_of(conninfo, options)) == "tables":
        return TablesSource(conninfo, options.tables, options.columns, options.space)
    return BackendSource(_connected(conninfo, settings), address_of(conninfo), options.selection)


def open_path(path: Path, options: SourceOptions, settings: Settings) -> Source:
    """Return the source at a path.

    Raises:
        InvalidArgumentError: There is nothing that can be read.
    """
    if path.is_file():
        return FilesSource(path, [path], options.columns)
    if not path.is_dir():
        raise InvalidArgumentError(f"there is no file or directory {path}")
    if (path / "postgres" / "PG_VERSION").exists():
        return BackendSource(_embedded(path, settings), str(resolved(path)), options.selection)
    if _is_chroma(path):
        return _chroma_directory(path, options)
    files = files_in(path)
    if not files:
        raise InvalidArgumentError(
            f"{path} has nothing to read: no data of Chroma or pgchroma, and no file whose name "
            f"ends with one of {', '.join(SUFFIXES)}"
        )
    return FilesSource(path, files, options.columns)


def _kind_of(conninfo: str, options: SourceOptions) -> Kind:
    if options.tables:
        return "tables"
    tables, has_catalog = find_tables(conninfo)
    if has_catalog and tables:
        raise InvalidArgumentError(
            f"{address_of(conninfo)} has collections of pgchroma and tables of other programs: "
            "choose with --read pgchroma or --read tables"
        )
    if not has_catalog and not tables:
        raise InvalidArgumentError(
            f"{address_of(conninfo)} has nothing to read: neither collections of pgchroma nor "
            "tables of langchain-postgres, LlamaIndex or vecs; name a table with --table"
        )
    return "pgchroma" if has_catalog else "tables"


def _is_chroma(path: Path) -> bool:
    """Whether a directory is one of Chroma's; its database may be lost, and its indexes be left."""
    kinds = ("chroma.sqlite3", "chroma-*.parquet", "*-*-*-*-*/data_level0.bin")
    return any(any(path.glob(kind)) for kind in kinds)


def _chroma_directory(path: Path, options: SourceOptions) -> Source:
    from pgchroma.transfer.readers.chroma_directory import ChromaDirectory  # noqa: PLC0415

    return ChromaDirectory(path, allow_in_use=options.is_in_use_allowed)


@contextmanager
def _connected(conninfo: str, settings: Settings) -> Iterator[Backend]:
    backend = connect(conninfo, settings)
    try:
        yield backend
    finally:
        backend.close()


@contextmanager
def _embedded(path: Path, settings: Settings) -> Iterator[Backend]:
    backend = persistent_backend(path, settings, create=False)
    try:
        yield backend
    finally:
        backend.close()
