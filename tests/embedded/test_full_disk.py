"""A disk that becomes full: writes are refused in time, reads and deletes go on, room heals."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import subprocess
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import pgchroma
from pgchroma.embedded import EmbeddedPostgres
from pgchroma.errors import ChromaError, StorageFullError, UnavailableError
from tests.server_process import running

from .conftest import eventually, mounted, postmaster, rows, server_lives

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def disk(home: Path) -> Iterator[Path]:
    """A disk of 110 MiB."""
    with mounted(home / "mount", "size=110m") as place:
        yield place


def _fill(disk: Path) -> Path:
    """Fill a disk to its last byte."""
    filler = disk / "filler"
    for size in (1 << 16, 1):
        with contextlib.suppress(OSError), filler.open("ab", buffering=0) as file:
            while True:
                file.write(bytes(size))
    return filler


def _write(collection: Any, name: str, number: int = 200) -> None:
    embeddings = np.random.default_rng(1).random((number, 384), dtype=np.float32)
    ids = [f"{name}-{n}" for n in range(number)]
    collection.add(ids=ids, embeddings=embeddings, documents=["x" * 300] * number)


def _write_until_full(collection: Any) -> int:
    for batch in range(1000):
        try:
            _write(collection, str(batch))
        except ChromaError as error:
            assert error.code() == 507
            assert "disk" in str(error)
            return batch
    raise AssertionError("the disk does not become full")


def test_a_full_disk_is_named_and_leaves_nothing_half_made(home: Path) -> None:
    with mounted(home / "mount", "size=20m") as place:
        with pytest.raises(UnavailableError, match="the disk is full") as caught:
            EmbeddedPostgres.open(place / "data")
        assert os.strerror(errno.ENOSPC) in str(caught.value)
        assert not (place / "data" / "postgres.part").exists()
        assert not (place / "data" / "postgres").exists()
        subprocess.run(["mount", "-o", "remount,size=120m", str(place)], check=True)
        with EmbeddedPostgres.open(place / "data") as postgres:
            assert rows(postgres, "select 1") == [(1,)]


def test_writes_are_refused_before_postgresql_stops_and_reads_and_deletes_go_on(
    disk: Path,
) -> None:
    with pgchroma.PersistentClient(disk / "data") as client:
        collection = client.create_collection("large", embedding_function=None)
        pid = postmaster(disk / "data")
        batches = _write_until_full(collection)
        assert batches > 3
        with pytest.raises(StorageFullError, match=f"disk of {disk}/data is nearly full"):
            _write(collection, "more")
        assert collection.count() == batches * 200
        assert collection.delete(ids=[f"0-{n}" for n in range(200)]) == {"deleted": 200}
        assert collection.count() == (batches - 1) * 200
        client.delete_collection("large")
        assert postmaster(disk / "data") == pid
        subprocess.run(["mount", "-o", "remount,size=220m", str(disk)], check=True)
        _write(client.create_collection("small", embedding_function=None), "new")


async def test_asynchronous_writes_are_refused_too(disk: Path) -> None:
    async with await pgchroma.connect_async(disk / "data") as client:
        collection = await client.create_collection("large", embedding_function=None)
        filler = _fill(disk)
        with pytest.raises(StorageFullError, match="nearly full"):
            await collection.add(ids="1", embeddings=[1.0])
        assert await collection.count() == 0
        filler.unlink()
        await collection.add(ids="1", embeddings=[1.0])


def test_a_server_that_stopped_on_a_full_disk_recovers_by_its_reserve(disk: Path) -> None:
    with pgchroma.PersistentClient(disk / "data") as client:
        collection = client.create_collection("kept", embedding_function=None)
        _write(collection, "a")
        filler = _fill(disk)
        # Another program fills the disk: pgchroma's checks do not hold it back.
        os.kill(postmaster(disk / "data"), signal.SIGKILL)
        assert eventually(lambda: not server_lives(disk / "data"))
        assert collection.count() == 200
        assert not (disk / "data" / "pgchroma.reserve").exists()
        with pytest.raises(StorageFullError):
            _write(collection, "b")
        collection.delete(ids=["a-0"])
        filler.unlink()
        _write(collection, "b")
        assert collection.count() == 399
        assert (disk / "data" / "pgchroma.reserve").exists()


def test_a_disk_that_was_filled_between_two_openings_is_opened_by_the_reserve_and_then_named(
    disk: Path,
) -> None:
    EmbeddedPostgres.open(disk / "data").close()
    filler = _fill(disk)
    with EmbeddedPostgres.open(disk / "data") as postgres:
        assert rows(postgres, "select 1") == [(1,)]
    _fill(disk)
    with pytest.raises(UnavailableError, match="the disk is full"):
        EmbeddedPostgres.open(disk / "data")
    filler.unlink()
    EmbeddedPostgres.open(disk / "data").close()


@pytest.mark.heavy
def test_the_server_answers_507_and_names_the_disk(disk: Path, tmp_path: Path) -> None:
    arguments = ("--path", str(disk / "data"), "--no-auth")
    with running(tmp_path / "log", *arguments) as served, pgchroma.HttpClient(served.url) as client:
        collection = client.create_collection("large", embedding_function=None)
        filler = _fill(disk)
        with pytest.raises(StorageFullError, match="disk is full") as caught:
            _write(collection, "a")
        assert str(disk) not in str(caught.value)
        assert collection.count() == 0
        filler.unlink()
        _write(collection, "a")
        assert collection.count() == 200
