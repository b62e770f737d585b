"""Which refusals of a login are permanent, decided by PostgreSQL's error code."""

from __future__ import annotations

import socketserver
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from pgchroma.backends.refusal import is_refused_for_good
from tests.server_process import PATIENCE, eventually, free_port

Refuse = Callable[[str], str]


@pytest.fixture
def refuse() -> Iterator[Refuse]:
    """Make servers that refuse every login with a code, and return their URLs."""
    with ExitStack() as opened:

        def start(sqlstate: str) -> str:
            server = _Refusing(("127.0.0.1", 0), _Refusal)
            server.sqlstate = sqlstate
            thread = threading.Thread(target=server.serve_forever)
            thread.start()
            opened.callback(thread.join)
            opened.callback(server.server_close)
            opened.callback(server.shutdown)
            address = f"127.0.0.1:{server.server_address[1]}"
            return f"postgresql://app:sesame@{address}/app?sslmode=disable&gssencmode=disable"

        yield start


class _Refusing(socketserver.ThreadingTCPServer):
    daemon_threads = True
    sqlstate = ""


class _Refusal(socketserver.BaseRequestHandler):
    server: _Refusing

    def handle(self) -> None:
        if not self.request.recv(4096):
            return
        fields = (b"SFATAL", b"VFATAL", f"C{self.server.sqlstate}".encode(), b"Mgo away", b"")
        body = b"\0".join(fields) + b"\0"
        self.request.sendall(b"E" + (len(body) + 4).to_bytes(4, "big") + body)


@pytest.mark.skipif(sys.platform != "linux", reason="libpq's trace is on Linux only")
@pytest.mark.parametrize(
    ("sqlstate", "expected"),
    [
        ("28P01", True),
        ("28000", True),
        ("3D000", True),
        ("53300", False),
        ("57P03", False),
        ("08P01", False),
    ],
)
def test_a_wrong_password_is_for_good_and_a_full_server_is_not(
    refuse: Refuse, sqlstate: str, expected: bool
) -> None:
    assert is_refused_for_good(refuse(sqlstate)) is expected


def test_an_unreachable_server_may_start_later() -> None:
    assert not is_refused_for_good(f"postgresql://127.0.0.1:{free_port()}/app")
    assert not is_refused_for_good("host=/nowhere")
    assert is_refused_for_good("host=/nowhere sslmode=perhaps")


@pytest.mark.heavy
def test_a_server_waits_for_a_database_that_starts_and_not_for_a_password(
    refuse: Refuse, tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "pgchroma.cli", "run", "--port", "0", "--url"]
    ended = subprocess.run(
        [*command, refuse("28P01")], capture_output=True, text=True, check=False, timeout=PATIENCE
    )
    assert ended.returncode == 2
    assert ended.stderr.splitlines()[-1].startswith("Error: --url: app@127.0.0.1:")
    assert "waiting" not in ended.stderr
    assert "sesame" not in ended.stderr
    log = tmp_path / "log"
    with log.open("wb") as output:
        waiting = subprocess.Popen([*command, refuse("57P03")], stdout=output, stderr=output)
    eventually(lambda: "waiting for the database" in log.read_text())
    waiting.terminate()
    assert waiting.wait(PATIENCE) == 0


def test_chromas_data_in_the_directory_is_refused_with_the_flag(tmp_path: Path) -> None:
    (tmp_path / "chroma.sqlite3").touch()
    command = [sys.executable, "-m", "pgchroma.cli", "run", "--port", "0", "--path", str(tmp_path)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENCE)
    assert ended.returncode == 2
    assert f"Error: --path {tmp_path}: " in ended.stderr.splitlines()[-1]
