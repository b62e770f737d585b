"""Databases that a client can no longer log in to."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

import pgchroma
from pgchroma import errors
from pgchroma.backends._sync.pool import Pool
from tests.server_process import running

QUIET = pgchroma.Settings(pgchroma_compaction=False)

END = "select pg_terminate_backend(pid, 5000) from pg_stat_activity where usename like %s || '%%'"

FAULTS = {
    "may not log in": ("alter role {user} nologin", "not permitted to log in"),
    "gone": ("alter role {user} rename to {other}", "does not exist"),
    "database renamed": ("alter database {database} rename to {other}", "does not exist"),
}


@pytest.fixture
def admin(url: str) -> Iterator[psycopg.Connection[Any]]:
    """A connection to another database of the same server."""
    with psycopg.connect(make_conninfo(url, dbname="template1"), autocommit=True) as connection:
        yield connection


@pytest.fixture
def user(url: str, admin: psycopg.Connection[Any]) -> Iterator[str]:
    """A superuser for this test only."""
    name = f"u_{conninfo_to_dict(url)['dbname']}"
    admin.execute(sql.SQL("create role {} login superuser").format(sql.Identifier(name)))
    yield name
    for each in (name, f"{name}_other"):
        if admin.execute("select from pg_roles where rolname = %s", [each]).rowcount:
            role = sql.Identifier(each)
            with psycopg.connect(url, autocommit=True) as connection:
                connection.execute(sql.SQL("drop owned by {} cascade").format(role))
            admin.execute(sql.SQL("drop role {}").format(role))


@pytest.mark.parametrize("error", FAULTS)
def test_a_login_that_is_refused_for_good_fails_at_once_with_the_reason(
    url: str, admin: psycopg.Connection[Any], user: str, error: str
) -> None:
    statement, reason = FAULTS[error]
    database = str(conninfo_to_dict(url)["dbname"])
    named = {"user": user, "database": database, "other": f"{user}_other"}
    settings = QUIET.model_copy(update={"pgchroma_pool_timeout": 600.0})
    with pgchroma.PostgresClient(make_conninfo(url, user=user), settings) as client:
        collection = client.create_collection("papers", embedding_function=None)
        identifiers = {key: sql.Identifier(value) for key, value in named.items()}
        if error == "database renamed":
            end = "select pg_terminate_backend(pid, 5000) from pg_stat_activity where datname = %s"
            admin.execute(end, [database])
        admin.execute(sql.SQL(statement).format(**identifiers))
        admin.execute(END, [user])
        try:
            with ThreadPoolExecutor(12) as pool:
                for each in [pool.submit(collection.count) for _ in range(24)]:
                    with pytest.raises(errors.UnavailableError, match=reason):
                        each.result()
        finally:
            if error == "database renamed":
                admin.execute(
                    sql.SQL("alter database {other} rename to {database}").format(**identifiers)
                )


def test_waiting_mends_a_limit_of_connections(
    url: str, admin: psycopg.Connection[Any], user: str
) -> None:
    with pgchroma.PostgresClient(make_conninfo(url, user=user), QUIET) as client:
        collection = client.create_collection("papers", embedding_function=None)
        limit = sql.SQL("alter role {} nosuperuser connection limit {}")
        admin.execute(limit.format(sql.Identifier(user), sql.Literal(0)))
        admin.execute(END, [user])

        def lift() -> None:
            time.sleep(0.5)
            admin.execute(sql.SQL("alter role {} superuser").format(sql.Identifier(user)))

        thread = threading.Thread(target=lift)
        thread.start()
        try:
            assert collection.count() == 0
        finally:
            thread.join()


def test_the_last_reason_is_told_when_waiting_was_in_vain(tmp_path: Path) -> None:
    pool = Pool(
        f"host={tmp_path} dbname=none", size=1, timeout=0.3, configure=lambda connection: None
    )
    with (
        pytest.raises(errors.UnavailableError, match="No such file or directory"),
        pool.connection(),
    ):
        raise AssertionError("there is no connection to lend")


def test_a_pool_whose_connections_are_all_in_use_says_so(url: str) -> None:
    pool = Pool(url, size=2, timeout=0.1, configure=lambda connection: None)
    with (
        pool.connection(),
        pool.connection(),
        pytest.raises(errors.PoolExhaustedError, match="all 2 connections"),
        pool.connection(),
    ):
        raise AssertionError("there is no third")
    with pool.connection() as connection:
        assert connection.execute("select 1").fetchone() == (1,)
    assert pool.statistics() == {"size": 2, "idle": 2, "waiting": 0}
    pool.close()
    with pytest.raises(errors.UnavailableError, match="closed"), pool.connection():
        raise AssertionError("a closed pool lends nothing")


@pytest.mark.heavy
def test_over_http_a_database_that_is_gone_and_a_busy_server_have_two_texts(
    url: str, admin: psycopg.Connection[Any], tmp_path: Path
) -> None:
    environment = {"PGCHROMA_POOL_SIZE": "1", "PGCHROMA_POOL_TIMEOUT": "0.2"}
    arguments = ("--url", url, "--no-auth")
    database = sql.Identifier(str(conninfo_to_dict(url)["dbname"]))
    with (
        running(tmp_path / "log", *arguments, environment=environment) as server,
        pgchroma.HttpClient(server.url) as client,
    ):
        collection = client.create_collection("papers", embedding_function=None)
        with psycopg.connect(url) as locking:
            locking.execute("lock table pgchroma.collections in access exclusive mode")
            with ThreadPoolExecutor(6) as pool:
                getting = [pool.submit(client.get_collection, "papers") for _ in range(6)]
                # One has the connection and waits for the lock. The others have none.
                done, _ = wait(getting, return_when=FIRST_COMPLETED)
                said = {_said(each.result) for each in done}
                locking.rollback()
        assert any("overloaded" in str(text) for text in said), said
        admin.execute(sql.SQL("alter database {} with allow_connections false").format(database))
        end = "select pg_terminate_backend(pid, 5000) from pg_stat_activity where datname = %s"
        admin.execute(end, [conninfo_to_dict(url)["dbname"]])
        assert "is unavailable" in str(_said(collection.count))
        admin.execute(sql.SQL("alter database {} with allow_connections true").format(database))
        assert collection.count() == 0


def _said(call: Callable[[], Any]) -> str | None:
    try:
        call()
    except errors.UnavailableError as error:
        return error.message()
    return None
