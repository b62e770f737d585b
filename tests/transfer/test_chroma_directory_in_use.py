"""Which directories are refused, and directories that other processes use."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pgchroma.errors import InvalidArgumentError, UnavailableError
from pgchroma.transfer.readers.chroma_directory import ChromaDirectory
from tests.transfer.damages import database, execute, query
from tests.transfer.sample_stores import Store, compare, read_all

Samples = Callable[[str], Store]
CopyOf = Callable[[str], Path]

_HOLD = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("select count(*) from collections").fetchone()
if sys.argv[2] == "writing":
    connection.execute("begin immediate")
    connection.execute("update collections set dimension = 17")
print("ready", flush=True)
sys.stdin.read()
"""


_READ = """
import sqlite3, sys
connection = sqlite3.connect(f"file:{sys.argv[1]}?mode=ro", uri=True, isolation_level=None)
connection.execute("begin")
connection.execute("select count(*) from collections").fetchone()
print("ready", flush=True)
sys.stdin.read()
"""


@contextmanager
def holding(path: Path, what: str = "idle") -> Iterator[int]:
    """Keep the database open in another process, as an idle Chroma does."""
    program = _READ if what == "reading" else _HOLD
    command = [sys.executable, "-c", program, str(database(path)), what]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        yield process.pid
        process.communicate(b"")


def assert_whole(store: Store, source: ChromaDirectory) -> None:
    total = sum(len(truth.records) for truth in store.truths)
    assert +compare(store, read_all(source)) == {"records": total, "right": total}


def refusal(path: Path) -> str:
    with pytest.raises(InvalidArgumentError) as error, ChromaDirectory(path):
        pass
    message = error.value.message()
    assert str(path) in message
    assert "\n" not in message
    return message


_NOBODY = 65_534

needs_proc = pytest.mark.skipif(
    not Path("/proc/self/fd").exists(), reason="only Linux shows the open files of processes"
)


@needs_proc
@pytest.mark.parametrize("what", ["idle", "writing"])
def test_a_directory_in_use_is_refused(what: str, copy_of: CopyOf) -> None:
    path = copy_of("1.5.9")
    with holding(path, what) as pid:
        message = refusal(path)
    assert f"process {pid} (python" in message
    assert "chroma.sqlite3" in message
    assert "--allow-in-use" in message
    with ChromaDirectory(path):
        pass


@needs_proc
def test_a_process_that_only_reads_does_no_harm(copy_of: CopyOf, samples: Samples) -> None:
    path = copy_of("1.5.9")
    with holding(path, "reading"), ChromaDirectory(path) as source:
        assert not any("in use" in warning for warning in source.warnings())
        assert_whole(samples("1.5.9"), source)


@needs_proc
@pytest.mark.parametrize("what", ["idle", "writing"])
def test_a_directory_in_use_is_read_if_allowed(
    what: str, copy_of: CopyOf, samples: Samples
) -> None:
    path = copy_of("1.5.9")
    with holding(path, what) as pid, ChromaDirectory(path, allow_in_use=True) as source:
        assert any(f"process {pid}" in warning for warning in source.warnings())
        # What the other process has not committed is not read.
        assert_whole(samples("1.5.9"), source)


@pytest.mark.parametrize("name", ["chroma.sqlite3", "data_level0.bin", "index_metadata.pickle"])
def test_a_change_during_the_reading_is_noticed(name: str, copy_of: CopyOf) -> None:
    path = copy_of("1.5.9")
    with ChromaDirectory(path) as source:
        (collection,) = (c for c in source.collections() if c.name == "big-ip")
        batches = source.batches(collection, 50)
        next(batches)
        parent = path if name == "chroma.sqlite3" else index_directory(path, "big-ip")
        changed = parent / name
        changed.write_bytes(changed.read_bytes() + b"\0")
        with pytest.raises(UnavailableError, match="changed while it was read"):
            list(batches)


def index_directory(path: Path, name: str) -> Path:
    ((segment,),) = query(
        path,
        "select s.id from segments s join collections c on c.id = s.collection "
        f"where scope = 'VECTOR' and name = '{name}'",
    )
    return path / str(segment)


def test_a_transaction_that_begins_during_the_reading_is_noticed(copy_of: CopyOf) -> None:
    path = copy_of("1.5.9")
    with ChromaDirectory(path) as source:
        batches = source.batches(source.collections()[1], 50)
        next(batches)
        execute(path, "update collections set dimension = 17")
        with pytest.raises(UnavailableError):
            list(batches)


@pytest.mark.parametrize("name", ["with space", "what?#100%25", "ünï-ид", "'quote\"", "-dash"])
def test_unusual_names_of_directories(name: str, samples: Samples, tmp_path: Path) -> None:
    store = samples("1.0.20")
    path = Path(shutil.copytree(store.path, tmp_path / name))
    with ChromaDirectory(path) as source:
        assert_whole(store, source)


def test_symbolic_links_and_relative_paths(
    samples: Samples, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = samples("1.0.20")
    parts = tmp_path / "parts"
    parts.mkdir()
    for entry in store.path.iterdir():
        (parts / entry.name).symlink_to(entry)
    (tmp_path / "link").symlink_to(parts)
    monkeypatch.chdir(tmp_path)
    with ChromaDirectory("link") as source:
        assert_whole(store, source)


def test_a_directory_that_cannot_be_written(copy_of: CopyOf, samples: Samples) -> None:
    path = copy_of("1.0.20")
    paths = [path, *path.rglob("*")]
    for entry in paths:
        entry.chmod(0o555 if entry.is_dir() else 0o444)
    try:
        with ChromaDirectory(path) as source:
            assert_whole(samples("1.0.20"), source)
    finally:
        for entry in paths:
            entry.chmod(0o755)


def test_a_file_is_refused(copy_of: CopyOf) -> None:
    path = database(copy_of("1.5.9"))
    assert "give the directory that contains chroma.sqlite3" in refusal(path)


def test_a_directory_of_chroma_0_3_is_refused(tmp_path: Path) -> None:
    for name in ("chroma-collections.parquet", "chroma-embeddings.parquet"):
        (tmp_path / name).write_bytes(b"PAR1")
    (tmp_path / "index").mkdir()
    message = refusal(tmp_path)
    assert "Chroma 0.3" in message
    assert "chroma-migrate" in message


def test_other_directories_are_refused(tmp_path: Path) -> None:
    assert "has no chroma.sqlite3" in refusal(tmp_path)
    assert "cannot be read" in refusal(tmp_path / "missing")


def test_a_directory_that_cannot_be_read_is_refused(copy_of: CopyOf) -> None:
    path = copy_of("1.5.9")
    path.chmod(0)
    is_root = os.geteuid() == 0
    try:
        if is_root:
            # Root may read every directory, and another user may not.
            os.seteuid(_NOBODY)
        assert "cannot be read" in refusal(path)
    finally:
        if is_root:
            os.seteuid(0)
        path.chmod(0o755)


def test_a_newer_release_is_read_with_a_warning(copy_of: CopyOf, samples: Samples) -> None:
    path = copy_of("1.5.9")
    execute(
        path,
        "insert into migrations (dir, version, filename, sql, hash) "
        "values ('sysdb', 11, '00011-new.sqlite.sql', 'x', 'y')",
        "alter table collections add column region text",
        "alter table embedding_metadata add column date_value text",
    )
    with ChromaDirectory(path) as source:
        assert any("newer than 1.5.9" in warning for warning in source.warnings())
        assert_whole(samples("1.5.9"), source)
