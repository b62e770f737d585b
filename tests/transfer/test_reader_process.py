"""Reading a source in another process yields what reading it in this one does."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from multiprocessing import active_children
from pathlib import Path
from typing import Any, Self

import numpy as np
import pytest

import pgchroma
from pgchroma.errors import InternalError, InvalidArgumentError, UnavailableError
from pgchroma.transfer import importing
from pgchroma.transfer.preparing import Prepared, Preparer
from pgchroma.transfer.reader_process import Reopenable, read_elsewhere
from pgchroma.transfer.readers.chroma_directory import ChromaDirectory
from pgchroma.transfer.source import SourceBatch, SourceCollection
from tests.server_process import eventually
from tests.transfer.damages import DAMAGES, database
from tests.transfer.sample_stores import Store
from tests.transfer.test_commands import Run, run

__all__ = ("run",)

COLLECTION = SourceCollection("key", "papers", dimension=2, count=10)


class Numbers:
    """A source in any process, which does what it is told after the first batches."""

    def __init__(self, end: Callable[[], Any] | None = None) -> None:
        self._end = end

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing is open."""

    def describe(self) -> str:
        return "numbers"

    def warnings(self) -> list[str]:
        return []

    def collections(self) -> list[SourceCollection]:
        return [COLLECTION]

    def batches(self, _: SourceCollection, size: int, skip: int = 0) -> Iterator[SourceBatch]:
        for n in range(skip, 10 if self._end is None else 2):
            vector = np.array([n, 1], dtype=np.float32)
            yield SourceBatch([f"id{n}"], [vector], [f"text {n}"], [None], [{"n": n}])
        if self._end is not None:
            self._end()


def _fail(error: Exception) -> None:
    raise error


class UnpicklableError(Exception):
    def __init__(self, first: int, second: int) -> None:
        super().__init__("cannot be sent")


def _raise_unpicklable() -> None:
    raise UnpicklableError(1, 2)


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _read(end: Callable[[], Any] | None = None) -> Iterator[Prepared]:
    return read_elsewhere(partial(Numbers, end), COLLECTION, 1, Preparer())


def test_batches_come_in_their_order() -> None:
    assert [each.records.ids for each in _read()] == [[f"id{n}"] for n in range(10)]
    assert active_children() == []


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("end", "error", "message"),
    [
        (partial(_fail, UnavailableError("changed")), UnavailableError, "changed"),
        (partial(_fail, KeyError("x")), KeyError, "x"),
        (_raise_unpicklable, InternalError, "UnpicklableError: cannot be sent"),
        (_die, InternalError, "the process that reads the source has ended"),
    ],
    ids=["of the source", "of Python", "not to be pickled", "killed"],
)
def test_the_end_of_the_process_is_an_error(
    end: Callable[[], Any], error: type[Exception], message: str
) -> None:
    batches = _read(end)
    assert [next(batches).records.ids for _ in range(2)] == [["id0"], ["id1"]]
    with pytest.raises(error, match=message):
        next(batches)
    assert active_children() == []


def test_a_source_that_cannot_be_opened_is_an_error(tmp_path: Path) -> None:
    opener = partial(ChromaDirectory, tmp_path)
    with pytest.raises(InvalidArgumentError, match="is not a data directory"):
        next(read_elsewhere(opener, COLLECTION, 1, Preparer()))


def test_the_process_ends_with_its_reader() -> None:
    batches = _read(partial(time.sleep, 600))
    next(batches)
    assert len(active_children()) == 1
    batches.close()  # type: ignore[attr-defined]
    assert active_children() == []


def test_a_directory_is_read_elsewhere_as_it_is_here(samples: Callable[[str], Store]) -> None:
    with ChromaDirectory(samples("1.5.9").path) as source:
        opener = source.opener()
        assert opener is not None
        for collection in source.collections():
            if collection.name not in ("big-ip", "uris"):
                continue
            preparer = Preparer(collection.dimension)
            here = [preparer.prepare(batch) for batch in source.batches(collection, 100)]
            there = list(read_elsewhere(opener, collection, 100, Preparer(collection.dimension)))
            assert list(map(_plain, there)) == list(map(_plain, here))


def test_a_directory_that_was_changed_before_it_is_read_elsewhere_is_refused(
    copy_of: Callable[[str], Path],
) -> None:
    directory = copy_of("1.5.9")
    with ChromaDirectory(directory) as source:
        opener = source.opener()
        assert opener is not None
        collection = source.collections()[0]
    database(directory).write_bytes(b"")
    with pytest.raises(UnavailableError, match="was changed while it was read"):
        next(read_elsewhere(opener, collection, 100, Preparer()))


def _plain(prepared: Prepared) -> tuple[Any, ...]:
    records = prepared.records
    vectors = None if records.embeddings is None else records.embeddings.tobytes()
    columns = records.documents, records.uris, records.metadatas, records.has_embedding
    return prepared.read, prepared.losses, records.ids, vectors, columns


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Let another process read every collection; the names of those that one has read."""
    names: list[str] = []

    def read(opener: Any, collection: SourceCollection, *rest: Any) -> Iterator[Prepared]:
        names.append(collection.name)
        return read_elsewhere(opener, collection, *rest)

    monkeypatch.setattr(importing, "MIN_RECORDS", 1)
    monkeypatch.setattr(importing, "read_elsewhere", read)
    return names


@pytest.mark.heavy
def test_an_import_is_the_same(
    run: Run, url: str, samples: Callable[[str], Store], elsewhere: list[str]
) -> None:
    directory = samples("1.5.9").path
    run("import", directory, "--url", url)
    with ChromaDirectory(directory) as source:
        counts = {(c.tenant, c.database, c.name): c.count for c in source.collections() if c.count}
    assert sorted(elsewhere) == sorted(name for _, _, name in counts)
    with pgchroma.PostgresClient(url) as client:
        for (tenant, place, name), count in counts.items():
            client.set_tenant(tenant, place)
            assert client.get_collection(name, embedding_function=None).count() == count
    assert active_children() == []


def test_a_directory_that_was_copied_or_rebuilt_is_read_here(
    copy_of: Callable[[str], Path], samples: Callable[[str], Store]
) -> None:
    with ChromaDirectory(samples("1.5.9").path) as source:
        assert isinstance(source, Reopenable)
        assert source.opener() is not None
    damaged = copy_of("1.5.9")
    DAMAGES["sqlite-cut-90"](damaged)
    with ChromaDirectory(damaged) as source:
        assert source.opener() is None
    journaled = copy_of("0.6.3")
    database(journaled).with_name("chroma.sqlite3-wal").write_bytes(b"x" * 100)
    with ChromaDirectory(journaled) as source:
        assert source.opener() is None


@pytest.mark.heavy
def test_no_reader_outlives_a_killed_import(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(
        "from tests.transfer.test_reader_process import _read\n"
        "import time\n"
        "from functools import partial\n"
        "if __name__ == '__main__':\n"
        "    batches = _read(partial(time.sleep, 1))\n"
        "    next(batches)\n"
        "    from multiprocessing import active_children\n"
        "    print(active_children()[0].pid, flush=True)\n"
        "    time.sleep(600)\n"
    )
    root = Path(__file__).parents[2]
    with subprocess.Popen(
        [sys.executable, str(program)],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(root)},
    ) as killed:
        assert killed.stdout is not None
        reader = int(killed.stdout.readline())
        killed.kill()
    eventually(lambda: not Path(f"/proc/{reader}").exists())
