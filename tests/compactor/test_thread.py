"""The compactor's thread: it starts, catches up with writes, ends, and blocks no other session."""

from __future__ import annotations

import logging
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

import pgchroma
from pgchroma.compactor import planner
from pgchroma.compactor import thread as compactor_thread
from pgchroma.compactor.runner import Compaction
from pgchroma.compactor.session import BuildInterruptedError
from pgchroma.compactor.thread import Compactor
from pgchroma.errors import UnavailableError
from pgchroma.store.layout.secondary import DEMAND_THRESHOLD
from tests.compactor.conftest import (
    EAGER,
    SMALL,
    as_numbered,
    assert_at_rest,
    assert_right,
    compact,
    filled,
    indexes,
    lasting_builds,
    more,
    searching,
    segments,
    vectors,
)
from tests.server_process import eventually, running

EAGERLY = pgchroma.Settings(pgchroma_segment_bytes=0)


@pytest.fixture(autouse=True)
def _hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("POLL_SECONDS", "IDLE_SECONDS"):
        monkeypatch.setattr(compactor_thread, name, 0.1)


def _threads() -> list[threading.Thread]:
    return [each for each in threading.enumerate() if each.name == "pgchroma-compactor"]


def _is_indexed(url: str, collection: pgchroma.Collection) -> bool:
    return bool(indexes(url, collection)) and all(indexes(url, collection).values())


def test_a_clients_writes_are_indexed_behind_it(url: str) -> None:
    with pgchroma.PostgresClient(searching(url), EAGERLY) as client:
        assert _threads() == [], "a client that only reads needs no thread"
        collection = filled(client)
        assert len(_threads()) == 1
        eventually(lambda: _is_indexed(url, collection))
        eventually(lambda: collection.get_indexing_status().op_indexing_progress == 1.0)
        eventually(lambda: collection.explain(query_embeddings=vectors(1)).segments)
        assert_right(collection, as_numbered((0, 300)))
        more(collection, 200, start=300)
        eventually(lambda: collection.explain(query_embeddings=vectors(1)).tail_rows == 0)
        assert_right(collection, as_numbered((0, 300), (300, 200)))
    assert _threads() == []


async def test_an_asynchronous_clients_writes_are_indexed_behind_it(url: str) -> None:
    async with pgchroma.AsyncPostgresClient(searching(url), EAGERLY) as client:
        collection = await client.create_collection(
            "papers", configuration=EAGER, embedding_function=None
        )
        await collection.add(ids=[str(n) for n in range(300)], embeddings=vectors(300))
        deadline = time.monotonic() + 30
        while not (await collection.explain(query_embeddings=vectors(1))).segments:
            assert time.monotonic() < deadline
        assert (await collection.get_indexing_status()).op_indexing_progress == 1.0
    assert _threads() == []


def test_what_a_killed_client_left_behind_is_caught_up_with(
    url: str, client: pgchroma.ClientAPI
) -> None:
    left = filled(client, "left")
    with pgchroma.PostgresClient(url, EAGERLY) as other:
        _works_elsewhere(other)
        eventually(lambda: _is_indexed(url, left))


def _dies(url: str, step: str, when: str) -> None:
    command = [sys.executable, "-m", "tests.compactor.kill_worker", url, step, when, "0"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == -signal.SIGKILL, done.stderr


def _works_elsewhere(client: pgchroma.ClientAPI) -> None:
    """Make the client's compactor scan all collections."""
    client.create_collection("another", embedding_function=None).add(ids="1", embeddings=[1.0])


def test_an_index_that_lost_its_row_to_a_killed_client_is_dropped(
    url: str, client: pgchroma.ClientAPI
) -> None:
    left = filled(client, count=900)
    compact(url)
    more(left, 100, start=900)
    compact(url, merges_all=False)
    unused, used = (name for name, *_ in segments(url, left))
    left.delete(where={"number": {"$lt": 900}})
    _dies(url, "delete_segments", "after")
    assert [name for name, *_ in segments(url, left)] == [used]
    assert indexes(url, left) == {unused: True, used: True}
    with pgchroma.PostgresClient(url, EAGERLY) as other:
        _works_elsewhere(other)
        eventually(lambda: indexes(url, left) == {used: True})


def test_a_secondary_index_that_a_killed_client_did_not_announce_is_adopted(
    url: str, client: pgchroma.ClientAPI, superuser: psycopg.Connection[Any]
) -> None:
    left = filled(client)
    superuser.execute(
        "insert into pgchroma.secondary_indexes (collection_id, kind, key, asked) "
        "values (%s, 'number', 'number', 10)",
        [left.id],
    )
    _dies(url, "set_secondary", "before")
    ready = "select is_ready from pgchroma.secondary_indexes"
    assert superuser.execute(ready).fetchall() == [(False,)]
    assert list(indexes(url, left).values()) == [True] * 2
    with pgchroma.PostgresClient(url, EAGERLY) as other:
        _works_elsewhere(other)
        eventually(lambda: superuser.execute(ready).fetchall() == [(True,)])


def test_switched_off_it_builds_nothing(url: str) -> None:
    settings = EAGERLY.model_copy(update={"pgchroma_compaction": False})
    with pgchroma.PostgresClient(url, settings) as client:
        collection = filled(client)
        assert _threads() == []
        assert collection.get_indexing_status().num_unindexed_ops == 300
        assert collection.get_indexing_status().op_indexing_progress == 0.0
    assert indexes(url, collection) == {}


def test_closing_gives_a_build_up(url: str) -> None:
    with lasting_builds(url) as is_building:
        client = pgchroma.PostgresClient(url, EAGERLY)
        collection = filled(client)
        eventually(is_building)
        client.close()
        assert _threads() == [], "while the build could not end"
        assert not is_building()
    assert list(indexes(url, collection).values()) == [False]
    compact(url)
    assert_at_rest(url, collection)


@pytest.mark.heavy
def test_while_one_closes_another_opens_the_same_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    close, is_closing, may_close = Compactor.close, threading.Event(), threading.Event()

    def closing(self: Compactor) -> None:
        is_closing.set()
        assert may_close.wait(30)
        close(self)

    old = pgchroma.PersistentClient(tmp_path / "data", EAGERLY)
    filled(old)
    with monkeypatch.context() as slow, ThreadPoolExecutor(2) as pool:
        slow.setattr(Compactor, "close", closing)
        closed = pool.submit(old.close)
        assert is_closing.wait(30)
        opened = pool.submit(pgchroma.PersistentClient, tmp_path / "data", EAGERLY)
        try:
            new = opened.result(30)
            assert not closed.done()
        finally:
            may_close.set()
        closed.result(30)
    with new:
        collection = new.get_collection("papers", embedding_function=None)
        more(collection, 10, start=300)
        assert collection.count() == 310
        assert len(_threads()) == 1
    assert not (tmp_path / "data" / "postgres" / "postmaster.pid").exists()


@pytest.mark.heavy
def test_a_process_that_ends_without_closing_does_not_wait_for_a_build(
    url: str, client: pgchroma.ClientAPI
) -> None:
    script = f"""
        import pgchroma, psycopg, time
        from pgchroma.compactor import thread as compactor
        from tests.compactor.conftest import filled

        compactor.POLL_SECONDS = compactor.IDLE_SECONDS = 0.1
        client = pgchroma.PostgresClient({url!r}, pgchroma.Settings(pgchroma_segment_bytes=0))
        filled(client)
        print("written", flush=True)
        input()
    """
    with lasting_builds(url) as is_building:
        command = [sys.executable, "-c", textwrap.dedent(script)]
        pipes: dict[str, Any] = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
        with subprocess.Popen(command, **pipes, text=True) as process:
            eventually(is_building)
            output, errors = process.communicate("\n", timeout=30)
            # Older versions of pgvector have a warning of their own.
            others = [line for line in errors.splitlines() if "has bugs that newer" not in line]
            assert (process.returncode, output, others) == (0, "written\n", [])
    # PostgreSQL completes the build on its own, and the next compactor finds the index.
    collection = client.get_collection("papers")
    compact(url)
    assert_at_rest(url, collection)


@pytest.mark.heavy
def test_a_fork_during_a_build_harms_neither_side(url: str) -> None:
    script = f"""
        import os, sys
        import pgchroma
        from pgchroma.compactor import thread as compactor
        from tests.compactor.conftest import filled, indexes
        from tests.server_process import eventually

        compactor.POLL_SECONDS = compactor.IDLE_SECONDS = 0.1
        settings = pgchroma.Settings(pgchroma_segment_bytes=0)
        client = pgchroma.PostgresClient({url!r}, settings)
        collection = filled(client)
        eventually(lambda: indexes({url!r}, collection))
        child = os.fork()
        if child == 0:
            client.close()
            with pgchroma.PostgresClient({url!r}, settings) as own:
                other = filled(own, "other")
                eventually(lambda: all(indexes({url!r}, other).values() or [False]))
            sys.exit(0)
        _, status = os.waitpid(child, 0)
        eventually(lambda: all(indexes({url!r}, collection).values() or [False]))
        client.close()
        print(status)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.stdout == "0\n", done.stderr


@pytest.mark.heavy
def test_the_server_indexes_what_it_is_sent_and_what_it_finds(
    url: str, client: pgchroma.ClientAPI, tmp_path: Path
) -> None:
    found = filled(client, "found")
    environment = {"PGCHROMA_SEGMENT_BYTES": "0"}
    with running(tmp_path / "log", "--url", url, "--no-auth", environment=environment) as server:
        eventually(lambda: _is_indexed(url, found))
        with pgchroma.HttpClient(server.url) as through:
            sent = filled(through, "sent")
            eventually(lambda: _is_indexed(url, sent))
            eventually(lambda: sent.get_indexing_status().op_indexing_progress == 1.0)
            assert_right(sent, as_numbered((0, 300)))
            with lasting_builds(url) as is_building:
                more(sent, 200, start=300)
                eventually(is_building)
                assert server.stop() == 0, "while the build could not end"
    compact(url)
    assert_at_rest(url, sent)


@pytest.fixture
def bounced(bouncer: str, url: str) -> str:
    """The database through PgBouncer."""
    return make_conninfo(bouncer, dbname=conninfo_to_dict(url)["dbname"])


def test_behind_a_pooler_it_says_what_it_needs_and_changes_no_setting(
    url: str, bounced: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "pgchroma.compaction")
    settings = EAGERLY.model_copy(update={"pgchroma_prepared_statements": False})
    with psycopg.connect(url, autocommit=True) as plain:
        plain.execute(f"alter database {plain.info.dbname} set statement_timeout = '77s'")
    with pytest.raises(UnavailableError, match="pooler"):
        Compaction(bounced, SMALL, threading.Event())
    with pgchroma.PostgresClient(bounced, settings) as client:
        collection = filled(client)
        eventually(lambda: "pgchroma_compaction_url" in caplog.text)
        assert collection.count() == 300
    seen = set()
    for _ in range(3):
        with psycopg.connect(bounced, autocommit=True, prepare_threshold=None) as pooled:
            seen.add((pooled.execute("show statement_timeout").fetchone() or ("",))[0])
    assert seen == {"77s"}
    assert indexes(url, collection) == {}
    settings = settings.model_copy(update={"pgchroma_compaction_url": url})
    with pgchroma.PostgresClient(bounced, settings) as client:
        client.get_collection("papers").upsert(ids="0", embeddings=vectors(1))
        eventually(lambda: _is_indexed(url, collection))


@pytest.mark.parametrize("is_number", [True, False])
def test_filters_that_keep_asking_get_an_index(
    url: str, monkeypatch: pytest.MonkeyPatch, is_number: bool
) -> None:
    monkeypatch.setattr(planner, "MIN_INDEXED", 100)
    wanted: dict[str, Any] = {"number": {"$lt": 3}} if is_number else {"kind": "x"}
    with pgchroma.PostgresClient(url, EAGERLY) as client:
        collection = filled(client, count=150)
        expected = [str(n) for n in range(3)] if is_number else []
        for _ in range(DEMAND_THRESHOLD):
            assert collection.get(where=wanted)["ids"] == expected
        eventually(lambda: any("_by_" in name for name in indexes(url, collection)))
        eventually(lambda: _is_indexed(url, collection))
        assert collection.get(where=wanted)["ids"] == expected


def test_filters_by_keys_of_any_length_do_not_stop_it(
    url: str, caplog: pytest.LogCaptureFixture
) -> None:
    chance = iter(range(10**9))
    key = "".join(chr(0x4E00 + hash((next(chance), "k")) % 20_000) for _ in range(5_000))
    with pgchroma.PostgresClient(url, EAGERLY) as client:
        collection = client.create_collection(
            "papers", configuration=EAGER, embedding_function=None
        )
        for _ in range(2 * DEMAND_THRESHOLD):
            assert collection.get(where={key: 1})["ids"] == []
        more(collection, 150)
        eventually(lambda: _is_indexed(url, collection))
    assert "builds are failing" not in caplog.text


def test_it_survives_a_restart_of_the_database_and_internal_errors(
    url: str,
    superuser: psycopg.Connection[Any],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(compactor_thread, "RETRY_SECONDS", 0.1)
    with pgchroma.PostgresClient(url, EAGERLY) as client:
        with lasting_builds(url) as is_building:
            collection = filled(client)
            eventually(is_building)
            superuser.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity "
                "where application_name = 'pgchroma compactor' and datname = current_database()"
            )
            eventually(lambda: "builds are failing" in caplog.text)
        eventually(lambda: _is_indexed(url, collection))
        with monkeypatch.context() as broken:
            broken.setattr(Compaction, "peek", _fails)
            more(collection, 150, start=300)
            eventually(lambda: "an internal error" in caplog.text)
        eventually(lambda: len(indexes(url, collection)) == 1 and _is_indexed(url, collection))
        compact(url)
        assert_at_rest(url, collection)


def test_who_waits_for_a_table_while_it_looks_does_not_end_it(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    peek, stopped = Compaction.peek, threading.Event()

    def stops_once(self: Compaction, collection: Any) -> int:
        if not stopped.is_set():
            stopped.set()
            raise BuildInterruptedError
        return peek(self, collection)

    monkeypatch.setattr(Compaction, "peek", stops_once)
    with pgchroma.PostgresClient(url, EAGERLY) as client:
        collection = filled(client)
        eventually(lambda: _is_indexed(url, collection))


def _fails(*_: Any) -> None:
    raise ValueError("an internal error")


@pytest.fixture(autouse=True)
def _no_thread_left() -> Iterator[None]:
    yield
    assert _threads() == []


def test_a_locked_table_of_sparse_vectors_does_not_end_the_thread() -> None:
    class Locked:
        is_broken = False

        def count_sparse_changes(self, _: object) -> int:
            raise BuildInterruptedError

    compactor, locked, collection = Compactor("", SMALL), Locked(), object()
    # It is looked at again when it is due, where a lock only delays it.
    assert compactor._has_sparse_changes(locked, collection)  # type: ignore[arg-type]
    compactor.stop()
    with pytest.raises(BuildInterruptedError):
        compactor._has_sparse_changes(locked, collection)  # type: ignore[arg-type]
