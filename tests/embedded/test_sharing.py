"""Several processes that open one path, and what remains when some of them die."""

from __future__ import annotations

import asyncio
import gc
import os
import shutil
import signal
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

import pgchroma
from pgchroma.embedded import EmbeddedPostgres

from .conftest import eventually, postmaster, rows, server_lives

pytestmark = pytest.mark.heavy

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from .conftest import Program

_OPEN_AND_WAIT = """
postgres = EmbeddedPostgres.open(sys.argv[1])
say("open")
sys.stdin.readline()
"""


def test_six_processes_open_a_new_path_at_once_and_all_see_everyones_rows(
    home: Path, program: Callable[..., Program]
) -> None:
    code = """
    postgres = EmbeddedPostgres.open(sys.argv[1])
    sql(postgres, "select pg_advisory_lock(1); create table if not exists t (writer int)")
    sql(postgres, f"insert into t values ({sys.argv[2]})")
    say("written")
    sys.stdin.readline()
    say(sql(postgres, "select count(*), sum(writer) from t")[0])
    postgres.close()
    """
    programs = [program(code, home / "data", str(number)) for number in range(6)]
    assert [one.heard() for one in programs] == ["written"] * 6
    assert [one.finish() for one in programs] == ["(6, 15)"] * 6
    assert not server_lives(home / "data")


@pytest.mark.slow
def test_six_processes_coming_and_going_never_lose_their_server(
    used: Path, program: Callable[..., Program]
) -> None:
    code = """
    for _ in range(6):
        with EmbeddedPostgres.open(sys.argv[1]) as postgres:
            assert sql(postgres, "select 1") == [(1,)]
    """
    for one in [program(code, used) for _ in range(6)]:
        one.finish()
    assert not server_lives(used)


def test_the_last_process_out_stops_the_server(used: Path, program: Callable[..., Program]) -> None:
    other = program(_OPEN_AND_WAIT, used)
    assert other.heard() == "open"
    with EmbeddedPostgres.open(used) as postgres:
        other.finish()
        assert server_lives(used)
        assert rows(postgres, "select 1") == [(1,)]
    assert not server_lives(used)
    assert not (used / "postgres" / "postmaster.pid").exists()


def test_two_openings_in_a_process_share_a_server(used: Path) -> None:
    first, second = EmbeddedPostgres.open(used), EmbeddedPostgres.open(used)
    assert first.conninfo == second.conninfo
    first.close()
    first.close()
    assert rows(second, "select 1") == [(1,)]
    second.close()
    assert not server_lives(used)


async def test_asynchronous_clients_of_a_path_share_connections(used: Path) -> None:
    first, second = await pgchroma.connect_async(used), await pgchroma.connect_async(used)
    assert _connections(first) is _connections(second)
    await first.create_collection("papers", embedding_function=None)
    await first.close()
    await first.close()
    with pytest.raises(pgchroma.errors.InvalidArgumentError, match="closed"):
        await first.count_collections()
    assert await second.count_collections() == 1
    with pytest.raises(ValueError, match="different settings: pgchroma_pool_size"):
        await pgchroma.connect_async(used, settings=pgchroma.Settings(pgchroma_pool_size=3))
    await second.close()
    assert not server_lives(used)


async def test_an_asynchronous_client_that_is_dropped_releases_its_server(used: Path) -> None:
    client = await pgchroma.connect_async(used)
    assert await client.count_collections() == 0
    del client
    gc.collect()
    assert await asyncio.to_thread(eventually, lambda: not server_lives(used))


def test_event_loops_do_not_share_connections(used: Path) -> None:
    async def use(kept: list[object]) -> None:
        async with await pgchroma.connect_async(used) as client:
            assert await client.count_collections() == 0
            kept.append(_connections(client))

    kept: list[object] = []
    with EmbeddedPostgres.open(used):
        asyncio.run(use(kept))
        asyncio.run(use(kept))
    assert kept[0] is not kept[1]


def _connections(client: pgchroma.AsyncClientAPI) -> object:
    backend: Any = client._backend
    return backend._shared.backend


def test_threads_open_and_close_a_path_at_once(used: Path) -> None:
    failures: list[BaseException] = []

    def use() -> None:
        try:
            for _ in range(4):
                with EmbeddedPostgres.open(used) as postgres:
                    assert rows(postgres, "select 1") == [(1,)]
        except BaseException as failure:
            failures.append(failure)

    threads = [threading.Thread(target=use) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert not server_lives(used)


def test_a_process_which_ends_without_closing_closes(
    used: Path, program: Callable[..., Program]
) -> None:
    other = program(_OPEN_AND_WAIT, used)
    other.finish()
    assert not server_lives(used)


def test_a_killed_process_leaves_a_server_which_the_next_joins_and_stops(
    used: Path, program: Callable[..., Program]
) -> None:
    code = """
    postgres = EmbeddedPostgres.open(sys.argv[1])
    sql(postgres, "create table t as select 42 as answer")
    say("written")
    sys.stdin.readline()
    """
    other = program(code, used)
    assert other.heard() == "written"
    other.kill()
    assert server_lives(used)
    pid = postmaster(used)
    with EmbeddedPostgres.open(used) as postgres:
        assert postmaster(used) == pid
        assert rows(postgres, "select * from t") == [(42,)]
    assert not server_lives(used)


def test_a_killed_server_is_started_again_with_its_data(used: Path) -> None:
    first = EmbeddedPostgres.open(used)
    rows(first, "create table t as select generate_series(1, 1000) as n")
    os.kill(postmaster(used), signal.SIGKILL)
    with EmbeddedPostgres.open(used) as postgres:
        assert rows(postgres, "select sum(n) from t") == [(500500,)]
        # The client that was open before the crash finds the server at its old address.
        assert rows(first, "select count(*) from t") == [(1000,)]
    first.close()
    assert not server_lives(used)


def test_a_server_killed_while_a_query_runs_is_started_again(
    used: Path, program: Callable[..., Program]
) -> None:
    code = """
    postgres = EmbeddedPostgres.open(sys.argv[1])
    connection = psycopg.connect(postgres.conninfo)
    say("busy")
    try:
        # A loop without waiting does not see that the postmaster is gone.
        connection.execute("select count(*) from generate_series(1, 10000000)")
    except psycopg.OperationalError:
        pass
    os._exit(0)
    """
    other = program(code, used)
    assert other.heard() == "busy"
    time.sleep(0.3)
    os.kill(postmaster(used), signal.SIGKILL)
    with EmbeddedPostgres.open(used) as postgres:
        assert rows(postgres, "select 1") == [(1,)]
    other.finish()
    assert not server_lives(used)


def test_a_forked_child_does_not_stop_its_parents_server(
    used: Path, program: Callable[..., Program]
) -> None:
    code = """
    postgres = EmbeddedPostgres.open(sys.argv[1])
    throwaway = EmbeddedPostgres.open_ephemeral()
    if (child := os.fork()) == 0:
        postgres.close()
        throwaway.close()
        # The child may open the path itself, and its atexit functions run.
        EmbeddedPostgres.open(sys.argv[1])
        sys.exit()
    assert os.waitpid(child, 0)[1] == 0
    assert sql(postgres, "select 1") == [(1,)]
    assert sql(throwaway, "select 1") == [(1,)]
    say("fine")
    """
    assert program(code, used).finish() == "fine"
    assert not server_lives(used)


def test_a_parent_stops_its_servers_though_a_forked_child_lives_on(
    used: Path, program: Callable[..., Program]
) -> None:
    code = """
    postgres = EmbeddedPostgres.open(sys.argv[1])
    throwaway = EmbeddedPostgres.open_ephemeral()
    if (child := os.fork()) == 0:
        time.sleep(60)
        os._exit(0)
    postgres.close()
    throwaway.close()
    os.kill(child, signal.SIGKILL)
    """
    program(code, used).finish()
    assert not server_lives(used)


def test_ctrl_c_in_the_terminal_does_not_reach_the_server(
    used: Path, program: Callable[..., Program]
) -> None:
    code = """
    os.setpgid(0, 0)
    postgres = EmbeddedPostgres.open(sys.argv[1])
    signal.signal(signal.SIGINT, lambda *_: None)
    os.killpg(0, signal.SIGINT)
    time.sleep(0.2)
    say(sql(postgres, "select 1"))
    """
    assert program(code, used).finish() == "[(1,)]"


@pytest.mark.slow
def test_a_starter_killed_on_the_way_does_not_block_the_next(
    home: Path, program: Callable[..., Program]
) -> None:
    for delay in (0.1, 0.2, 0.3, 0.4):
        other = program("say('go')\nEmbeddedPostgres.open(sys.argv[1])\ntime.sleep(60)", home)
        assert other.heard() == "go"
        time.sleep(delay)
        other.kill()
    with EmbeddedPostgres.open(home) as postgres:
        assert rows(postgres, "select 1") == [(1,)]
    assert not server_lives(home)
    assert not (home / "postgres.part").exists()


def test_a_path_removed_while_open_can_be_opened_again(home: Path) -> None:
    path = home / "data"
    first = EmbeddedPostgres.open(path, durable=False)
    rows(first, "create table t ()")
    pid = postmaster(path)
    shutil.rmtree(path)
    with EmbeddedPostgres.open(path, durable=False) as postgres:
        assert rows(postgres, "select to_regclass('t')") == [(None,)]
        assert postmaster(path) != pid
        first.close()
        assert rows(postgres, "select 1") == [(1,)]
    assert not server_lives(path)


def test_a_renamed_path_keeps_its_data_and_its_server_for_others(home: Path) -> None:
    first = EmbeddedPostgres.open(home / "old")
    rows(first, "create table t as select 1 as n")
    (home / "old").rename(home / "new")
    second = EmbeddedPostgres.open(home / "new")
    first.close()
    assert rows(second, "select n from t") == [(1,)]
    second.close()
    assert not server_lives(home / "new")


@pytest.mark.slow
def test_recovery_is_waited_for_and_announced(used: Path) -> None:
    said: list[str] = []
    first = EmbeddedPostgres.open(used)
    rows(first, "create table t (n int, filler text)")
    rows(first, "insert into t select n, repeat('x', 200) from generate_series(1, 400000) n")
    os.kill(postmaster(used), signal.SIGKILL)
    opened: list[EmbeddedPostgres] = []
    thread = threading.Thread(
        target=lambda: opened.append(EmbeddedPostgres.open(used, announce=said.append))
    )
    assert eventually(lambda: not server_lives(used))
    thread.start()
    paused = _pause_as_soon_as_started(used)
    time.sleep(6.5)
    os.kill(paused, signal.SIGCONT)
    thread.join()
    assert rows(opened[0], "select count(*) from t") == [(400000,)]
    assert any("recovering from a crash" in line for line in said)
    opened[0].close()
    first.close()


def test_a_slow_first_start_is_not_called_a_recovery(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr("pgchroma.embedded.locks._ANNOUNCE_AFTER_SECONDS", 0.0)
    EmbeddedPostgres.open(home, announce=said.append).close()
    starting = [line for line in said if "waiting for PostgreSQL" in line]
    assert any("starting for the first time" in line for line in starting)
    assert not any("recovering" in line for line in said)
    said.clear()
    EmbeddedPostgres.open(home, announce=said.append).close()
    assert not any("recovering" in line or "first time" in line for line in said)


@pytest.mark.parametrize("delay", [0.1, 0.3, 0.6])
def test_ctrl_c_while_opening_leaves_nothing_running(
    home: Path, program: Callable[..., Program], delay: float
) -> None:
    code = """
    # A shell without job control starts background jobs deaf to this signal, and tests with them.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    say("go")
    try:
        EmbeddedPostgres.open(sys.argv[1])
        time.sleep(60)
    except KeyboardInterrupt:
        pass
    """
    other = program(code, home)
    assert other.heard() == "go"
    time.sleep(delay)
    other.process.send_signal(signal.SIGINT)
    other.finish()
    assert not (home / "postgres.part").exists()
    assert not (home / "postgres" / "postmaster.pid").exists()


def _pause_as_soon_as_started(home: Path) -> int:
    """Suspend a server that is about to recover, so that the recovery takes longer."""
    dead = postmaster(home)
    while True:
        try:
            pid = postmaster(home)
        except (FileNotFoundError, IndexError):
            continue
        if pid != dead:
            os.kill(pid, signal.SIGSTOP)
            return pid
