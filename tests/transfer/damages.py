"""Kinds of damage to a data directory, each a function that does it to a copy."""

from __future__ import annotations

import pickle
import random
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from pgchroma.transfer.readers.chroma_directory.label_maps import iterate_labels, read_label_map
from pgchroma.transfer.readers.chroma_directory.pages import Pages
from pgchroma.transfer.readers.chroma_directory.sequences import decode_sequence

Damage = Callable[[Path], None]

DAMAGES: dict[str, Damage] = {}

PAGE = 4096


def damage(function: Damage) -> Damage:
    DAMAGES[function.__name__.replace("_", "-")] = function
    return function


def database(directory: Path) -> Path:
    return directory / "chroma.sqlite3"


def execute(directory: Path, *statements: str) -> None:
    with closing(sqlite3.connect(database(directory))) as connection:
        for statement in statements:
            connection.execute(statement)
        connection.commit()


def query(directory: Path, statement: str) -> list[Any]:
    with closing(sqlite3.connect(database(directory))) as connection:
        return connection.execute(statement).fetchall()


def cut(path: Path, share: float) -> None:
    with path.open("r+b") as file:
        file.truncate(int(path.stat().st_size * share))


def overwrite(path: Path, places: Iterable[tuple[int, bytes]]) -> None:
    with path.open("r+b") as file:
        for place, data in places:
            file.seek(place)
            file.write(data)


def indexes(directory: Path) -> list[Path]:
    """The directories of indexes that a collection owns and that were written."""
    owned = {id for (id,) in query(directory, "select id from segments where scope = 'VECTOR'")}
    found = directory.glob("*/index_metadata.pickle")
    return sorted(path.parent for path in found if path.parent.name in owned)


def index_files(directory: Path, name: str) -> Iterator[Path]:
    yield from (path / name for path in indexes(directory))


def leaves(directory: Path, table: str) -> list[int]:
    ((root,),) = query(directory, f"select rootpage from sqlite_master where name = '{table}'")
    with closing(Pages(database(directory))) as pages:
        list(pages.table(root))
        data = database(directory).read_bytes()
        return [page for page in sorted(pages.visited) if data[(page - 1) * PAGE] == 13]


def clear_pages(directory: Path, numbers: Iterable[int]) -> None:
    overwrite(database(directory), [((page - 1) * PAGE, bytes(PAGE)) for page in numbers])


# chroma.sqlite3


@damage
def sqlite_cut_90(directory: Path) -> None:
    cut(database(directory), 0.9)


@damage
def sqlite_cut_50(directory: Path) -> None:
    cut(database(directory), 0.5)


@damage
def sqlite_empty(directory: Path) -> None:
    cut(database(directory), 0)


@damage
def sqlite_missing(directory: Path) -> None:
    database(directory).unlink()


@damage
def sqlite_page_1_zero(directory: Path) -> None:
    clear_pages(directory, [1])


@damage
def sqlite_random_pages(directory: Path) -> None:
    chance = random.Random(5)
    pages = database(directory).stat().st_size // PAGE
    places = [(PAGE * chance.randrange(1, pages), chance.randbytes(PAGE)) for _ in range(6)]
    overwrite(database(directory), places)


@damage
def sqlite_metadata_leaf(directory: Path) -> None:
    clear_pages(directory, leaves(directory, "embedding_metadata")[3:6])


@damage
def sqlite_embeddings_leaf(directory: Path) -> None:
    clear_pages(directory, leaves(directory, "embeddings")[1:2])


@damage
def sqlite_queue_leaf(directory: Path) -> None:
    clear_pages(directory, leaves(directory, "embeddings_queue")[1:3])


@damage
def sqlite_index(directory: Path) -> None:
    statement = (
        "select rootpage from sqlite_master where type = 'index' and tbl_name like 'embedding%'"
    )
    roots = [(PAGE * (root - 1), b"\xff" * 200) for (root,) in query(directory, statement)]
    overwrite(database(directory), roots)


@damage
def fulltext_broken(directory: Path) -> None:
    statement = "select name from sqlite_master where name like 'embedding_fulltext%_data'"
    ((name,),) = query(directory, statement)
    execute(directory, f"delete from {name}")


# The index


@damage
def no_header(directory: Path) -> None:
    for path in index_files(directory, "header.bin"):
        path.unlink()


@damage
def header_empty(directory: Path) -> None:
    for path in index_files(directory, "header.bin"):
        cut(path, 0)


@damage
def no_level0(directory: Path) -> None:
    for path in index_files(directory, "data_level0.bin"):
        path.unlink()


def _layout(path: Path) -> tuple[int, int, int]:
    header = (path / "header.bin").read_bytes()
    count, size, data_at = (int.from_bytes(header[at : at + 8], "little") for at in (20, 28, 44))
    return count, size, data_at


@damage
def level0_cut(directory: Path) -> None:
    for path in indexes(directory):
        count, size, _ = _layout(path)
        with (path / "data_level0.bin").open("r+b") as file:
            file.truncate(int(count * size * 0.6))


@damage
def level0_flip(directory: Path) -> None:
    chance = random.Random(6)
    for path in indexes(directory):
        count, size, data_at = _layout(path)
        overwrite(
            path / "data_level0.bin",
            [
                (
                    size * chance.randrange(count) + data_at + 4 * chance.randrange(16) + 2,
                    chance.randbytes(2),
                )
                for _ in range(10)
            ],
        )


@damage
def no_length(directory: Path) -> None:
    for path in index_files(directory, "length.bin"):
        path.unlink()


@damage
def no_link_lists(directory: Path) -> None:
    for path in index_files(directory, "link_lists.bin"):
        path.unlink()


@damage
def link_lists_bloated(directory: Path) -> None:
    for path in index_files(directory, "link_lists.bin"):
        with path.open("r+b") as file:
            file.truncate(1 << 34)


@damage
def no_pickle(directory: Path) -> None:
    for path in index_files(directory, "index_metadata.pickle"):
        path.unlink()


@damage
def pickle_empty(directory: Path) -> None:
    for path in index_files(directory, "index_metadata.pickle"):
        cut(path, 0)


@damage
def pickle_cut(directory: Path) -> None:
    for path in index_files(directory, "index_metadata.pickle"):
        cut(path, 0.3)


@damage
def pickle_flip(directory: Path) -> None:
    for path in index_files(directory, "index_metadata.pickle"):
        overwrite(path, [(path.stat().st_size * 4 // 10, b"\xff\xfe\xfd\xfc")])


class Planted:
    """Unpickling it creates a file, which shows that the pickle was run."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self._path,)


def evidence(directory: Path) -> Path:
    """The file that a planted pickle creates."""
    return directory.parent / "the-pickle-was-run"


@damage
def pickle_foreign(directory: Path) -> None:
    for path in index_files(directory, "index_metadata.pickle"):
        labels = dict(iterate_labels(path))
        sequence = read_label_map(path).max_sequence
        planted = Planted(evidence(directory))
        fields = {"max_seq_id": sequence, "id_to_label": labels, "label_to_id": planted}
        path.write_bytes(pickle.dumps(fields))


@damage
def pickle_foreign_only(directory: Path) -> None:
    for path in index_files(directory, "index_metadata.pickle"):
        path.write_bytes(pickle.dumps(Planted(evidence(directory))))


@damage
def no_segment_dir(directory: Path) -> None:
    for path in indexes(directory)[:2]:
        shutil.rmtree(path)


@damage
def segment_dir_renamed(directory: Path) -> None:
    for path in indexes(directory)[:2]:
        path.rename(path.with_name(f"{path.name}.drift-20260521-145434"))


@damage
def half_copied(directory: Path) -> None:
    """The copying stopped: the last directories are missing, and one is not complete."""
    paths = indexes(directory)
    half = len(paths) // 2
    for path in paths[half:]:
        shutil.rmtree(path)
    last = paths[half - 1]
    (last / "index_metadata.pickle").unlink()
    (last / "link_lists.bin").unlink()
    cut(last / "data_level0.bin", 0.5)


# The queue and its marks


@damage
def queue_emptied(directory: Path) -> None:
    execute(directory, "delete from embeddings_queue")


@damage
def queue_trimmed(directory: Path) -> None:
    """Every row that an index has read is gone, as tools leave it that clean the queue."""
    marks = dict(query(directory, "select segment_id, seq_id from max_seq_id"))
    segments = query(directory, "select id, collection from segments where scope = 'VECTOR'")
    for segment, collection in segments:
        sequence = decode_sequence(marks.get(segment))
        path = directory / segment / "index_metadata.pickle"
        if sequence is None and path.exists():
            sequence = read_label_map(path).max_sequence
        if sequence is not None:
            execute(
                directory,
                f"delete from embeddings_queue where seq_id <= {sequence} "
                f"and topic like '%{collection}'",
            )


@damage
def queue_trimmed_no_pickle(directory: Path) -> None:
    queue_trimmed(directory)
    no_pickle(directory)


@damage
def queue_trimmed_pickle_cut(directory: Path) -> None:
    queue_trimmed(directory)
    pickle_cut(directory)


@damage
def max_seq_lost(directory: Path) -> None:
    execute(directory, "delete from max_seq_id")


@damage
def max_seq_poisoned(directory: Path) -> None:
    execute(directory, "update max_seq_id set seq_id = 1229822654365841720")


@damage
def max_seq_1111(directory: Path) -> None:
    with closing(sqlite3.connect(database(directory))) as connection:
        for segment, value in query(directory, "select segment_id, seq_id from max_seq_id"):
            marked = b"\x11\x11%06d" % (decode_sequence(value) or 0)
            statement = "update max_seq_id set seq_id = ? where segment_id = ?"
            connection.execute(statement, (marked, segment))
        connection.commit()


# Copies of a directory in use


_TEAR = """
import os, shutil, sqlite3, sys
connection = sqlite3.connect(sys.argv[1])
connection.execute("pragma cache_size = 2")
connection.execute("begin")
connection.execute("update embedding_metadata set string_value = 'torn' "
                   "where string_value is not null")
connection.execute("delete from embeddings where id % 3 = 0")
shutil.copytree(os.path.dirname(sys.argv[1]), sys.argv[2])
os._exit(0)
"""

_WAL = """
import os, shutil, sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("create table kept as select * from embeddings_queue "
                   "order by seq_id desc limit 15")
connection.execute("delete from embeddings_queue where seq_id in (select seq_id from kept)")
connection.execute("pragma journal_mode = wal")
connection.execute("pragma wal_autocheckpoint = 0")
connection.execute("insert into embeddings_queue select * from kept")
connection.execute("drop table kept")
shutil.copytree(os.path.dirname(sys.argv[1]), sys.argv[2])
os._exit(0)
"""


def _replace_by_copy(directory: Path, program: str) -> None:
    copy = directory.with_name(f"{directory.name}.copy")
    command = [sys.executable, "-c", program, str(database(directory)), str(copy)]
    subprocess.run(command, check=True)
    shutil.rmtree(directory)
    copy.rename(directory)


@damage
def copied_in_use(directory: Path) -> None:
    """Copied in the middle of a transaction whose pages were in the file already."""
    _replace_by_copy(directory, _TEAR)
    assert directory.joinpath("chroma.sqlite3-journal").exists()


@damage
def copied_in_use_journal_lost(directory: Path) -> None:
    _replace_by_copy(directory, _TEAR)
    directory.joinpath("chroma.sqlite3-journal").unlink()


@damage
def wal_with_file(directory: Path) -> None:
    """The last rows of the queue are in the write-ahead log, which was copied."""
    _replace_by_copy(directory, _WAL)
    assert directory.joinpath("chroma.sqlite3-wal").exists()


@damage
def wal_deleted(directory: Path) -> None:
    _replace_by_copy(directory, _WAL)
    for suffix in ("-wal", "-shm"):
        directory.joinpath(f"chroma.sqlite3{suffix}").unlink()


# The catalog


@damage
def newer_version(directory: Path) -> None:
    execute(
        directory,
        "insert into migrations (dir, version, filename, sql, hash) "
        "values ('metadb', 99, '00099-new.sqlite.sql', 'x', 'y')",
        "alter table embeddings add column shard text default 'q'",
        "create table shards (id text primary key, n int)",
    )


@damage
def collections_row_lost(directory: Path) -> None:
    execute(directory, "delete from collections where name = 'big-ip'")


@damage
def segments_rows_lost(directory: Path) -> None:
    execute(
        directory,
        "delete from segments where collection = "
        "(select id from collections where name = 'big-ip')",
    )


@damage
def dimension_null(directory: Path) -> None:
    execute(directory, "update collections set dimension = null")


@damage
def dimension_mixed(directory: Path) -> None:
    execute(
        directory,
        "insert into embeddings_queue (operation, topic, id, vector, encoding, metadata) "
        "select 2, topic, 'odd-dim', zeroblob(12), 'FLOAT32', '{}' from embeddings_queue "
        "where seq_id = (select max(seq_id) from embeddings_queue)",
    )
