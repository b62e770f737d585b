"""Ctrl-C ends a command at any moment with code 130 and without a traceback."""

from __future__ import annotations

import os
import pty
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import IO

import psycopg
import pytest

from pgchroma.cli import main
from tests.commands import runner
from tests.server_process import eventually

pytestmark = pytest.mark.heavy

TRACED = [sys.executable, "-X", "importtime", "-m"]
"""Python that writes a line to standard error whenever a module was imported."""

MOMENTS = 8

SIGNS = re.compile(r"Traceback|KeyboardInterrupt|Aborted|Error")


def _imported(line: str) -> str:
    return line.rpartition("|")[2].strip() if line.startswith("import time:") else ""


@pytest.fixture(scope="module")
def moments() -> list[str]:
    """Modules that are imported one after the other while the command starts."""
    command = [*TRACED, "pgchroma", "--version"]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stderr
    modules = [module for line in said.splitlines() if (module := _imported(line))]
    modules = modules[modules.index("pgchroma.interrupted") :]
    return modules[:: len(modules) // MOMENTS][:MOMENTS]


@pytest.mark.parametrize("module", ["pgchroma", "pgchroma.cli"])
@pytest.mark.parametrize("moment", range(MOMENTS))
def test_while_it_imports(moments: list[str], moment: int, module: str) -> None:
    command = [*TRACED, module, "db", "list", "--url", "postgresql://127.0.0.1:1/x"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, text=True, **pipes) as process:  # type: ignore[call-overload]
        output: IO[str] = process.stderr
        assert any(_imported(line) == moments[moment] for line in output)
        process.send_signal(signal.SIGINT)
        rest = [line for line in output if not line.startswith("import time:")]
    assert process.returncode == 130, rest
    assert rest == []


def test_while_it_waits_for_the_database(url: str) -> None:
    with psycopg.connect(url) as blocking:
        blocking.execute("lock table pgchroma.alembic_version in access exclusive mode")
        command = [sys.executable, "-m", "pgchroma", "compact", "--url", url]
        with subprocess.Popen(command, text=True, stderr=subprocess.PIPE) as process:
            with psycopg.connect(url, autocommit=True) as watching:
                query = (
                    "select from pg_stat_activity where wait_event_type = 'Lock'"
                    " and datname = current_database()"
                )
                eventually(lambda: watching.execute(query).fetchone() is not None)
            process.send_signal(signal.SIGINT)
            _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert not SIGNS.search(said), said


def test_at_a_prompt(url: str) -> None:
    command = [sys.executable, "-m", "pgchroma", "users", "create", "jane", "--role", "read"]
    keyboard, terminal = pty.openpty()
    process = subprocess.Popen(
        [*command, "--url", url], stdin=terminal, stderr=subprocess.PIPE, start_new_session=True
    )
    try:
        assert process.stderr is not None
        shown = b""
        while b"Password: " not in shown:
            more = os.read(process.stderr.fileno(), 100)
            assert more, shown
            shown += more
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
        assert process.returncode == 130
        assert not SIGNS.search(said.decode()), said
    finally:
        process.kill()
        process.wait()
        os.close(keyboard)
        os.close(terminal)


def test_the_end_of_the_input_is_no_interrupt(url: str) -> None:
    command = [sys.executable, "-m", "pgchroma", "users", "create", "jane", "--role", "read"]
    # A process that leads a new session has no terminal to prompt on.
    done = subprocess.run(
        [*command, "--url", url], stdin=subprocess.DEVNULL, start_new_session=True, check=False
    )
    assert done.returncode == 1


@pytest.mark.parametrize("form", ["text", "json"])
def test_the_server_before_it_serves(form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("pgchroma.server.process.supervisor.serve", interrupt)
    ended = runner().invoke(main, ["run", "--no-auth", "--log-format", form, "--path", "x"])
    assert ended.exit_code == 130
    assert ("interrupted" in ended.stderr) is (form == "json")
    assert not SIGNS.search(ended.stderr.replace('"ERROR"', ""))


def test_a_program_that_imports_the_package_keeps_its_interrupts(tmp_path: Path) -> None:
    script = "import pgchroma\nraise KeyboardInterrupt\n"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert "KeyboardInterrupt" in done.stderr
