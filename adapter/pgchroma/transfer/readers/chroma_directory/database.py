"""Open `chroma.sqlite3` without writing to its directory, also if it is damaged."""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeAlias

from pgchroma.errors import UnavailableError
from pgchroma.transfer.readers.chroma_directory.rebuilding import rebuild
from pgchroma.transfer.readers.chroma_directory.shapes import COLUMNS
from pgchroma.transfer.readers.chroma_directory.usage import file_states

__all__ = (
    "BrokenText",
    "Database",
    "Values",
    "decode_text",
    "open_database",
    "reopen_database",
    "side_files",
)

Values: TypeAlias = dict[str, Any]

_SIDE_FILES: Final = ("-journal", "-wal")
_COPIES: Final = 5
_READ_ONLY: Final = "mode=ro&immutable=1"


class BrokenText(str):
    """A text with bytes that are not UTF-8, which were replaced by U+FFFD."""

    __slots__ = ()


def decode_text(data: bytes) -> str:
    """Decode a text; the result is a `BrokenText` if it is not UTF-8."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        return BrokenText(data.decode("utf-8", "replace"))


@dataclass(slots=True)
class Database:
    """An open database.

    Attributes:
        is_original: Whether it is the file itself, and not a copy.
        is_damaged: Whether pages of it are damaged, and its tables were rebuilt from the others.
        has_lost_rows: Whether rows may be missing from its tables.
        warnings: What is wrong with it, as sentences.
    """

    connection: sqlite3.Connection
    is_original: bool = False
    is_damaged: bool = False
    has_lost_rows: bool = False
    warnings: list[str] = field(default_factory=list)
    _columns: dict[str, frozenset[str]] = field(default_factory=dict)

    def columns(self, table: str) -> frozenset[str]:
        """Return the columns of a table; none if there is no such table."""
        if table not in self._columns:
            rows = self.connection.execute("select name from pragma_table_info(?)", (table,))
            self._columns[table] = frozenset(name for (name,) in rows)
        return self._columns[table]

    def rows(self, table: str) -> Iterator[Values]:
        """Yield all rows of a table in the order of their rowids; a missing column is `None`."""
        names = COLUMNS[table]
        for row in self.select(table, names, "order by rowid"):
            yield dict(zip(names, row, strict=True))

    def select(
        self, table: str, names: Sequence[str], rest: str, values: Sequence[object] = ()
    ) -> sqlite3.Cursor:
        """Select columns of a table that may lack some of them, or not exist.

        Args:
            table: A table of Chroma.
            names: Columns, such as those in `COLUMNS`.
            rest: The statement's end; its values are bound.
            values: What is bound.
        """
        existing = self.columns(table)
        chosen = ", ".join(name if name in existing else f"null as {name}" for name in names)
        if not existing:
            return self.connection.execute(f"select {chosen} where false")
        statement = f"select {chosen} from {table} {rest}"  # noqa: S608  (names of this package)
        return self.connection.execute(statement, values)

    @contextmanager
    def only_utf8(self) -> Iterator[None]:
        """Decode texts without a call for each; one that is not UTF-8 raises an `OperationalError`.

        Statements that are executed before the context ends are read within it.
        """
        self.connection.text_factory = str
        try:
            yield
        finally:
            self.connection.text_factory = decode_text


def side_files(database: Path) -> list[Path]:
    """Return the files beside a database that have a part of its content."""
    real = database.resolve()
    files = [real.with_name(real.name + suffix) for suffix in _SIDE_FILES]
    return [file for file in files if file.exists() and file.stat().st_size]


def open_database(path: Path, *, is_in_use: bool, resources: ExitStack) -> Database:
    """Open a database for reading.

    A database with side files is copied with them and recovered in the copy, since recovery writes.
    A database that is in use is copied, too.

    Args:
        path: `chroma.sqlite3`, which may be missing.
        is_in_use: Whether another process may write to it.
        resources: What closes the database and removes copies.

    Raises:
        UnavailableError: The database changes too often to be copied.
        OSError: It cannot be read or copied.
    """
    if not path.exists() or not path.stat().st_size:
        return Database(
            _connect(":memory:", resources),
            is_damaged=True,
            has_lost_rows=True,
            warnings=[
                "chroma.sqlite3 is missing or empty: documents, metadata and names are lost, and "
                "only ids and embeddings of indexes can be read"
            ],
        )
    sides = side_files(path)
    readable, options = path.resolve(), _READ_ONLY
    if sides or is_in_use:
        readable = _copy(path, resources)
        options = "mode=rw"
    problem = None
    try:
        connection = _connect(f"{readable.as_uri()}?{options}", resources)
        problem = _find_damage(connection) or _find_contradiction(connection)
    except sqlite3.DatabaseError as error:
        problem = str(error)
    if problem is not None:
        database = _open_rebuilt(readable, problem, resources)
    else:
        database = Database(connection, is_original=readable == path.resolve())
    for side in sides:
        database.warnings.append(
            f"{side.name} is there: a transaction is open or was cut off, and is completed or "
            "undone as Chroma would do it"
        )
    return database


def reopen_database(path: Path, resources: ExitStack) -> Database:
    """Open a database that `open_database` has just found to be whole, without checking it."""
    return Database(
        _connect(f"{path.resolve().as_uri()}?{_READ_ONLY}", resources), is_original=True
    )


def _connect(name: str, resources: ExitStack) -> sqlite3.Connection:
    # A transfer may read ahead in another thread than the one that opens the source.
    connection = sqlite3.connect(name, uri=True, isolation_level=None, check_same_thread=False)
    resources.callback(connection.close)
    connection.text_factory = decode_text
    return connection


def _copy(path: Path, resources: ExitStack) -> Path:
    directory = Path(resources.enter_context(tempfile.TemporaryDirectory(prefix="pgchroma-")))
    real = path.resolve()
    for _ in range(_COPIES):
        names = [real, *side_files(path)]
        before = file_states(names)
        try:
            for name in names:
                shutil.copyfile(name, directory / name.name)
        except FileNotFoundError:
            # A transaction ended, and its journal is gone.
            before = {}
        if file_states([real, *side_files(path)]) == before:
            return directory / real.name
        for file in directory.iterdir():
            file.unlink()
    raise UnavailableError(f"{path} changes while it is copied: stop the programs that write to it")


def _find_damage(connection: sqlite3.Connection) -> str | None:
    """Return the first thing that is wrong with the tables; `None` if they are whole.

    The index of the full-text search, which is damaged most often, is not needed and not checked.
    """
    names = {name for (name,) in connection.execute("select name from sqlite_master")}
    if "collections" not in names:
        return "it has no table of collections"
    for table in COLUMNS:
        if table in names:
            # A name cannot be bound in a pragma; this one is of this package.
            for (found,) in connection.execute(f"pragma quick_check({table})"):
                if found != "ok":
                    return str(found)
    return None


def _find_contradiction(connection: sqlite3.Connection) -> str | None:
    """Return what shows that pages are of different moments, which fit each other all the same."""
    for statement in _COUNTS:
        if len(set(connection.execute(statement).fetchone())) > 1:
            return _CONTRADICTION
    return None


_CONTRADICTION: Final = "a table and its index have different numbers of rows"

_COUNTS: Final = (
    "select (select count(*) from embeddings not indexed), "
    "(select count(*) from embeddings indexed by sqlite_autoindex_embeddings_1)",
    "select (select count(*) from embedding_metadata not indexed), "
    "(select count(*) from embedding_metadata indexed by sqlite_autoindex_embedding_metadata_1)",
)


def _open_rebuilt(path: Path, problem: str, resources: ExitStack) -> Database:
    directory = Path(resources.enter_context(tempfile.TemporaryDirectory(prefix="pgchroma-")))
    target = directory / "rebuilt.sqlite3"
    rebuilt = rebuild(path, target)
    problem = " ".join(problem.split())[:160]
    warnings = [
        f"chroma.sqlite3 is damaged ({problem}): it was read page by page, and "
        + (
            f"{rebuilt.lost:,} pages or rows could not be read"
            if rebuilt.lost
            else "every page could be read"
        )
    ]
    if rebuilt.is_cut:
        warnings.append("chroma.sqlite3 is cut off: its last pages are missing")
    if rebuilt.duplicates:
        warnings.append(
            f"{rebuilt.duplicates:,} records have the id of another record of their collection: "
            "the first one of each was read"
        )
    is_whole = rebuilt.rows and not (rebuilt.lost or rebuilt.is_cut or rebuilt.is_contradictory)
    return Database(
        _connect(f"{target.as_uri()}?mode=ro", resources),
        is_damaged=True,
        has_lost_rows=not is_whole or problem == _CONTRADICTION,
        warnings=warnings,
    )
