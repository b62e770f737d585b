"""Throw-away servers, which leave nothing behind."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from psycopg.conninfo import conninfo_to_dict

from pgchroma.embedded import EmbeddedPostgres, host

from .conftest import eventually, rows

pytestmark = pytest.mark.heavy

if TYPE_CHECKING:
    from collections.abc import Callable

    from .conftest import Program

_DIRECTORY = "show data_directory"
_SAY_WHERE = """
postgres = EmbeddedPostgres.open_ephemeral()
say(sql(postgres, "show data_directory")[0][0])
sys.stdin.readline()
"""


def _where(postgres: EmbeddedPostgres) -> tuple[Path, Path]:
    """The server's directory and its socket's."""
    sockets = Path(str(conninfo_to_dict(postgres.conninfo)["host"])).parent
    return Path(str(rows(postgres, _DIRECTORY)[0][0])).parent, sockets


def test_a_throw_away_server_leaves_nothing_behind() -> None:
    with EmbeddedPostgres.open_ephemeral() as postgres:
        directory, sockets = _where(postgres)
        assert rows(postgres, "show fsync") == [("off",)]
        assert rows(postgres, "show wal_level") == [("minimal",)]
        assert directory.exists()
        assert sockets.exists()
    assert not directory.exists()
    assert not sockets.exists()


def test_a_throw_away_server_takes_little_of_the_disk() -> None:
    with EmbeddedPostgres.open_ephemeral() as postgres:
        directory, _ = _where(postgres)
        used = sum(f.stat().st_blocks * 512 for f in directory.rglob("*") if f.is_file())
    assert used < 40 << 20


def test_one_process_has_one_throw_away_server_at_a_time() -> None:
    first, second = EmbeddedPostgres.open_ephemeral(), EmbeddedPostgres.open_ephemeral()
    assert first.conninfo == second.conninfo
    first.close()
    first.close()
    rows(second, "create table t ()")
    second.close()
    with EmbeddedPostgres.open_ephemeral() as third:
        assert rows(third, "select to_regclass('t')") == [(None,)]


def test_threads_share_a_throw_away_server() -> None:
    failures: list[BaseException] = []

    def use() -> None:
        try:
            with EmbeddedPostgres.open_ephemeral() as postgres:
                assert rows(postgres, "select 1") == [(1,)]
        except BaseException as failure:
            failures.append(failure)

    threads = [threading.Thread(target=use) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


def test_two_processes_have_throw_away_servers_of_their_own(
    program: Callable[..., Program],
) -> None:
    one, other = program(_SAY_WHERE), program(_SAY_WHERE)
    assert one.heard() != other.heard()
    one.finish()
    other.finish()


def test_a_process_which_ends_without_closing_leaves_nothing(
    program: Callable[..., Program],
) -> None:
    one = program(_SAY_WHERE)
    data = Path(one.heard())
    one.finish()
    assert not data.parent.exists()


def test_a_killed_process_takes_its_server_along(program: Callable[..., Program]) -> None:
    one = program(_SAY_WHERE)
    data = Path(one.heard())
    pid = int((data / "postmaster.pid").read_text().split()[0])
    one.kill()
    assert eventually(lambda: not data.parent.exists())
    assert not host.is_postmaster(pid, data)


def test_the_next_removes_what_a_killed_process_and_its_watcher_left(
    program: Callable[..., Program],
) -> None:
    one = program(_SAY_WHERE)
    data = Path(one.heard())
    pid = int((data / "postmaster.pid").read_text().split()[0])
    watcher = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    assert b"kill -QUIT 0" in Path(f"/proc/{watcher}/cmdline").read_bytes()
    os.kill(watcher, signal.SIGKILL)
    one.kill()
    assert host.is_postmaster(pid, data)
    with EmbeddedPostgres.open_ephemeral():
        assert not data.parent.exists()
        assert not host.is_postmaster(pid, data)


def test_a_live_process_keeps_its_server_when_another_comes(
    program: Callable[..., Program],
) -> None:
    one = program(_SAY_WHERE)
    data = Path(one.heard())
    with EmbeddedPostgres.open_ephemeral():
        assert (data / "postmaster.pid").exists()
    one.finish()


def test_a_throw_away_server_that_died_is_replaced_by_the_next_opening() -> None:
    with EmbeddedPostgres.open_ephemeral() as postgres:
        directory, _ = _where(postgres)
        os.kill(
            int((directory / "postgres" / "postmaster.pid").read_text().split()[0]), signal.SIGKILL
        )
        with EmbeddedPostgres.open_ephemeral() as again:
            assert rows(again, "select 1") == [(1,)]
    assert not directory.exists()
