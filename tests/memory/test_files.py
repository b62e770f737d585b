"""Files that are damaged, foreign, missing or cannot be written never change an answer."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import orjson
import psycopg
import pytest
from psycopg.conninfo import make_conninfo

import pgchroma
from pgchroma.memory import files, indexes
from pgchroma.memory.builder import MIN_ENTRIES, Builder, RefusedError, open_any
from pgchroma.memory.directory import MAX_UNUSED_SECONDS, Directory
from pgchroma.memory.files import (
    FileIndex,
    OtherVersionError,
    SegmentKey,
    UnusableFileError,
    open_file,
)
from tests.memory.indexed import (
    COUNT,
    Answers,
    builder,
    built,
    check_answer,
    clustered,
    found,
    key_of,
    remembering,
    sealed,
    watched_answers,
)
from tests.planner.segments import context_of, quiet

QUERY = clustered(1, seed=7)[0]
READER = "reader_of_memory_indexes"


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "memory"


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> Answers:
    return watched_answers(monkeypatch)


def _flip(at: Callable[[int], int]) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        raw = bytearray(path.read_bytes())
        raw[at(len(raw))] ^= 1
        _replace(path, bytes(raw))

    return damage


def _replace(path: Path, raw: bytes) -> None:
    path.unlink()
    path.write_bytes(raw)
    path.chmod(0o600)


def _cut(length: Callable[[int], int]) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        raw = path.read_bytes()
        _replace(path, raw[: length(len(raw))])

    return damage


def _link(path: Path) -> None:
    target = path.with_name("elsewhere")
    path.rename(target)
    path.symlink_to(target)


def _directory(path: Path) -> None:
    path.unlink()
    os.mkfifo(path, 0o600)


DAMAGES: dict[str, Callable[[Path], None]] = {
    "magic": _flip(lambda _: 0),
    "length of the head": _flip(lambda _: 9),
    "head": _flip(lambda _: 40),
    "positions": _flip(lambda _: 1_000),
    "codes": _flip(lambda length: length // 2),
    "checksum": _flip(lambda length: length - 1),
    "cut": _cut(lambda length: length - 1),
    "half": _cut(lambda length: length // 2),
    "one byte": _cut(lambda _: 1),
    "empty": _cut(lambda _: 0),
    "link": _link,
    "fifo": _directory,
    "readable by others": lambda path: path.chmod(0o644),
    "writable by others": lambda path: path.chmod(0o622),
}


@pytest.fixture(scope="module")
def made(module_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A database with a collection, the key of its segment, and the bytes of its index."""
    directory = tmp_path_factory.mktemp("made")
    with quiet(module_url) as client:
        key = key_of(client, sealed(module_url, client))
    index = builder(module_url, directory / "memory").build(key)
    yield module_url, key, index.token, index.path.read_bytes()


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_is_refused(made: Any, tmp_path: Path, damage: str) -> None:
    _, key, token, raw = made
    path = tmp_path / "damaged.index"
    path.touch(mode=0o600)
    _replace(path, raw)
    assert open_file(path, token, key).entries == COUNT
    DAMAGES[damage](path)
    with pytest.raises(UnusableFileError):
        open_file(path, token, key)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_file_of_another_user_is_refused(made: Any, tmp_path: Path) -> None:
    _, key, token, raw = made
    path = tmp_path / "foreign.index"
    path.touch(mode=0o600)
    _replace(path, raw)
    os.chown(path, 1, 1)
    with pytest.raises(UnusableFileError, match="other users"):
        open_file(path, token, key)


def test_a_file_of_another_version_is_left_to_it(
    made: Any, directory: Path, monkeypatch: pytest.MonkeyPatch, answers: Answers
) -> None:
    url, key, token, raw = made
    Directory(directory, 1 << 30).prepare()
    path = directory / f"{token}.index"
    path.touch(mode=0o600)
    _replace(path, raw)
    monkeypatch.setattr(files, "VERSION", "another")
    with pytest.raises(OtherVersionError):
        open_file(path, token, key)
    with remembering(url, directory) as client:
        papers = client.get_collection("papers", embedding_function=None)
        monkeypatch.setattr(files.Head.__init__, "__defaults__", ("another", sys.byteorder))
        (own,) = built(client, papers)
        assert own.token != token
        assert len(papers.query(query_embeddings=[QUERY])["ids"][0]) == 10
    assert path.exists()
    assert answers.complete == [True]


@pytest.mark.parametrize("damage", ["codes", "empty", "link", "readable by others"])
def test_a_damaged_file_is_replaced(
    made: Any, directory: Path, damage: str, answers: Answers
) -> None:
    url, _, token, raw = made
    Directory(directory, 1 << 30).prepare()
    path = directory / f"{token}.index"
    path.touch(mode=0o600)
    _replace(path, raw)
    DAMAGES[damage](path)
    with remembering(url, directory) as client:
        papers = client.get_collection("papers", embedding_function=None)
        (own,) = built(client, papers)
        assert own.token != token
        assert not path.exists()
        stored = {str(n): row for n, row in enumerate(clustered())}
        answer: Any = papers.query(query_embeddings=[QUERY], include=["distances"])
        assert check_answer("l2", answer, QUERY, stored) >= 0.9
    assert answers.complete == [True]


def test_a_removed_file_stays_readable_where_it_is_mapped(
    made: Any, directory: Path, answers: Answers
) -> None:
    url = made[0]
    with remembering(url, directory) as client:
        papers = client.get_collection("papers", embedding_function=None)
        (index,) = built(client, papers)
        index.path.unlink()
        assert len(papers.query(query_embeddings=[QUERY])["ids"][0]) == 10
    with remembering(url, directory) as client:
        papers = client.get_collection("papers", embedding_function=None)
        (again,) = built(client, papers)
        assert again.token != index.token
    assert answers.complete == [True]


def _full(*_: Any) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_leaves_nothing_behind(
    made: Any, directory: Path, monkeypatch: pytest.MonkeyPatch, answers: Answers
) -> None:
    url, key, *_ = made
    monkeypatch.setattr(os, "fsync", _full)
    with pytest.raises(OSError, match="No space left"):
        builder(url, directory).build(key)
    assert [path.name for path in directory.iterdir()] == ["lock"]
    _answers_without(url, directory)
    assert answers.complete == []


def _answers_without(url: str, directory: Path) -> None:
    """Queries are answered although no index can be built."""
    with remembering(url, directory) as client:
        papers = client.get_collection("papers", embedding_function=None)
        proposers: Any = client._backend._context.proposers  # type: ignore[attr-defined]
        assert found(client, papers) == [None]
        while not any(request.failures for request in proposers._requests.values()):
            time.sleep(0.05)
        assert found(client, papers) == [None]
        stored = {str(n): row for n, row in enumerate(clustered())}
        answer: Any = papers.query(query_embeddings=[QUERY], include=["distances"])
        assert check_answer("l2", answer, QUERY, stored) >= 0.9


@pytest.mark.parametrize("obstacle", ["a file", "open to others", "read-only"])
def test_a_directory_that_cannot_be_used(
    made: Any, directory: Path, obstacle: str, monkeypatch: pytest.MonkeyPatch, answers: Answers
) -> None:
    if obstacle == "a file":
        directory.touch()
    elif obstacle == "open to others":
        directory.mkdir(mode=0o755)
    else:
        # Root may write everywhere.
        def refuse(*_: Any) -> None:
            raise OSError(errno.EROFS, "Read-only file system")

        monkeypatch.setattr(Directory, "locked", refuse)
    _answers_without(made[0], directory)
    assert answers.complete == []


PHASES = ("locked", "find_segment", "read_rows", "write_file", "_sync_directory", "insert_token")


@pytest.mark.parametrize("phase", [*PHASES, "end"])
def test_a_builder_that_is_killed(made: Any, directory: Path, phase: str, answers: Answers) -> None:
    url, key, *_ = made
    program = Path(__file__).with_name("killed_builder.py")
    arguments = [url, str(directory), key.collection.hex, str(key.end_pos), phase]
    ended = subprocess.run([sys.executable, program, *arguments], check=False, timeout=120)
    assert ended.returncode == -signal.SIGKILL
    with remembering(url, directory) as client:
        papers = client.get_collection("papers", embedding_function=None)
        built(client, papers)
        assert len(papers.query(query_embeddings=[QUERY])["ids"][0]) == 10
    assert answers.complete == [True]
    assert not list(directory.glob("*.part"))


def test_files_that_were_not_used_for_longest_are_removed(made: Any, directory: Path) -> None:
    url, key, _, raw = made
    place = Directory(directory, 3 * len(raw) + 100)
    place.prepare()
    now = time.time()
    ages = {"a": 10, "b": 30, "c": 20, "d": MAX_UNUSED_SECONDS + 10}
    for name, age in ages.items():
        path = place.file(name)
        path.write_bytes(raw if name != "d" else b"d")
        os.utime(path, (now - age, now - age))
    assert place.make_room(len(raw))
    assert {path.stem for path in directory.glob("*.index")} == {"a", "c"}
    # One that does not fit in any case removes none.
    assert not place.make_room(4 * len(raw))
    with pytest.raises(RefusedError, match="longer than all files"):
        builder(url, directory, max_bytes=1_000).build(key)
    assert {path.stem for path in directory.glob("*.index")} == {"a", "c"}


@pytest.mark.parametrize("code", [errno.EMFILE, errno.EACCES, errno.EIO])
def test_a_file_that_cannot_be_opened_now_stays(
    made: Any, directory: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    url, key, *_ = made
    index = builder(url, directory).build(key)

    def fail(*_: Any) -> int:
        raise OSError(code, os.strerror(code))

    with monkeypatch.context() as patch:
        patch.setattr("pgchroma.memory.files.os.open", fail)
        with pytest.raises(OSError, match=os.strerror(code)):
            open_any(Directory(directory, 1 << 30), key, [index.token])
    opened = open_any(Directory(directory, 1 << 30), key, [index.token])
    assert opened is not None
    # So does an index of a segment that was cut: it belongs to another one now.
    shorter = replace(key, first_pos=key.first_pos + 1)
    assert open_any(Directory(directory, 1 << 30), shorter, [index.token]) is None
    assert index.path.exists()


def test_a_forked_child_does_not_keep_the_lock(directory: Path) -> None:
    place = Directory(directory, 1 << 30)
    place.prepare()
    with place.locked():
        child = os.fork()
        if not child:
            time.sleep(60)
            os._exit(0)
    try:
        with place.locked():
            pass
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def test_a_build_that_fails_does_not_keep_others_waiting(
    url: str, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with remembering(url, directory) as client:
        bad, good = sealed(url, client, "bad"), sealed(url, client, "good")
        build = Builder.build

        def build_or_fail(self: Builder, key: SegmentKey) -> FileIndex:
            if key.collection == bad.id:
                raise MemoryError
            return build(self, key)

        monkeypatch.setattr(Builder, "build", build_or_fail)
        assert found(client, bad) == [None]
        (index,) = built(client, good)
        assert index.entries == COUNT
        assert found(client, bad) == [None]


def test_few_indexes_are_open_at_once(
    url: str, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(indexes, "MAX_OPENED", 1)
    monkeypatch.setattr(indexes, "BUSY_SECONDS", 0.0)
    with remembering(url, directory) as client:
        collections = [sealed(url, client, name) for name in ("one", "two", "three")]
        tokens = [built(client, collection)[0].token for collection in collections]
        proposers: Any = context_of(client).proposers
        assert list(proposers._opened) == tokens[-1:]
        # It is opened again, not built again.
        assert [built(client, collection)[0].token for collection in collections] == tokens


def test_an_index_that_is_in_use_is_not_closed_for_another(
    url: str, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(indexes, "MAX_OPENED", 1)
    monkeypatch.setattr(indexes, "BUSY_SECONDS", 2.0)
    with remembering(url, directory) as client:
        one, other = sealed(url, client, "one"), sealed(url, client, "other")
        (index,) = built(client, one)
        used_until = time.monotonic() + 1.0
        while time.monotonic() < used_until:
            index.propose(np.array([QUERY]), 10)
            assert found(client, other) == [None]
            assert found(client, one) == [index]
            time.sleep(0.05)
        (newer,) = built(client, other)
        assert found(client, one) == [None]
        assert found(client, other) == [newer]


def test_a_segment_that_was_refused_does_not_wait_for_writers(made: Any, directory: Path) -> None:
    url, key, *_ = made
    place = Directory(directory, 1 << 30)
    place.prepare()
    place.refuse(key)

    def wait(seconds: float) -> bool:
        raise AssertionError(f"it waits for {seconds} s")

    with psycopg.connect(url) as writer:
        records = f"default_tenant__default_database.records_{key.collection.hex}"
        writer.execute(f"lock table {records} in row exclusive mode")
        with pytest.raises(RefusedError, match="do not suit"):
            Builder(make_conninfo(url), place, wait).build(key)


def test_what_is_in_the_directory_is_this_users_alone(made: Any, directory: Path) -> None:
    url, key, *_ = made
    index = builder(url, directory).build(key)
    assert directory.stat().st_mode & 0o777 == 0o700
    for path in directory.iterdir():
        assert path.stat().st_mode & 0o777 == 0o600, path
    raw = index.path.read_bytes()
    head: Any = orjson.loads(raw[12 : 12 + int.from_bytes(raw[8:12], "little")])
    assert head["token"] == index.token
    assert head["entries"] == COUNT >= MIN_ENTRIES


def test_an_index_without_its_row_is_not_used(made: Any, directory: Path, answers: Answers) -> None:
    url = made[0]
    with remembering(url, directory) as client:
        papers = client.get_collection("papers", embedding_function=None)
        (index,) = built(client, papers)
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("delete from pgchroma.memory_indexes")
        # The client does not know yet.
        assert len(papers.query(query_embeddings=[QUERY])["ids"][0]) == 10
        assert answers.complete == [False]
        (again,) = built(client, papers)
        assert again.token != index.token
        assert len(papers.query(query_embeddings=[QUERY])["ids"][0]) == 10
        assert answers.complete == [False, True]


def test_a_user_who_may_not_insert_tokens_gets_no_index(
    made: Any, directory: Path, monkeypatch: pytest.MonkeyPatch, answers: Answers
) -> None:
    def refuse(*_: Any) -> None:
        raise psycopg.errors.InsufficientPrivilege("permission denied")

    monkeypatch.setattr("pgchroma.memory.builder.insert_token", refuse)
    _answers_without(made[0], directory)
    assert answers.complete == []
    assert not list(directory.glob("*.index"))
    # It does not read a segment in vain, either.
    url = made[0]
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"create role {READER} login in role pg_read_all_data")
    try:
        with pytest.raises(RefusedError, match="may not make an index known"):
            builder(make_conninfo(url, user=READER), directory).build(made[1])
    finally:
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(f"drop owned by {READER}")
            connection.execute(f"drop role {READER}")


def test_clients_in_one_process_and_in_threads(
    made: Any, directory: Path, answers: Answers
) -> None:
    """faiss uses one thread in each of a process's threads, and its setting stays as it was."""
    from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415

    from pgchroma.memory.flat_index import faiss  # noqa: PLC0415

    url = made[0]
    used: list[int] = []
    with remembering(url, directory, pgchroma_pool_size=4) as client:
        papers = client.get_collection("papers", embedding_function=None)
        (index,) = built(client, papers)
        search = index._index._index.search

        def watched_search(*arguments: Any, **keywords: Any) -> Any:
            used.append(faiss.omp_get_max_threads())
            return search(*arguments, **keywords)

        def ask(_: int) -> tuple[tuple[str, ...], bool]:
            before = faiss.omp_get_max_threads()
            answer = papers.query(query_embeddings=[QUERY])["ids"][0]
            return tuple(answer), faiss.omp_get_max_threads() == before

        index._index._index = SimpleNamespace(search=watched_search)
        with ThreadPoolExecutor(4) as pool:
            (_, is_as_before), *others = set(pool.map(ask, range(40)))
        assert (is_as_before, others) == (True, [])
    assert answers.complete == [True] * 40
    assert used == [1] * 40


def test_a_forked_child_does_not_search(made: Any, directory: Path) -> None:
    with remembering(made[0], directory) as client:
        papers = client.get_collection("papers", embedding_function=None)
        built(client, papers)
        child = os.fork()
        if not child:
            try:
                papers.query(query_embeddings=[QUERY])
            except pgchroma.errors.InvalidArgumentError:
                os._exit(7)
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
