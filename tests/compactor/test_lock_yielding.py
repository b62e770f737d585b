"""Builds that take long, are cancelled or fail: waiting sessions go first, other work continues."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import tempfile
import threading
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event
from types import ModuleType
from typing import Any

import psycopg
import pytest
from psycopg import errors as pg
from psycopg.conninfo import conninfo_to_dict

import pgchroma
from pgchroma.client._sync.client import AdminClient
from pgchroma.compactor import bookkeeping, inspection, maintenance
from pgchroma.compactor import thread as compactor_thread
from pgchroma.compactor.runner import Compaction
from pgchroma.compactor.session import BuildInterruptedError
from pgchroma.compactor.steps import IndexDDL
from pgchroma.compactor.thread import Compactor
from pgchroma.embedded import EmbeddedPostgres
from tests.compactor.conftest import (
    SMALL,
    as_numbered,
    assert_at_rest,
    assert_right,
    compact,
    filled,
    indexes,
    lasting_builds,
    more,
    tables,
    vectors,
)
from tests.server_process import eventually


@dataclass
class Working:
    """A compactor that works in a thread."""

    url: str
    stop: Event = field(default_factory=Event)
    error: BaseException | None = None

    def __post_init__(self) -> None:
        self.thread = threading.Thread(target=self._work)
        self.thread.start()

    def _work(self) -> None:
        try:
            with Compaction(self.url, SMALL, self.stop) as working:
                for each in working.collections():
                    working.compact(each, merges_all=True)
        except (BuildInterruptedError, psycopg.Error) as error:
            self.error = error

    def ended(self) -> BaseException | None:
        """Wait for its end, and return the error that stopped it."""
        self.thread.join(30)
        assert not self.thread.is_alive()
        return self.error


@contextmanager
def building(url: str) -> Iterator[Working]:
    """A build that does not end by itself inside the context."""
    with lasting_builds(url) as is_building:
        working = Working(url)
        eventually(is_building)
        yield working
        working.stop.set()
    working.ended()


@pytest.mark.parametrize("way", ["collection", "database", "reset"])
def test_a_deletion_does_not_wait_for_a_build(
    url: str, client: pgchroma.ClientAPI, way: str
) -> None:
    collection = filled(client)
    with building(url) as working:
        if way == "collection":
            client.delete_collection("papers")
        elif way == "database":
            AdminClient(client._backend).delete_database("default_database")
        else:
            client.reset()
        assert isinstance(working.ended(), BuildInterruptedError), "while the build could not end"
    assert indexes(url, collection) == {}


def test_a_build_goes_on_while_others_read_write_and_rename(
    url: str, client: pgchroma.ClientAPI
) -> None:
    collection = filled(client)
    with building(url) as working:
        more(collection, 10, start=300)
        collection.update(ids="0", embeddings=vectors(1, seed=9))
        collection.delete(ids="1")
        collection.modify(name="articles", configuration={"hnsw": {"ef_search": 50}})
        records = as_numbered((0, 300), (300, 10)) | {"0": vectors(1, seed=9)[0]}
        del records["1"]
        assert_right(collection, records)
        status = collection.get_indexing_status()
        assert status.num_unindexed_ops > 0
        assert status.op_indexing_progress <= 1.0
        assert working.thread.is_alive()
    compact(url)
    assert_at_rest(url, client.get_collection("articles"))
    assert_right(collection, records)


def test_a_build_yields_to_who_alters_the_table(url: str, client: pgchroma.ClientAPI) -> None:
    collection = filled(client)
    records, name = tables(collection)
    with building(url) as working, psycopg.connect(url) as other:
        other.execute(f"lock table {name} in share row exclusive mode")
        other.execute(f"alter table {records} add column note text")
        other.commit()
        assert isinstance(working.ended(), BuildInterruptedError)
    assert list(indexes(url, collection).values()) == [False]
    compact(url)
    assert_at_rest(url, collection)


def test_a_drop_that_waits_for_a_reader_yields_too(url: str, client: pgchroma.ClientAPI) -> None:
    collection = filled(client)
    compact(url)
    more(collection, 100, start=300)
    stop = Event()
    _, name = tables(collection)
    with (
        psycopg.connect(url) as reader,
        ThreadPoolExecutor(1) as pool,
        Compaction(url, SMALL, stop) as working,
    ):
        (each,) = working.collections()
        run_step, begun = working._session._run_step, Event()

        def dropping(collection: Any, step: Any) -> Any:
            if isinstance(step, IndexDDL) and step.statement.text.startswith(b"drop index"):
                reader.execute(f"select from {name} limit 1")
                begun.set()
            return run_step(collection, step)

        working._session._run_step = dropping  # type: ignore[method-assign]
        done = pool.submit(working.compact, each, merges_all=True)
        assert begun.wait(30)
        stop.set()
        with pytest.raises(BuildInterruptedError):
            done.result(30)
    assert_right(collection, as_numbered((0, 300), (300, 100)))
    compact(url)
    assert_at_rest(url, collection)


@contextmanager
def _followed(url: str) -> Iterator[Compactor]:
    compactor = Compactor(url, SMALL)
    compactor.start()
    try:
        yield compactor
    finally:
        compactor.close()
    assert compactor._thread is not None
    assert not compactor._thread.is_alive()


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """A compactor with short pauses."""
    for name in ("POLL_SECONDS", "IDLE_SECONDS", "RETRY_SECONDS"):
        monkeypatch.setattr(compactor_thread, name, 0.1)


Failing = Callable[[psycopg.Connection[Any]], None]


def _cancel(superuser: psycopg.Connection[Any]) -> None:
    superuser.execute("select pg_cancel_backend(pid) from pg_stat_progress_create_index")


@pytest.mark.usefixtures("hasty")
def test_a_cancelled_build_is_told_in_status_and_log_and_tried_again(
    url: str,
    client: pgchroma.ClientAPI,
    superuser: psycopg.Connection[Any],
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.WARNING, "pgchroma.compaction")
    collection = filled(client)
    with lasting_builds(url) as is_building, _followed(url):
        eventually(is_building)
        _cancel(superuser)
        eventually(lambda: "cancel" in str(collection.get_indexing_status().error))
        assert str(collection.id) in caplog.text
        assert "cancel" in caplog.text
        more(collection, 10, start=300)
        assert_right(collection, as_numbered((0, 300), (300, 10)))
        eventually(is_building)
    with _followed(url):
        eventually(lambda: collection.get_indexing_status().op_indexing_progress == 1.0)
        eventually(lambda: collection.get_indexing_status().error is None)
    compact(url)
    assert_at_rest(url, collection)


@pytest.fixture
def small_disk(url: str, server: EmbeddedPostgres) -> Iterator[str]:
    """A tablespace with space for one small index."""
    with tempfile.TemporaryDirectory(prefix="pgchroma-small-") as directory:
        mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", directory]
        if os.geteuid() or subprocess.run(mount, capture_output=True, check=False).returncode:
            pytest.skip("a disk that is soon full requires the permission to mount one")
        name = f"small_{uuid.uuid4().hex[:8]}"
        try:
            owner = Path(str(conninfo_to_dict(server.conninfo)["host"])).stat()
            os.chown(directory, owner.st_uid, owner.st_gid)
            with psycopg.connect(url, autocommit=True) as plain:
                plain.execute(f"create tablespace {name} location '{directory}'")
                yield name
                database = plain.info.dbname
                plain.execute(f"alter database {database} reset default_tablespace")
                for (index,) in plain.execute(
                    "select c.oid::regclass::text from pg_class as c join pg_tablespace as t "
                    "on t.oid = c.reltablespace where t.spcname = %s",
                    [name],
                ).fetchall():
                    plain.execute(f"drop index {index}")
                plain.execute(f"drop tablespace {name}")
        finally:
            subprocess.run(["umount", directory], check=True)


@pytest.mark.heavy
@pytest.mark.usefixtures("hasty")
def test_a_full_disk_stops_builds_and_nothing_else(
    url: str,
    client: pgchroma.ClientAPI,
    superuser: psycopg.Connection[Any],
    small_disk: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    collection = filled(client, count=1500)
    database = superuser.info.dbname
    superuser.execute(f"alter database {database} set default_tablespace = {small_disk}")
    with _followed(url):
        error = eventually(lambda: collection.get_indexing_status().error)
        assert "No space left" in error
        assert "No space left" in caplog.text
        more(collection, 10, start=1500)
        assert_right(collection, as_numbered((0, 1500), (1500, 10)))
    superuser.execute(f"alter database {database} reset default_tablespace")
    with _followed(url):
        eventually(lambda: collection.get_indexing_status().op_indexing_progress == 1.0)
        eventually(lambda: collection.get_indexing_status().error is None)
    compact(url)
    assert_at_rest(url, collection)
    assert_right(collection, as_numbered((0, 1500), (1500, 10)))


@pytest.mark.usefixtures("hasty")
@pytest.mark.parametrize("is_secondary", [False, True])
@pytest.mark.parametrize("way", ["client", "command"])
def test_an_invalid_index_is_dropped_at_the_start(
    url: str,
    client: pgchroma.ClientAPI,
    superuser: psycopg.Connection[Any],
    is_secondary: bool,
    way: str,
) -> None:
    collection = filled(client, count=50)
    records, name = tables(collection)
    prefix = f"vectors_{collection.id.hex}_hnsw_77"
    statement = f"create index concurrently {prefix} on {name} using hnsw (embedding vector_l2_ops)"
    if is_secondary:
        prefix = f"records_{collection.id.hex}_by_trig"
        statement = f"create index concurrently {prefix} on {records} (document)"
    with (
        lasting_builds(url) as is_building,
        ThreadPoolExecutor(1) as pool,
        psycopg.connect(url, autocommit=True) as cancelled,
    ):
        done = pool.submit(cancelled.execute, statement.encode())
        eventually(is_building)
        _cancel(superuser)
        with pytest.raises(pg.QueryCanceled):
            done.result(30)
    assert indexes(url, collection) == {prefix: False}
    if way == "client":
        with _followed(url):
            eventually(lambda: not indexes(url, collection))
    else:
        compact(url, merges_all=False)
        assert indexes(url, collection) == {}


def test_a_limit_on_statements_does_not_hold_for_builds(
    url: str, client: pgchroma.ClientAPI, superuser: psycopg.Connection[Any]
) -> None:
    collection = filled(client, count=1000)
    name = superuser.info.dbname
    limits = ["statement_timeout"]
    if superuser.info.server_version >= 170_000:
        limits.append("transaction_timeout")
    for limit in limits:
        superuser.execute(f"set {limit} = 0")
        superuser.execute(f"alter database {name} set {limit} = 40")
    compact(url)
    for limit in limits:
        superuser.execute(f"alter database {name} reset {limit}")
    assert_at_rest(url, collection)


def test_an_interrupt_ends_the_command_and_its_build(url: str, client: pgchroma.ClientAPI) -> None:
    collection = filled(client)
    with lasting_builds(url) as is_building:
        command = [sys.executable, "-m", "tests.compactor.kill_worker", url, "never", "before", "0"]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as working:
            eventually(is_building)
            working.send_signal(2)
            _, errors = working.communicate(timeout=30)
        assert "KeyboardInterrupt" in errors
        eventually(lambda: not is_building())
    assert list(indexes(url, collection).values()) == [False]


@pytest.mark.parametrize(
    ("module", "step"),
    [
        (inspection, "inspect"),
        (bookkeeping, "reconcile"),
        (bookkeeping, "announce_build"),
        (bookkeeping, "finish_build"),
        (maintenance, "analyze"),
        (maintenance, "merge_counts"),
    ],
)
def test_a_collection_deleted_between_two_steps_is_no_fault(
    url: str,
    client: pgchroma.ClientAPI,
    monkeypatch: pytest.MonkeyPatch,
    module: ModuleType,
    step: str,
) -> None:
    collection = filled(client)
    original = getattr(module, step)

    def gone(*given: Any, **named: Any) -> Any:
        if client.count_collections():
            client.delete_collection("papers")
        return original(*given, **named)

    with Compaction(url, SMALL, Event()) as working:
        (each,) = working.collections()
        monkeypatch.setattr(module, step, gone)
        assert working.compact(each, merges_all=True)
    assert indexes(url, collection) == {}
