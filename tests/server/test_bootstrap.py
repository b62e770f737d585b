"""The first admin key: where it comes from, where it is stored, and that no log contains it."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import socket
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

from pgchroma.model.hashes import Key
from tests.server_process import PATIENCE, eventually, running

pytestmark = pytest.mark.heavy

KEY = re.compile(r"pgc_\w+")
FILE = "pgchroma-admin.key"


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "pgchroma.cli", "run", "--port", "0", *arguments]


def variables(**given: str) -> dict[str, str]:
    ours = {name: value for name, value in os.environ.items() if not name.startswith("PGCHROMA_")}
    return {**ours, **given}


def start(
    log: Path, *arguments: str, directory: Path, **environment: str
) -> subprocess.Popen[bytes]:
    with log.open("ab") as output:
        return subprocess.Popen(
            command(*arguments), cwd=directory, env=variables(**environment),
            stdin=subprocess.DEVNULL, stdout=output, stderr=output,
        )  # fmt: skip


def address(log: Path) -> str:
    found = eventually(lambda: re.search(r"listens on (http://\S+?)[\"\s]", log.read_text()))
    return str(found[1])


def role(url: str, key: str) -> int:
    headers = {"authorization": f"Bearer {key}"}
    return httpx.get(f"{url}/api/v2/auth/identity", headers=headers).status_code


def test_a_generated_key_is_in_a_file_of_this_users_and_not_in_the_log(
    url: str, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    process = start(log, "--url", url, directory=tmp_path)
    try:
        server = address(log)
        file = tmp_path / FILE
        key = file.read_text().strip()
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert role(server, key) == 200
    finally:
        process.terminate()
        assert process.wait(PATIENCE) == 0
    text = log.read_text()
    assert not KEY.search(text)
    assert str(file) in text
    assert [path.name for path in tmp_path.glob("pgchroma-*")] == [FILE]


def test_in_a_directory_the_key_is_beside_the_data(tmp_path: Path) -> None:
    log, data = tmp_path / "log", tmp_path / "data"
    process = start(log, "--path", str(data), directory=tmp_path)
    try:
        server = address(log)
        assert role(server, (data / FILE).read_text().strip()) == 200
        assert "preparing PostgreSQL" in log.read_text()
    finally:
        process.terminate()
        assert process.wait(PATIENCE) == 0


def test_a_start_that_fails_leaves_the_key_for_the_next(url: str, tmp_path: Path) -> None:
    """The worker cannot start, but the key was made before."""
    log = tmp_path / "log"
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        first = start(log, "--url", url, "--admin-port", port, directory=tmp_path)
        assert first.wait(PATIENCE) == 1
    assert "cannot be listened on" in log.read_text()
    key = (tmp_path / FILE).read_text().strip()
    log.write_text("")
    process = start(log, "--url", url, directory=tmp_path)
    try:
        assert role(address(log), key) == 200
    finally:
        process.terminate()
        process.wait(PATIENCE)
    assert (tmp_path / FILE).read_text().strip() == key


def test_a_file_that_cannot_be_written_leaves_no_key_behind(url: str, tmp_path: Path) -> None:
    log, directory = tmp_path / "log", tmp_path / "gone"
    directory.mkdir()
    (directory / FILE).mkdir()
    process = start(log, "--url", url, directory=directory)
    assert process.wait(PATIENCE) == 1
    line = log.read_text().splitlines()[-1]
    assert "cannot be written" in line
    assert "PGCHROMA_ADMIN_KEY_FILE" in line
    assert not KEY.search(log.read_text())


def test_a_key_that_was_given_is_taken(url: str, tmp_path: Path) -> None:
    key = Key.generate().text
    secret = tmp_path / "secret"
    secret.write_text(f"{key}\n")
    environment: dict[str, Any] = {"PGCHROMA_ADMIN_KEY_FILE": str(secret)}
    log = tmp_path / "log"
    process = start(log, "--url", url, directory=tmp_path, **environment)
    try:
        assert role(address(log), key) == 200
    finally:
        process.terminate()
        process.wait(PATIENCE)
    assert not KEY.search(log.read_text())
    assert not (tmp_path / FILE).exists()
    # The next start finds it valid; a start with another key does not add that one.
    with running(tmp_path / "other", "--url", url) as server:
        assert role(server.url, key) == 200
        assert role(server.url, server.first_key) == 401
        assert "is not a valid key of this database" in server.log.read_text()
        assert server.first_key not in server.log.read_text()


def test_on_a_terminal_the_key_is_shown_once(url: str, tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        command("--url", url), cwd=tmp_path, env=variables(),
        stdin=theirs, stdout=theirs, stderr=theirs,
    )  # fmt: skip
    os.close(theirs)
    shown = b""
    try:
        while b"listens on" not in shown:
            shown += os.read(ours, 4096)
        assert len(KEY.findall(shown.decode())) == 1
        assert not (tmp_path / FILE).exists()
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(PATIENCE)
        os.close(ours)


def answers(url: str) -> bool:
    """Whether a worker answers; one that was killed is replaced after a moment."""
    try:
        httpx.get(url)
    except httpx.TransportError:
        return False
    return True


def test_every_line_of_the_log_is_json(tmp_path: Path) -> None:
    log = tmp_path / "log"
    data = str(tmp_path / "data")
    arguments = ("--path", data, "--workers", "2", "--log-format", "json", "--log-level", "debug")
    environment = {"PGCHROMA_ADMIN_PORT": "0", "CHROMA_SERVER_AUTHN_PROVIDER": "x"}
    process = start(log, *arguments, directory=tmp_path, **environment)
    try:
        server = address(log)
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        workers = [
            int(pid)
            for pid in children
            if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()
        ]
        httpx.get(f"{server}/nowhere")
        os.kill(workers[0], signal.SIGKILL)
        eventually(lambda: "worker" in log.read_text().lower())
        eventually(lambda: answers(f"{server}/nowhere"))
    finally:
        process.terminate()
        process.wait(PATIENCE)
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    said = [f"{line['level']} {line['logger']} {line['message']}" for line in lines]
    assert said[0].startswith("INFO pgchroma.server pgchroma 0")
    assert "Python" in said[0]
    assert said[-1].startswith("INFO pgchroma.server pgchroma stopped after")
    for text in ("CHROMA_SERVER_AUTHN_PROVIDER", "PostgreSQL 18", "pgvector", "listens on"):
        assert any(text in line for line in said), text


def test_an_uncaught_exception_is_a_line_of_json() -> None:
    script = (
        "import threading, warnings\n"
        "from pgchroma.server.observability.logs import configure_logs\n"
        "configure_logs('json', 'info')\n"
        "warnings.warn('careful')\n"
        "thread = threading.Thread(target=lambda: 1 / 0)\n"
        "thread.start(); thread.join()\n"
        "raise TypeError('no such argument')\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    lines = [json.loads(line) for line in ended.stderr.splitlines()]
    assert [line["level"] for line in lines] == ["WARNING", "CRITICAL", "CRITICAL"]
    assert "careful" in lines[0]["message"]
    assert "ZeroDivisionError" in lines[1]["traceback"]
    assert "TypeError: no such argument" in lines[2]["traceback"]


def test_a_refused_login_ends_the_start_at_once(url: str, tmp_path: Path) -> None:
    for wrong, message in (
        (f"{url} user=nobody_at_all password=sesame", 'role "nobody_at_all" does not exist'),
        (f"{url} dbname=no_such_database", 'database "no_such_database" does not exist'),
        (f"{url} sslmode=perhaps", "sslmode"),
    ):
        ended = subprocess.run(
            command("--url", wrong), cwd=tmp_path, env=variables(), capture_output=True, text=True,
            timeout=30, check=False,
        )  # fmt: skip
        assert ended.returncode == 2
        assert ended.stderr.splitlines()[-1].startswith("Error: --url: ")
        assert message in ended.stderr.splitlines()[-1]
        assert "waiting for the database" not in ended.stderr
        assert "sesame" not in ended.stderr
