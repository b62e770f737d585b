"""Upgrades that wait for each other, also behind a pooler, and for locks of other sessions."""

from __future__ import annotations

import logging
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Thread
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

import pgchroma
from pgchroma.catalog import waiting
from pgchroma.catalog.upgrade import upgrade
from tests.downgrading import downgrade

KEY = 7021982471
SETTINGS = pgchroma.Settings(pgchroma_prepared_statements=False, pgchroma_compaction=False)


def _advisory_locks(url: str) -> int:
    with psycopg.connect(url) as plain:
        found = plain.execute(
            "select count(*) from pg_locks where locktype = 'advisory' and database = "
            "(select oid from pg_database where datname = current_database())"
        ).fetchone()
    return 0 if found is None else int(found[0])


@pytest.fixture
def bounced_url(bouncer: str, empty_url: str) -> str:
    return make_conninfo(bouncer, dbname=conninfo_to_dict(empty_url)["dbname"])


def test_clients_that_start_at_once_behind_a_pooler_make_one_catalog(
    bounced_url: str, empty_url: str
) -> None:
    def start(number: int) -> str:
        with pgchroma.PostgresClient(bounced_url, SETTINGS) as client:
            return client.get_or_create_collection(f"papers-{number % 2}").name

    with ThreadPoolExecutor(6) as threads:
        assert set(threads.map(start, range(6))) == {"papers-0", "papers-1"}
    assert _advisory_locks(empty_url) == 0


def test_an_upgrade_on_the_databases_own_url_follows_a_start_through_a_pooler(
    bounced_url: str, empty_url: str
) -> None:
    with pgchroma.PostgresClient(bounced_url, SETTINGS) as client:
        client.create_collection("papers")
        downgrade(empty_url, "0004")
        with psycopg.connect(empty_url, autocommit=True) as plain:
            plain.execute("set lock_timeout = '20s'")
            upgrade(plain)
        assert client.count_collections() == 1
    assert _advisory_locks(empty_url) == 0


def test_an_upgrade_leaves_nothing_on_the_poolers_sessions(
    bounced_url: str, empty_url: str
) -> None:
    with psycopg.connect(bounced_url, autocommit=True, prepare_threshold=None) as plain:
        upgrade(plain)
        for _ in range(6):
            found = plain.execute(
                "select current_setting('statement_timeout'), current_setting('role'), "
                "current_setting('transaction_isolation'), "
                "(select count(*) from pg_prepared_statements), "
                "(select count(*) from pg_locks where locktype = 'advisory')"
            ).fetchone()
            assert found == ("0", "none", "read committed", 0, 0)


@contextmanager
def _upgrading(connection: psycopg.Connection[Any]) -> Iterator[Thread]:
    thread = Thread(target=upgrade, args=[connection])
    thread.start()
    yield thread
    thread.join(60)
    assert not thread.is_alive()


def _wait(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize(
    "lock",
    [
        f"select pg_advisory_lock({KEY})",
        f"begin; select pg_advisory_xact_lock({KEY})",
        "begin; select from chroma.collections",
        "begin; lock table chroma.collections in access share mode",
    ],
)
def test_a_wait_says_who_holds_the_lock(
    url: str,
    connection: psycopg.Connection[Any],
    lock: str,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(waiting, "POLL_SECONDS", 0.1)
    with psycopg.connect(url, application_name="the nightly job", autocommit=True) as holder:
        holder.execute(lock.encode())
        pid = holder.info.backend_pid
        with caplog.at_level(logging.WARNING, "pgchroma.catalog"), _upgrading(connection) as thread:
            # If pg_trgm is not available, another warning reports that.
            _wait(lambda: "holds" in caplog.text)
            assert thread.is_alive()
            holder.close()
    (record,) = [each for each in caplog.records if "holds" in each.message]
    assert record.name == "pgchroma.catalog"
    assert f"process {pid} holds" in record.message
    assert "the nightly job" in record.message
    assert f"select pg_terminate_backend({pid})" in record.message


def test_limits_for_users_do_not_end_an_upgrade_that_waits(
    url: str, connection: psycopg.Connection[Any]
) -> None:
    limited = make_conninfo(url, options="-c statement_timeout=100 -c lock_timeout=100")
    with (
        psycopg.connect(url, autocommit=True) as holder,
        psycopg.connect(limited, autocommit=True) as plain,
    ):
        holder.execute(f"select pg_advisory_lock({KEY})".encode())
        with _upgrading(plain) as thread:
            thread.join(0.5)
            assert thread.is_alive()
            holder.close()


@pytest.mark.heavy
def test_the_command_tells_who_holds_the_lock(
    url: str, connection: psycopg.Connection[Any]
) -> None:
    with pgchroma.PostgresClient(url, SETTINGS) as client:
        client.create_collection("papers")
    id = connection.execute(
        "update pgchroma.collections set layout_version = 1 returning id"
    ).fetchone()
    assert id is not None
    connection.execute(f"drop table default_tenant__default_database.counts_{id[0].hex}")
    with psycopg.connect(url, autocommit=True) as holder:
        holder.execute(f"select pg_advisory_lock({KEY})".encode())
        command = [sys.executable, "-m", "pgchroma", "migrate", "--url", url]
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert process.stderr is not None
        assert f"process {holder.info.backend_pid} holds" in process.stderr.readline()
        holder.close()
    assert process.communicate(timeout=60)[0].startswith("the catalog is at revision")
    assert process.returncode == 0
