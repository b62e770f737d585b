"""Workers are replaced when they exit, renewed at SIGHUP, and accept connections on one socket."""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from threading import Event, Thread

import httpx
import pytest

from pgchroma.server.process.workers import EARLY_SECONDS, Workers
from tests.server_process import eventually, running


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound


def serve(place: Path, listener: socket.socket, readiness: Connection) -> None:
    """Answer each connection with the process's id; do what a file of the test says."""
    if (place / "fails").exists():
        sys.exit(3)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if (place / "ignores").exists():
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    listener.listen(50)
    readiness.send_bytes(b"ready")
    (place / str(os.getpid())).touch()
    while True:
        connection, _ = listener.accept()
        with connection:
            connection.sendall(str(os.getpid()).encode())


def pids(place: Path) -> set[int]:
    return {int(file.name) for file in place.iterdir() if file.name.isdigit()}


def alive(place: Path) -> set[int]:
    return {pid for pid in pids(place) if Path(f"/proc/{pid}").exists()}


def asked(listener: socket.socket) -> int:
    with socket.create_connection(listener.getsockname()[:2], timeout=20) as client:
        return int(client.recv(100))


def test_workers_are_replaced_renewed_and_stopped(
    tmp_path: Path, listener: socket.socket, caplog: pytest.LogCaptureFixture
) -> None:
    workers = Workers(partial(serve, tmp_path), 2, listener, 20)
    failures: list[BaseException] = []

    def watch() -> None:
        try:
            first = eventually(lambda: len(pids(tmp_path)) == 2 and pids(tmp_path))
            assert asked(listener) in first
            time.sleep(EARLY_SECONDS)

            (killed, *_) = first
            os.kill(killed, signal.SIGKILL)
            replaced = eventually(lambda: len(pids(tmp_path)) == 3 and alive(tmp_path))
            assert killed not in replaced
            assert asked(listener) in replaced

            os.kill(os.getpid(), signal.SIGHUP)
            eventually(lambda: len(alive(tmp_path) - replaced) == 2 == len(alive(tmp_path)))
            assert asked(listener) not in replaced

            # A worker that cannot start replaces none.
            renewed = alive(tmp_path)
            (tmp_path / "fails").touch()
            os.kill(os.getpid(), signal.SIGHUP)
            eventually(lambda: "a new worker cannot start; the others stay" in caplog.text)
            assert alive(tmp_path) == renewed
            assert asked(listener) in renewed
            (tmp_path / "fails").unlink()
            os.kill(os.getpid(), signal.SIGHUP)
            eventually(lambda: len(alive(tmp_path) - renewed) == 2 == len(alive(tmp_path)))
        except BaseException as failure:
            failures.append(failure)
        finally:
            os.kill(os.getpid(), signal.SIGTERM)

    handler = signal.getsignal(signal.SIGTERM)
    watcher = Thread(target=watch)
    watcher.start()
    could_run = workers.run()
    watcher.join()
    assert failures == []
    assert could_run
    assert workers.is_stopping
    assert alive(tmp_path) == set()
    assert signal.getsignal(signal.SIGTERM) is handler


def test_workers_that_exit_at_once_end_the_server(tmp_path: Path, listener: socket.socket) -> None:
    (tmp_path / "fails").touch()
    assert not Workers(partial(serve, tmp_path), 2, listener, 20).run()
    assert alive(tmp_path) == set()


def test_a_worker_that_does_not_stop_is_killed(
    tmp_path: Path, listener: socket.socket, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "ignores").touch()
    workers = Workers(partial(serve, tmp_path), 1, listener, 0.1)

    def stop() -> None:
        eventually(lambda: pids(tmp_path))
        workers.stop()

    stopper = Thread(target=stop)
    stopper.start()
    assert workers.run()
    stopper.join()
    assert alive(tmp_path) == set()
    assert "did not stop and is killed" in caplog.text


@pytest.mark.heavy
def test_no_request_fails_while_workers_are_renewed(url: str, tmp_path: Path) -> None:
    arguments = ("--url", url, "--no-auth", "--workers", "2")
    ended = Event()

    def ask(address: str) -> list[int]:
        statuses = []
        while not ended.is_set():
            # A connection for each request: one that is kept ends with its worker.
            statuses.append(httpx.get(f"{address}/api/v2/heartbeat", timeout=30).status_code)
        return statuses

    with (
        running(tmp_path / "log", *arguments) as server,
        ThreadPoolExecutor(4) as threads,
    ):
        eventually(lambda: len(server.workers) == 2)
        before = set(server.workers)
        clients = [threads.submit(ask, server.url) for _ in range(4)]
        try:
            server.process.send_signal(signal.SIGHUP)
            eventually(lambda: len(server.workers) == 2 and not before & set(server.workers))
        finally:
            ended.set()
        statuses = [status for client in clients for status in client.result()]
    assert set(statuses) == {200}
    assert "Traceback" not in (tmp_path / "log").read_text()
