"""A server that dies while it is used is started again by the next call."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import shutil
import signal
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

import pgchroma
from pgchroma.cli import main
from pgchroma.compactor import once
from pgchroma.embedded import EmbeddedPostgres
from pgchroma.errors import UnavailableError
from pgchroma.records import Record, Vector
from tests.commands import runner
from tests.server_process import eventually as soon
from tests.server_process import running

from .conftest import postmaster, rows, server_lives

pytestmark = pytest.mark.heavy

# The package has the command under the module's name.

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from .conftest import Program

DEATHS = [signal.SIGKILL, signal.SIGQUIT, signal.SIGABRT]


def _kill(path: Path, how: signal.Signals = signal.SIGKILL) -> None:
    """Kill the server, and wait until all of its processes have ended."""
    os.kill(postmaster(path), how)
    soon(lambda: not server_lives(path))


def _collection(client: Any) -> Any:
    collection = client.get_or_create_collection("kept", embedding_function=None)
    collection.upsert(ids="1", embeddings=[1.0])
    return collection


@pytest.mark.parametrize("how", DEATHS)
def test_a_client_goes_on_after_its_server_died(used: Path, how: signal.Signals) -> None:
    with pgchroma.PersistentClient(used) as client:
        collection = _collection(client)
        _kill(used, how)
        assert collection.count() == 1
        _kill(used, how)
        collection.add(ids="2", embeddings=[2.0])
        assert collection.get()["ids"] == ["1", "2"]
    assert not server_lives(used)


def test_clients_of_one_path_heal_together(used: Path) -> None:
    with pgchroma.PersistentClient(used) as one, pgchroma.PersistentClient(used) as other:
        collection = _collection(one)
        _kill(used)
        assert other.get_collection("kept").count() == 1
        pid = postmaster(used)
        assert collection.count() == 1
        assert postmaster(used) == pid


async def test_an_asynchronous_client_goes_on_after_its_server_died(used: Path) -> None:
    async with await pgchroma.connect_async(used) as client:
        collection = await client.create_collection("kept", embedding_function=None)
        await collection.add(ids="1", embeddings=[1.0])
        _kill(used)
        assert await asyncio.gather(*(collection.count() for _ in range(5))) == [1] * 5
        _kill(used, signal.SIGQUIT)
        await collection.add(ids="2", embeddings=[2.0])
        assert await collection.count() == 2


def test_an_ephemeral_client_goes_on_after_its_server_died() -> None:
    with pgchroma.EphemeralClient() as client:
        collection = _collection(client)
        with EmbeddedPostgres.open_ephemeral() as postgres:
            path = postgres.directory
        _kill(path)
        assert collection.count() == 1
        collection.add(ids="2", embeddings=[2.0])
        assert collection.count() == 2
    assert not path.exists()


def test_a_typed_table_goes_on_after_its_server_died(used: Path) -> None:
    class Letter(Record):
        id: str
        vector: Vector(2)  # type: ignore[valid-type]

    with pgchroma.connect(used) as client:
        table = client.create_table("letters", Letter)
        table.add([Letter(id="a", vector=[1.0, 2.0])])
        _kill(used)
        assert table.count_rows() == 1
        _kill(used)
        table.add([Letter(id="b", vector=[2.0, 1.0])])
        assert table.count_rows() == 2


def test_reads_that_meet_the_servers_death_are_answered_and_writes_are_not_done_twice(
    used: Path,
) -> None:
    with pgchroma.PersistentClient(used) as client:
        load = _Load(_collection(client))
        load.start()
        for how in (signal.SIGKILL, signal.SIGQUIT):
            load.wait_for(20)
            os.kill(postmaster(used), how)
        load.wait_for(20)
        load.stop()
        assert load.problems == []
        assert set(load.done) <= set(load.collection.get(include=[])["ids"])


class _Load:
    """Threads that read and write.

    Attributes:
        done: The ids whose writes were acknowledged.
        faults: The exceptions raised, except those of writes whose outcome is unknown.
    """

    def __init__(self, collection: Any) -> None:
        self.collection = collection
        self.done: list[str] = []
        self.problems: list[BaseException] = []
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._read) for _ in range(3)]
        self._threads += [threading.Thread(target=self._write, args=(n,)) for n in range(2)]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def wait_for(self, writes: int) -> None:
        enough = len(self.done) + writes
        soon(lambda: len(self.done) >= enough or self.problems)

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _read(self) -> None:
        try:
            while not self._stop.is_set():
                assert self.collection.get(ids=["1"])["ids"] == ["1"]
        except BaseException as error:
            self.problems.append(error)

    def _write(self, writer: int) -> None:
        numbers = itertools.count()
        try:
            while not self._stop.is_set():
                id = f"{writer}-{next(numbers)}"
                with contextlib.suppress(UnavailableError):
                    self.collection.add(ids=id, embeddings=[1.0])
                    self.done.append(id)
        except BaseException as error:
            self.problems.append(error)


def test_a_backend_that_crashes_takes_nothing_along(used: Path) -> None:
    with pgchroma.PersistentClient(used) as client:
        collection = _collection(client)
        with EmbeddedPostgres.open(used) as postgres:
            pids = rows(
                postgres,
                "select pid from pg_stat_activity where backend_type = 'client backend'"
                " and pid <> pg_backend_pid()",
            )
        os.kill(int(str(pids[0][0])), signal.SIGKILL)
        assert [collection.count() for _ in range(5)] == [1] * 5


def test_of_two_processes_one_starts_the_server_again(
    used: Path, program: Callable[..., Program]
) -> None:
    code = """
    import pgchroma
    client = pgchroma.PersistentClient(sys.argv[1])
    collection = client.get_or_create_collection("kept", embedding_function=None)
    say("open")
    sys.stdin.readline()
    say(collection.count())
    client.close()
    """
    with pgchroma.PersistentClient(used) as client:
        collection = _collection(client)
        others = [program(code, used) for _ in range(2)]
        assert [other.heard() for other in others] == ["open"] * 2
        _kill(used)
        assert [other.finish() for other in others] == ["1"] * 2
        assert collection.count() == 1
    assert not server_lives(used)


def test_a_server_that_cannot_be_started_is_explained_and_heals_later(used: Path) -> None:
    control = used / "postgres" / "global" / "pg_control"
    with pgchroma.PersistentClient(used) as client:
        collection = _collection(client)
        _kill(used)
        control.rename(control.with_suffix(".away"))
        begun = time.monotonic()
        for _ in range(20):
            with pytest.raises(UnavailableError, match="could not find the database system"):
                collection.count()
        # The pool alone would have each of them wait for 30 seconds.
        assert time.monotonic() - begun < 100
        control.with_suffix(".away").rename(control)
        soon(lambda: _answers(collection))
        assert collection.count() == 1


def test_the_log_says_once_that_the_server_died(
    used: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with pgchroma.PersistentClient(used) as client:
        collection = _collection(client)
        _kill(used)
        assert collection.count() == 1
    lines = [r.getMessage() for r in caplog.records if r.name == "pgchroma.embedded"]
    assert len(lines) == 1
    assert str(used) in lines[0]
    assert "probably killed" in lines[0]


def test_a_forks_child_does_not_heal_its_parents_server(
    used: Path, program: Callable[..., Program]
) -> None:
    code = """
    import pgchroma
    client = pgchroma.PersistentClient(sys.argv[1])
    pid = int(Path(sys.argv[1], "postgres", "postmaster.pid").read_text().split()[0])
    if (child := os.fork()) == 0:
        os.kill(pid, signal.SIGKILL)
        time.sleep(0.5)
        try:
            client.heartbeat()
        except pgchroma.errors.InvalidArgumentError as error:
            os._exit(0 if "forked" in str(error) else 1)
        os._exit(2)
    assert os.waitpid(child, 0)[1] == 0
    assert client.heartbeat() > 0
    """
    program(code, used).finish()
    assert not server_lives(used)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGQUIT])
def test_the_server_of_the_http_api_starts_its_postgresql_again(
    used: Path, tmp_path: Path, how: signal.Signals
) -> None:
    log = tmp_path / "log"
    with running(log, "--path", str(used), "--no-auth") as served:
        with pgchroma.HttpClient(served.url) as client:
            collection = _collection(client)
            dead = postmaster(used)
            os.kill(dead, how)
            soon(lambda: log.read_text().count("running again"))
            soon(lambda: _answers(collection))
            assert postmaster(used) != dead
            collection.add(ids="2", embeddings=[2.0])
        assert served.stop() == 0
    assert log.read_text().count("stopped:") == 1
    assert not server_lives(used)


def test_the_server_of_the_http_api_ends_when_postgresql_cannot_be_started(
    used: Path, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    away = used.with_name("away")
    with running(log, "--path", str(used), "--no-auth") as served:
        used.rename(away)
        assert served.process.wait(60) == 1
    assert "removed, renamed or replaced" in log.read_text()
    shutil.rmtree(away)


def test_compacting_goes_on_after_the_server_died(
    used: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pgchroma.PersistentClient(used) as client:
        _collection(client)
    deaths: list[int] = []
    compact_one = once._compact

    def die_first(*args: Any, **options: Any) -> Any:
        if not deaths:
            deaths.append(postmaster(used))
            _kill(used)
        return compact_one(*args, **options)

    monkeypatch.setattr(once, "_compact", die_first)
    done = runner().invoke(main, ["compact", "--path", str(used)])
    assert done.exit_code == 0, done.output
    assert "1 of 1 collections are at rest" in done.output
    assert deaths
    assert not server_lives(used)


def _answers(collection: Any) -> bool:
    try:
        return bool(collection.count())
    except Exception:
        return False
