"""Imports into a database whose disk becomes full, or whose connection is lost."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

import pgchroma
from pgchroma.backends._sync.base import Backend
from pgchroma.backends._sync.connect import connect
from pgchroma.config import Settings
from pgchroma.embedded import EmbeddedPostgres
from pgchroma.errors import ChromaError
from pgchroma.transfer.importing import import_collection
from pgchroma.transfer.naming import is_temporary
from pgchroma.transfer.options import TransferOptions
from pgchroma.transfer.writers.backend import BackendTarget
from tests.embedded.conftest import mounted
from tests.server_process import running
from tests.transfer.sources import (
    ListSource,
    assignment,
    check_stored,
    names,
    opened,
    some_records,
    stored,
)

pytestmark = [pytest.mark.database, pytest.mark.heavy]

RECORDS = 12_000


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Some 40 MiB of records, as PostgreSQL stores them."""
    path = tmp_path_factory.mktemp("source") / "papers.jsonl"
    vectors = np.random.default_rng(1).integers(-9, 9, (RECORDS, 384)).tolist()
    rows = ({"id": f"id-{n}", "embedding": v, "document": "x" * 300} for n, v in enumerate(vectors))
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


def run(*args: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pgchroma.cli", *map(str, args)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)


def fail(*args: str | Path) -> str:
    """Run an import that fails, and return its one line."""
    done = run("import", *args)
    assert done.returncode == 1, done.stdout + done.stderr
    assert done.stdout == ""
    (line,) = [each for each in done.stderr.splitlines() if not each.startswith("pgchroma: ")]
    assert line.startswith("Error: ")
    assert line.endswith("The records that were written are kept: the same command continues there")
    return line


def finish(*args: str | Path, resumes: bool = True) -> None:
    """Run an import that continues and succeeds."""
    done = run("import", *args, "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    (report,) = json.loads(done.stdout)["collections"]
    assert report["written"] == RECORDS
    assert report["faithful"]
    assert (report["resumed"] > 0) == resumes


def enlarge(place: Path) -> None:
    subprocess.run(["mount", "-o", "remount,size=400m", str(place)], check=True)


def test_a_directory_on_a_disk_that_becomes_full(file: Path, tmp_path: Path) -> None:
    with mounted(tmp_path / "mount", "size=110m") as place:
        target = ("--path", place / "data")
        assert f"the disk of {place}/data is nearly full" in fail(file, *target)
        with pgchroma.PersistentClient(place / "data") as client:
            (left,) = client.list_collections()
            assert is_temporary(left.name)
        enlarge(place)
        finish(file, *target)


def test_a_tablespace_on_a_disk_that_becomes_full(file: Path, tmp_path: Path) -> None:
    """PostgreSQL goes on, and refuses what it has no space for."""
    tmp_path.chmod(0o755)
    with (
        mounted(tmp_path / "mount", "size=24m") as place,
        EmbeddedPostgres.open(tmp_path / "data") as postgres,
    ):
        owner = (tmp_path / "data" / "postgres").stat()
        (place / "space").mkdir()
        os.chown(place / "space", owner.st_uid, owner.st_gid)
        with psycopg.connect(postgres.conninfo, autocommit=True) as plain:
            plain.execute(f"create tablespace small location '{place / 'space'}'".encode())
            plain.execute("create database papers tablespace small")
        url = make_conninfo(postgres.conninfo, dbname="papers")
        assert run("migrate", "--url", url).returncode == 0
        assert "disk is full" in fail(file, "--url", url)
        enlarge(place)
        finish(file, "--url", url)


def test_a_write_ahead_log_on_a_disk_that_becomes_full(file: Path, tmp_path: Path) -> None:
    """PostgreSQL refuses a write, or stops if it is in the middle of a commit."""
    with mounted(tmp_path / "mount", "size=110m") as place:
        with EmbeddedPostgres.open(place / "data") as postgres:
            assert run("migrate", "--url", postgres.conninfo).returncode == 0
            url = make_conninfo(postgres.conninfo, connect_timeout=2)
            line = fail(file, "--url", url)
            assert any(words in line for words in ("disk is full", "cannot be reached"))
        enlarge(place)
        finish(file, "--path", place / "data")


class Cable:
    """Forwards connections to a server's socket until it is cut."""

    def __init__(self, target: str) -> None:
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._sockets: list[socket.socket] = []
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        """Close all connections, and refuse others."""
        for each in [self._listener, *self._sockets]:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                far = socket.socket(socket.AF_UNIX)
                far.connect(self._target)
                self._sockets += [near, far]
                for source, sink in ((near, far), (far, near)):
                    threading.Thread(target=_forward, args=(source, sink), daemon=True).start()


def _forward(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(1 << 16):
            sink.sendall(data)


@contextmanager
def cable_to(url: str) -> Iterator[tuple[Cable, str]]:
    """A cable to a database, and the database's URL at its end."""
    parts = conninfo_to_dict(url)
    cable = Cable(f"{parts['host']}/.s.PGSQL.{parts['port']}")
    try:
        yield cable, make_conninfo(url, host="127.0.0.1", port=cable.port)
    finally:
        cable.cut()


def test_a_connection_that_is_lost_near_the_end(url: str) -> None:
    records = some_records(1_000)
    with cable_to(url) as (cable, far):
        settings = Settings(pgchroma_compaction=False, pgchroma_pool_timeout=1)
        backend: Backend = connect(far, settings)

        def before(position: int) -> None:
            if position == 900:
                cable.cut()

        source = ListSource(records, before=before)
        options = TransferOptions(batch_size=50)
        with pytest.raises(ChromaError, match="the same command continues there"):
            import_collection(source, BackendTarget(backend), assignment(source), options)
        backend.close()
    with opened(url) as backend:
        assert all(map(is_temporary, names(backend)))
        source = ListSource(records)
        report = import_collection(source, BackendTarget(backend), assignment(source), options)
        assert report.is_faithful
        assert 700 <= report.resumed <= 900
        check_stored(stored(backend, "papers"), records)


def test_a_server_that_ends_near_the_end(url: str, tmp_path: Path) -> None:
    records = some_records(1_000)
    options = TransferOptions(batch_size=50)
    arguments = ("--url", url, "--no-auth")
    with running(tmp_path / "log", *arguments) as served, opened(served.url) as backend:

        def before(position: int) -> None:
            if position == 900:
                # A worker whose supervisor is gone would finish some requests.
                workers = served.workers
                served.stop(signal.SIGKILL)
                for worker in workers:
                    os.kill(worker, signal.SIGKILL)

        source = ListSource(records, before=before)
        with pytest.raises(ChromaError, match="the same command continues there"):
            import_collection(source, BackendTarget(backend), assignment(source), options)
    with running(tmp_path / "log", *arguments) as served, opened(served.url) as backend:
        source = ListSource(records)
        report = import_collection(source, BackendTarget(backend), assignment(source), options)
        assert report.is_faithful
        assert 700 <= report.resumed <= 900
        assert names(backend) == ["papers"]
