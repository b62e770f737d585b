"""Real servers in throw-away directories, and other Python processes to share them with."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest

from pgchroma.embedded import EmbeddedPostgres, host
from pgchroma.embedded.locks import FileLock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_PRELUDE = """
import os, signal, sys, time
from pathlib import Path
import psycopg
from pgchroma.embedded import EmbeddedPostgres

def say(word):
    print(word, flush=True)

def sql(postgres, text):
    with psycopg.connect(postgres.conninfo, autocommit=True) as connection:
        done = connection.execute(text)
        return done.fetchall() if done.description else []

"""


class Program:
    """A Python process which talks to the test through its standard streams."""

    def __init__(self, code: str, *arguments: str | Path, prefix: tuple[str, ...] = ()) -> None:
        command = [*prefix, sys.executable, "-W", "error", "-c", _PRELUDE + textwrap.dedent(code)]
        self.process = subprocess.Popen(
            [*command, *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd="/",
        )

    def heard(self) -> str:
        """The next line that the program prints."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline().strip()
        assert line, f"the program ended: {self.process.communicate()[1]}"
        return line

    def finish(self) -> str:
        """Let a waiting program continue until it succeeds, and return the rest of its output."""
        out, error = self.process.communicate("\n", timeout=60)
        assert self.process.returncode == 0, error
        return out.strip()

    def kill(self) -> None:
        """Kill it in a way it does not notice."""
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def program() -> Iterator[Callable[..., Program]]:
    started: list[Program] = []

    def start(code: str, *arguments: str | Path, prefix: tuple[str, ...] = ()) -> Program:
        started.append(Program(code, *arguments, prefix=prefix))
        return started[-1]

    yield start
    for one in started:
        one.kill()


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    """A directory; servers of it that still run after the test are stopped."""
    yield tmp_path
    for file in tmp_path.rglob("postmaster.pid"):
        pid = int(file.read_text().split()[0])
        if host.is_postmaster(pid, file.parent):
            os.kill(pid, signal.SIGQUIT)


@pytest.fixture(scope="session")
def _prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("prepared")
    EmbeddedPostgres.open(path).close()
    return path


@pytest.fixture
def used(home: Path, _prepared: Path) -> Path:
    """A path which was opened before and is not open now."""
    return Path(shutil.copytree(_prepared, home / "used"))


def rows(postgres: EmbeddedPostgres | str, text: str) -> list[tuple[object, ...]]:
    """The rows that a statement returns."""
    conninfo = postgres if isinstance(postgres, str) else postgres.conninfo
    with psycopg.connect(conninfo, autocommit=True) as connection:
        done = connection.execute(text)
        return done.fetchall() if done.description else []


def server_lives(path: Path) -> bool:
    """Whether any process of the path's server is still running."""
    with FileLock(path / "pgchroma.server.lock", create=False) as lock:
        return not lock.try_exclusive()


def postmaster(path: Path) -> int:
    """The process number of the path's server."""
    return int((path / "postgres" / "postmaster.pid").read_text().split()[0])


def eventually(happened: Callable[[], bool], seconds: float = 20) -> bool:
    """Whether something becomes true in time."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if happened():
            return True
        time.sleep(0.02)
    return False


@contextlib.contextmanager
def mounted(place: Path, options: str) -> Iterator[Path]:
    """A file system in memory, with these options of mount."""
    place.mkdir(exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(place)]
    is_root = os.geteuid() == 0
    if not is_root or subprocess.run(command, capture_output=True, check=False).returncode != 0:
        pytest.skip("needs the right to mount a file system")
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)
