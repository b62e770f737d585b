"""A server that is stopped while it recovers from a crash ends, and the next one recovers."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pgchroma.embedded import EmbeddedPostgres, cluster, host, locks
from tests.server_process import eventually as soon

from .conftest import postmaster, rows, server_lives

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .conftest import Program

ROWS = 300_000
"""Enough rows that a recovery takes about a second."""

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/task").exists(), reason="finds processes of the server in Linux's /proc"
)

OPEN = """
with EmbeddedPostgres.open(sys.argv[1]) as postgres:
    say("open")
"""


@pytest.fixture
def crashed(used: Path) -> Path:
    """A path whose server was killed with much to recover."""
    with EmbeddedPostgres.open(used) as postgres:
        rows(postgres, "checkpoint")
        rows(postgres, f"create table t as select n from generate_series(1, {ROWS}) as n")
        rows(postgres, "create index on t (n)")
        os.kill(postmaster(used), signal.SIGKILL)
        soon(lambda: not server_lives(used))
    return used


@pytest.fixture
def hold() -> Iterator[Callable[[Path], None]]:
    """Stops the process that recovers a path's data, so that its recovery does not end."""
    held: list[int] = []

    def hold(path: Path) -> None:
        held.append(soon(lambda: _startup_process(path)))
        os.kill(held[0], signal.SIGSTOP)
        assert "starting" in (path / "postgres" / "postmaster.pid").read_text()

    yield hold
    for pid in held:
        if b"startup" in _title(pid):
            os.kill(pid, signal.SIGKILL)


def _startup_process(path: Path) -> int:
    pid_file = path / "postgres" / "postmaster.pid"
    if not pid_file.exists() or not (text := pid_file.read_text()):
        return 0
    pid = int(text.split()[0])
    children = Path(f"/proc/{pid}/task/{pid}/children")
    if not host.is_postmaster(pid, path / "postgres") or not children.exists():
        return 0
    found = [int(child) for child in children.read_text().split()]
    return next((child for child in found if b"startup recovering" in _title(child)), 0)


def _title(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


@pytest.mark.heavy
@pytest.mark.parametrize("is_held", [False, True])
def test_who_waits_for_a_recovery_can_be_interrupted(
    crashed: Path,
    hold: Callable[[Path], None],
    program: Callable[..., Program],
    is_held: bool,
) -> None:
    opener = program(OPEN, crashed)
    soon(lambda: _startup_process(crashed))
    if is_held:
        hold(crashed)
    opener.process.send_signal(signal.SIGINT)
    said, errors = opener.process.communicate(timeout=30)
    assert "open" not in said
    assert "KeyboardInterrupt" in errors
    assert not server_lives(crashed)
    with EmbeddedPostgres.open(crashed) as postgres:
        assert rows(postgres, "select count(*) from t") == [(ROWS,)]


@pytest.mark.heavy
def test_a_server_that_cannot_stop_is_ended_by_the_next_to_open_its_directory(
    crashed: Path,
    hold: Callable[[Path], None],
    program: Callable[..., Program],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    starter = program(OPEN, crashed)
    hold(crashed)
    starter.kill()
    os.kill(postmaster(crashed), signal.SIGINT)
    soon(lambda: "stopping" in (crashed / "postgres" / "postmaster.pid").read_text())
    # PostgreSQL kills its own processes five seconds after the SIGQUIT, so announce before that.
    monkeypatch.setattr(locks, "_ANNOUNCE_AFTER_SECONDS", 1.0)
    monkeypatch.setattr(cluster, "_MAX_STOP_SECONDS", 0.5)
    told: list[str] = []
    with EmbeddedPostgres.open(crashed, announce=told.append) as postgres:
        assert rows(postgres, "select count(*) from t") == [(ROWS,)]
        monkeypatch.undo()
    assert any("which is stopping" in line for line in told), told
