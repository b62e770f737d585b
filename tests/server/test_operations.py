"""Starting and stopping a server, and losing its dependencies; with real processes and signals."""

from __future__ import annotations

import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo

from pgchroma.catalog.server_facts import HEAD
from pgchroma.embedded import EmbeddedPostgres
from pgchroma.server.process.addresses import Address
from pgchroma.server.process.health import Health, serve_admin
from pgchroma.server.process.run_directory import RunDirectory
from pgchroma.store.waits import COMPACTOR
from tests.server_process import PATIENCE, Server, eventually, free_port, running

pytestmark = pytest.mark.heavy

COLLECTIONS = "/api/v2/tenants/default_tenant/databases/default_database/collections"


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "log"


@pytest.fixture(scope="module")
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor() as pool:
        yield pool


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a server that is not going to stay."""
    return subprocess.run(
        [sys.executable, "-m", "pgchroma.cli", "run", *arguments],
        env={**os.environ, **environment},
        check=False,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )


@contextmanager
def held_up(conninfo: str) -> Iterator[psycopg.Connection[Any]]:
    """Make every request that looks up a collection wait."""
    with psycopg.connect(conninfo) as connection:
        connection.execute("lock table pgchroma.collections in access exclusive mode")
        yield connection


def list_collections(server: Server) -> httpx.Response:
    return httpx.get(server.url + COLLECTIONS, timeout=PATIENCE)


def waiting(server: Server, conninfo: str, threads: ThreadPoolExecutor) -> Future[httpx.Response]:
    """Send a request that waits for `held_up` to end, and see that it does."""
    # The compactor looks for collections as well, and then waits for the same lock.
    question = """
        select count(*) from pg_stat_activity
        where datname = current_database() and wait_event_type = 'Lock'
            and application_name <> %s
    """
    with psycopg.connect(conninfo, autocommit=True) as connection:

        def count() -> int:
            return int(connection.execute(question, [COMPACTOR]).fetchall()[0][0])

        before = count()
        request = threads.submit(list_collections, server)
        eventually(lambda: count() > before)
    return request


def test_the_admin_port_and_a_killed_worker(module_url: str, log: Path) -> None:
    admin = f"http://127.0.0.1:{(port := free_port())}"
    arguments = ("--url", module_url, "--no-auth", "--workers", "2", "--admin-port", str(port))
    with running(log, *arguments) as server:
        eventually(lambda: httpx.get(f"{admin}/ready", timeout=10).status_code == 200)
        assert httpx.get(f"{admin}/live").json() == {"ok": True}
        assert httpx.get(f"{admin}/ready").json() == {"ok": True}
        assert httpx.get(f"{admin}/").status_code == 404
        assert httpx.post(f"{admin}/live").status_code == 405
        for path in ("/live", "/ready", "/metrics"):
            assert httpx.get(server.url + path).status_code == 404

        killed = server.workers[0]
        os.kill(killed, signal.SIGKILL)
        unready = eventually(lambda: _unready(admin), 10)
        assert unready == {"ok": False, "workers": "1 of 2 answer"}
        assert httpx.get(f"{admin}/live").status_code == 200
        eventually(lambda: httpx.get(f"{admin}/ready", timeout=10).status_code == 200)
        assert killed not in server.workers
        text = httpx.get(f"{admin}/metrics").text
        assert 'pgchroma_workers{state="running"} 2.0' in text

        with psycopg.connect(module_url, autocommit=True) as connection:
            connection.execute("update pgchroma.alembic_version set version_num = '0001'")
            body = httpx.get(f"{admin}/ready").json()
            assert "the catalog is at revision 0001" in body["catalog"]
            connection.execute("update pgchroma.alembic_version set version_num = %s", [HEAD])
        assert server.stop() == 0
    assert "Traceback" not in log.read_text()


def test_a_worker_that_hangs_and_one_that_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_directory = RunDirectory(tmp_path)
    run_directory.metrics.mkdir()
    health = Health(run_directory, "host=/nowhere", workers=1)

    def wait(seconds: float) -> None:
        for file in tmp_path.glob("alive-*"):
            os.utime(file, (time.monotonic() - seconds,) * 2)

    run_directory.beat()
    assert (health.is_live(), health.running()) == ({}, [os.getpid()])
    assert health.is_ready() == {"database": "cannot be reached"}
    wait(10)
    assert health.is_ready()["workers"] == "0 of 1 answer"
    wait(60)
    assert health.is_live() == {}, "it may be starting"
    monkeypatch.setattr(health, "_started", time.monotonic() - 60)
    assert health.is_live() == {"workers": "0 of 1 are alive"}

    monkeypatch.setattr(os, "getpid", lambda: 2**22 + 1)  # more than there are
    (run_directory.metrics / f"gauge_livesum_{os.getpid()}.db").touch()
    run_directory.beat()
    assert health.is_live() == {}, "it may be replaced"
    assert health.running() == []
    assert list(run_directory.metrics.iterdir()) == []
    wait(60)
    assert health.running() == []
    assert f"alive-{2**22 + 1}" not in {file.name for file in tmp_path.iterdir()}


def _unready(admin: str) -> Any:
    answer = httpx.get(f"{admin}/ready", timeout=10)
    return answer.json() if answer.status_code == 503 else None


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_lets_running_requests_end(
    number: signal.Signals, url: str, log: Path, threads: ThreadPoolExecutor
) -> None:
    with running(log, "--url", url, "--no-auth") as server:
        worker = server.workers[0]
        with held_up(url):
            request = waiting(server, url, threads)
            server.process.send_signal(number)
            eventually(lambda: not _accepts(server.port))
            assert not request.done()
        assert request.result().status_code == 200
        assert server.process.wait(PATIENCE) == 0
        assert not _exists(worker)
    assert "Traceback" not in log.read_text()


def test_what_does_not_end_in_time_is_given_up(
    url: str, log: Path, threads: ThreadPoolExecutor
) -> None:
    environment = {"PGCHROMA_DRAIN_TIMEOUT": "1"}
    with running(log, "--url", url, "--no-auth", environment=environment) as server, held_up(url):
        request = waiting(server, url, threads)
        began = time.monotonic()
        assert server.stop() == 0
        assert time.monotonic() - began < 5
        assert isinstance(request.exception(), httpx.TransportError)


def test_no_worker_outlives_its_supervisor(url: str, log: Path, tmp_path: Path) -> None:
    environment = {"TMPDIR": str(tmp_path)}
    with running(log, "--url", url, "--no-auth", environment=environment) as server:
        (worker,) = server.workers
        server.process.kill()
        eventually(lambda: not _exists(worker), 10)
        assert not _accepts(server.port)
    assert list(tmp_path.glob("pgchroma-*")) == []


def test_a_worker_that_cannot_start_ends_the_command(url: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        name = sql.Identifier(f"weak_{os.getpid()}")
        connection.execute(sql.SQL("create role {} login").format(name))
        try:
            connection.execute(sql.SQL("grant usage on schema pgchroma to {}").format(name))
            connection.execute(
                sql.SQL("grant select on all tables in schema pgchroma to {}").format(name)
            )
            weak = make_conninfo(url, user=f"weak_{os.getpid()}")
            result = run("--url", weak, "--no-auth", "--role-per-tenant", "--port", "0")
        finally:
            connection.execute(sql.SQL("drop owned by {0}; drop role {0}").format(name))
    assert result.returncode == 1
    assert "Error: a worker cannot start: " in result.stderr.splitlines()[-1]
    assert "listens on" not in result.stderr


def test_the_database_goes_away_and_comes_back(tmp_path: Path, log: Path) -> None:
    place = tmp_path / "data"
    admin = f"http://127.0.0.1:{(port := free_port())}"
    with EmbeddedPostgres.open(place, durable=False) as postgres:
        conninfo = postgres.conninfo
        arguments = ("--url", conninfo, "--no-auth", "--admin-port", str(port))
        server_context = running(log, *arguments)
        server = server_context.__enter__()
    try:
        assert list_collections(server).status_code == 503
        away = list_collections(server)
        assert (away.status_code, away.headers["retry-after"]) == (503, "1")
        assert httpx.get(f"{admin}/ready", timeout=10).json()["database"] == "cannot be reached"
        assert httpx.get(f"{admin}/live").status_code == 200

        # A worker may be replaced while the database is away.
        os.kill(server.workers[0], signal.SIGKILL)
        eventually(lambda: _accepts(server.port))
        assert eventually(lambda: _status(server)) == 503

        with EmbeddedPostgres.open(place, durable=False):
            eventually(lambda: _status(server) == 200)
            assert {list_collections(server).status_code for _ in range(20)} == {200}
            eventually(lambda: httpx.get(f"{admin}/ready", timeout=10).status_code == 200)
            assert server.stop() == 0
    finally:
        server_context.__exit__(None, None, None)
    assert "Traceback" not in log.read_text()


def _status(server: Server) -> int | None:
    try:
        return list_collections(server).status_code
    except httpx.TransportError:
        return None


def test_a_slow_statement_and_a_pool_that_is_used_up(
    url: str, log: Path, threads: ThreadPoolExecutor
) -> None:
    environment = {"PGCHROMA_POOL_SIZE": "1", "PGCHROMA_POOL_TIMEOUT": "0.3"}
    limited = make_conninfo(url, options="-c statement_timeout=2s")
    with running(log, "--url", limited, "--no-auth", environment=environment) as server:
        with held_up(url):
            slow = waiting(server, url, threads)
            late = list_collections(server)
            assert (late.status_code, late.headers["retry-after"]) == (503, "1")
            assert slow.result().status_code == 504
        assert list_collections(server).status_code == 200


def test_a_signal_ends_the_wait_for_a_database(log: Path) -> None:
    with socket.socket() as nobody, log.open("wb") as output:
        nobody.bind(("127.0.0.1", 0))
        url = f"postgresql://user:sesame@127.0.0.1:{nobody.getsockname()[1]}/db"
        command = [sys.executable, "-m", "pgchroma.cli", "run", "--port", "0", "--url", url]
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
        eventually(lambda: "waiting for the database" in log.read_text())
        process.terminate()
        assert process.wait(5) == 0
    assert "sesame" not in log.read_text()


def test_an_embedded_server_stops_with_the_command(tmp_path: Path, log: Path) -> None:
    place = tmp_path / "data"
    arguments = ("--path", str(place), "--no-auth", "--host", "::1")
    with running(log, *arguments, address="[::1]") as server:
        assert f"listens on {server.url}" in eventually(lambda: _announced(log))
        assert (place / "postgres" / "postmaster.pid").exists()
        assert server.stop(signal.SIGINT) == 0
    assert not (place / "postgres" / "postmaster.pid").exists()


def test_port_0_and_a_port_that_is_taken(url: str, log: Path) -> None:
    with log.open("wb") as output:
        command = [sys.executable, "-m", "pgchroma.cli", "run", "--port", "0", "--no-auth"]
        process = subprocess.Popen([*command, "--url", url], stdout=output, stderr=output)
    try:
        port = int(re.findall(r":(\d+)$", eventually(lambda: _announced(log)))[0])
        assert httpx.get(f"http://127.0.0.1:{port}/api/v2/heartbeat").status_code == 200
        result = run("--url", url, "--no-auth", "--port", str(port))
        assert result.returncode == 1
        assert result.stderr.splitlines()[-1] == (
            f"Error: localhost:{port} cannot be listened on: Address already in use"
        )
        result = run("--url", url, "--no-auth", "--port", "0", "--admin-port", str(port))
        assert f"localhost:{port} cannot be listened on" in result.stderr
    finally:
        process.terminate()
        assert process.wait(PATIENCE) == 0


def test_an_address_that_is_none(url: str) -> None:
    result = run("--url", url, "--host", "no.such.host.invalid")
    assert result.returncode == 2
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("Error: ")]
    assert "--host no.such.host.invalid: 'no.such.host.invalid' is not an address" in line


def test_https(url: str, tmp_path: Path, log: Path) -> None:
    certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
            *("-nodes", "-days", "2", "-subj", "/CN=localhost"),
            *("-addext", "subjectAltName=DNS:localhost", "-keyout", key, "-out", certificate),
        ],
        check=True,
        capture_output=True,
    )
    files = ("--ssl-certificate", str(certificate), "--ssl-key", str(key))
    with log.open("wb") as output:
        command = [sys.executable, "-m", "pgchroma.cli", "run", "--port", "0", "--no-auth"]
        process = subprocess.Popen([*command, "--url", url, *files], stdout=output, stderr=output)
    try:
        address = eventually(lambda: _announced(log)).rsplit(" ", 1)[1]
        assert address.startswith("https://localhost:")
        trusting = ssl.create_default_context(cafile=certificate)
        assert httpx.get(f"{address}/api/v2/heartbeat", verify=trusting).status_code == 200
    finally:
        process.terminate()
        assert process.wait(PATIENCE) == 0


def test_a_certificate_that_is_none(url: str, tmp_path: Path) -> None:
    (tmp_path / "pem").write_text("none")
    pem = str(tmp_path / "pem")
    result = run("--url", url, "--no-auth", "--ssl-certificate", pem, "--ssl-key", pem)
    assert result.returncode == 2
    assert f"Error: --ssl-certificate {pem}: ssl_certificate and ssl_key cannot" in result.stderr


def _announced(log: Path) -> str | None:
    lines = [line for line in log.read_text().splitlines() if "listens on" in line]
    return lines[0] if lines else None


def _accepts(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_metrics_while_a_worker_starts_and_another_request_cleans_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_directory = RunDirectory(tmp_path)
    run_directory.metrics.mkdir()
    # A worker creates an empty file and then gives it a size.
    (run_directory.metrics / "counter_1.db").touch()
    monkeypatch.setattr(os, "getpid", lambda: 2**22 + 1)  # more than there are
    run_directory.beat()
    monkeypatch.undo()
    gauge = run_directory.metrics / "gauge_livesum_4194305.db"
    gauge.touch()
    remove = os.remove

    def remove_twice(path: str) -> None:
        remove(path)
        remove(path)

    monkeypatch.setattr(os, "remove", remove_twice)
    address = Address("localhost", "127.0.0.1", free_port(), socket.AF_INET)
    with serve_admin(address, Health(run_directory, "host=/nowhere", workers=1)):
        answer = httpx.get(f"http://127.0.0.1:{address.port}/metrics")
    assert answer.status_code == 200
    assert 'pgchroma_workers{state="configured"} 1.0' in answer.text
    assert not gauge.exists()
