"""Rebuild Chroma's tables from a damaged SQLite file, as a temporary database.

What a table has lost is taken from its second copies where there are any: the indexes repeat ids
and values, and the full-text search repeats the documents.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pgchroma.transfer.readers.chroma_directory.pages import Pages, Row, Value
from pgchroma.transfer.readers.chroma_directory.shapes import COLUMNS, guess_tables

__all__ = ("Rebuilt", "rebuild")

_KEYS: Final = {
    "collections": "id",
    "databases": "id",
    "segments": "id",
    "collection_metadata": "collection_id, key",
    "segment_metadata": "segment_id, key",
    "max_seq_id": "segment_id",
    "embeddings": "segment_id, embedding_id",
    "embedding_metadata": "id, key",
}
"""Unique columns of tables, beside the rowid."""

_ROWIDS: Final = {
    "embeddings": "id",
    "embeddings_queue": "seq_id",
    "embedding_fulltext_search_content": "id",
}
"""Columns that are another name for the rowid, which the rows themselves lack."""

_TYPES: Final = {"embedding_metadata": {"id": "integer", "key": "text"}}
"""Types of columns that are compared with those of other tables: an index serves equal types only.
Other columns have none, so that they keep what was read."""

_TEXTS: Final = {
    "databases": ("id", "name", "tenant_id"),
    "collections": ("id", "name"),
    "segments": ("id", "scope", "collection"),
    "collection_metadata": ("collection_id", "key"),
    "segment_metadata": ("segment_id", "key"),
    "embeddings": ("segment_id", "embedding_id"),
    "embedding_metadata": ("key",),
    "embedding_metadata_array": ("key",),
    "embeddings_queue": ("topic", "id"),
}
"""Columns that have a text in every row that is not damaged."""

_BLOBS: Final = frozenset({"vector", "seq_id"})
"""Columns whose bytes are not text."""

_SCRATCH: Final = (
    "create table lost_values (id integer, key text, unique (id, key))",
    "create table indexed_keys (number integer primary key, id integer, key text)",
    "create table indexed_values (number integer primary key, key text, string_value text, "
    "int_value integer, float_value real)",
)

_CONTRADICTS: Final = (
    "select 1 from embeddings where seq_id is null limit 1",
    "select 1 from indexed_keys k where not exists "
    "(select 1 from embedding_metadata m where m.rowid = k.number) limit 1",
)
"""Find rows that only an index has, though no page of the table is lost."""

_DIFFERS: Final = (
    "select 1 from embedding_metadata m where not exists "
    "(select 1 from indexed_keys k where k.number = m.rowid) limit 1",
)
"""Finds rows that an index lacks."""

_MERGE_INDEXES: Final = (
    """
    insert or ignore into embedding_metadata (id, key, string_value, int_value, float_value)
    select k.id, k.key, v.string_value, v.int_value, v.float_value
    from indexed_keys k join indexed_values v on v.number = k.number and v.key = k.key
    """,
    """
    insert or ignore into lost_values
    select k.id, k.key from indexed_keys k
    where not exists (select 1 from embedding_metadata m where m.id = k.id and m.key = k.key)
      and exists (select 1 from embeddings e where e.id = k.id)
    """,
)

# Chroma before 0.4.6 numbered the documents of its full-text search differently, so they are used
# for the segments only in which nearly all of those agree that are known from both.
_MERGE_DOCUMENTS: Final = (
    """
    insert or ignore into embedding_metadata (id, key, string_value)
    select e.id, 'chroma:document', f.c0
    from embeddings e join embedding_fulltext_search_content f on f.id = e.id
    where f.c0 <> '' and e.segment_id in (
      select o.segment_id from embeddings o
      join embedding_metadata m on m.id = o.id and m.key = 'chroma:document'
      join embedding_fulltext_search_content c on c.id = o.id
      group by o.segment_id having avg(m.string_value = c.c0) >= 0.95)
    """,
    """
    delete from lost_values where key = 'chroma:document' and exists (
      select 1 from embedding_metadata m where m.id = lost_values.id and m.key = 'chroma:document')
    """,
)


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """What rebuilding a database found.

    Attributes:
        lost: How many pages and rows of tables could not be read.
        lost_of_indexes: How many of indexes could not be read.
        is_cut: Whether the end of the file is missing.
        is_contradictory: Whether tables and their indexes are of different moments.
        duplicates: How many records have the id of another record of their segment.
        rows: How many rows the tables have.
    """

    lost: int
    lost_of_indexes: int
    is_cut: bool
    is_contradictory: bool
    duplicates: int
    rows: int


def rebuild(damaged: Path, target: Path) -> Rebuilt:
    """Read what is left of a SQLite file of Chroma, and write it to a new one.

    The new file has the tables of `COLUMNS`, and `lost_values` with the keys of records whose
    values could not be read.

    Raises:
        OSError: A file cannot be read or written.
        sqlite3.Error: The new file cannot be written.
    """
    with (
        closing(Pages(damaged)) as pages,
        closing(sqlite3.connect(target, isolation_level=None)) as connection,
    ):
        connection.execute("pragma journal_mode=off")
        connection.execute("pragma synchronous=off")
        connection.execute("begin")
        for statement in (*map(_create_statement, COLUMNS), *_SCRATCH):
            connection.execute(statement)
        rebuilding = _Rebuilding(pages, connection)
        rebuilding.run()
        connection.execute("commit")
        rows = sum(_count(connection, table) for table in COLUMNS)
        return Rebuilt(
            pages.lost,
            pages.lost_of_indexes,
            pages.is_cut,
            rebuilding.is_contradictory,
            rebuilding.duplicates,
            rows,
        )


class _Rebuilding:
    def __init__(self, pages: Pages, connection: sqlite3.Connection) -> None:
        self._pages = pages
        self._connection = connection
        self.is_contradictory = False
        self.duplicates = 0

    def run(self) -> None:
        tables: dict[str, tuple[int, Sequence[str]]] = {}
        indexes: dict[str, int] = {}
        for _, row in self._pages.table(1):
            _read_definition(row, tables, indexes)
        for name, (root, columns) in tables.items():
            refused = self._insert(name, columns, self._pages.table(root))
            if name == "embeddings":
                self.duplicates = refused
        if self._pages.lost or not tables:
            self._take_unvisited(tables)
        self._take_indexes(indexes)
        for statement in _MERGE_DOCUMENTS:
            self._connection.execute(statement)

    def _take_unvisited(self, tables: dict[str, tuple[int, Sequence[str]]]) -> None:
        """Insert the rows of pages that were not reached.

        Without the first page, pages that are free cannot be told from those that are lost, so
        pages that no other names are taken for tables only that have no rows otherwise.
        """
        filled: set[str] | None = None
        for number, is_named in self._pages.unvisited_leaves():
            if not is_named and filled is None:
                filled = {table for table in COLUMNS if _count(self._connection, table)}
            rows = list(self._pages.leaf(number))
            guess = guess_tables([row for _, row in rows])
            if guess is None:
                continue
            names, columns = guess
            for name in names:
                if is_named or tables or name not in (filled or ()):
                    known = tables[name][1] if name in tables else columns
                    self._insert(name, known if len(known) == len(columns) else columns, rows)

    def _take_indexes(self, indexes: dict[str, int]) -> None:
        self._connection.executemany(
            "insert or ignore into embeddings (segment_id, embedding_id, id) values (?, ?, ?)",
            (
                tuple(_text(value) for value in row)
                for row in self._entries(indexes, "sqlite_autoindex_embeddings_1")
            ),
        )
        self._connection.executemany(
            "insert or ignore into indexed_keys (id, key, number) values (?, ?, ?)",
            (
                tuple(_text(value) for value in row)
                for row in self._entries(indexes, "sqlite_autoindex_embedding_metadata_1")
            ),
        )
        for kind, statement in _INSERT_INDEXED.items():
            entries = self._entries(indexes, f"embedding_metadata_{kind}_value")
            self._connection.executemany(
                statement, (tuple(_text(value) for value in row) for row in entries)
            )
        if not self._pages.lost:
            checks = _CONTRADICTS if self._pages.lost_of_indexes else (*_CONTRADICTS, *_DIFFERS)
            self.is_contradictory = any(
                self._connection.execute(check).fetchone() is not None for check in checks
            )
        for statement in _MERGE_INDEXES:
            self._connection.execute(statement)

    def _entries(self, indexes: dict[str, int], name: str) -> Iterator[Row]:
        if name in indexes:
            for row in self._pages.index(indexes[name]):
                if len(row) == 3 and isinstance(row[2], int):  # noqa: PLR2004
                    yield row

    def _insert(self, table: str, columns: Sequence[str], rows: Iterable[tuple[int, Row]]) -> int:
        """Insert rows, and return how many were refused since their keys exist."""
        wanted = COLUMNS[table]
        # The first column always is one of the row's, whatever it is called.
        places = [columns.index(name) if name in columns else -1 for name in wanted]
        places[0] = max(places[0], 0)
        alias = _ROWIDS.get(table)
        texts = [places[wanted.index(name)] for name in _TEXTS.get(table, ())]
        converted = (
            (
                rowid,
                *(
                    rowid if name == alias else _converted(name, row, place)
                    for name, place in zip(wanted, places, strict=True)
                ),
            )
            for rowid, row in rows
            if self._has_texts(row, texts)
        )
        before = self._connection.total_changes
        counted = _Counted(converted)
        self._connection.executemany(_insert_statement(table), counted)
        return counted.count - (self._connection.total_changes - before)

    def _has_texts(self, row: Row, places: Sequence[int]) -> bool:
        """Whether a row has texts where it must; otherwise it counts as lost."""
        if all(0 <= place < len(row) and isinstance(row[place], bytes) for place in places):
            return True
        self._pages.lost += 1
        return False


class _Counted:
    """Count the rows of an iterator."""

    def __init__(self, rows: Iterator[tuple[Any, ...]]) -> None:
        self.count = 0
        self._rows = rows

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        for row in self._rows:
            self.count += 1
            yield row


_INSERT_INDEXED: Final = {
    "string": "insert or ignore into indexed_values (key, string_value, number) values (?, ?, ?)",
    "int": "insert or ignore into indexed_values (key, int_value, number) values (?, ?, ?)",
    "float": "insert or ignore into indexed_values (key, float_value, number) values (?, ?, ?)",
}


def _read_definition(
    row: Row, tables: dict[str, tuple[int, Sequence[str]]], indexes: dict[str, int]
) -> None:
    """Note the page and the columns of a table, or the page of an index."""
    if len(row) != 5 or not isinstance(row[3], int):  # noqa: PLR2004
        return
    kind, name, root = _text(row[0]), _text(row[1]), row[3]
    if kind == "index":
        indexes[str(name)] = root
    elif kind == "table" and name in COLUMNS:
        columns = _columns(str(_text(row[4])))
        tables[str(name)] = root, columns or COLUMNS[str(name)]


def _columns(definition: str) -> Sequence[str]:
    """Return the columns of a table from its definition, which SQLite parses."""

    def authorize(action: int, *_: object) -> int:
        return sqlite3.SQLITE_DENY if action == sqlite3.SQLITE_SELECT else sqlite3.SQLITE_OK

    with closing(sqlite3.connect(":memory:")) as connection:
        connection.set_authorizer(authorize)
        try:
            connection.execute(definition)
        except sqlite3.Error:
            return ()
        connection.set_authorizer(None)
        (name,) = connection.execute(
            "select name from sqlite_master where type = 'table'"
        ).fetchone()
        return [column for (column,) in connection.execute(_COLUMNS_OF, (name,))]


_COLUMNS_OF: Final = "select name from pragma_table_info(?) order by cid"


def _create_statement(table: str) -> str:
    alias, types = _ROWIDS.get(table), _TYPES.get(table, {})
    columns = [
        f"{name} integer primary key" if name == alias else f"{name} {types.get(name, '')}"
        for name in COLUMNS[table]
    ]
    unique = [f"unique ({_KEYS[table]})"] if table in _KEYS else []
    return f"create table {table} ({', '.join([*columns, *unique])})"


def _insert_statement(table: str) -> str:
    names = COLUMNS[table]
    marks = ", ".join("?" * (len(names) + 1))
    into = f"{table} (rowid, {', '.join(names)})"
    return f"insert or ignore into {into} values ({marks})"  # noqa: S608  (names of this module)


def _count(connection: sqlite3.Connection, table: str) -> int:
    statement = f"select count(*) from {table}"  # noqa: S608  (a name of this package)
    return int(connection.execute(statement).fetchone()[0])


def _converted(name: str, row: Row, place: int) -> Any:
    value = row[place] if 0 <= place < len(row) else None
    if name == "float_value" and isinstance(value, int):
        # SQLite stores a whole number of a column of floats as an integer.
        return float(value)
    return value if name in _BLOBS else _text(value)


def _text(value: Value) -> Value | str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value
