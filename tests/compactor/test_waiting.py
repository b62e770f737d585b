"""Sessions that the compactor waits for are named, and a lost connection is a short pause."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest
from sqlalchemy import create_engine

import pgchroma
from pgchroma.compactor import session
from pgchroma.compactor import thread as compactor_thread
from pgchroma.model.entities import DatabaseRef
from pgchroma.store.layout.tables import CollectionTables
from pgchroma.store.resolved import ResolvedCollection
from tests.compactor.conftest import filled, indexes, more, tables
from tests.server_process import eventually

EAGERLY = pgchroma.Settings(pgchroma_segment_bytes=0)


@pytest.fixture(autouse=True)
def _hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("POLL_SECONDS", "IDLE_SECONDS"):
        monkeypatch.setattr(compactor_thread, name, 0.1)
    monkeypatch.setattr(session, "REPORT_SECONDS", 0.2)


@contextmanager
def _long_transaction(url: str) -> Iterator[int]:
    """A transaction that only reads, and does not end; its process."""
    with psycopg.connect(url, application_name="dump of the night") as holder:
        holder.execute("set transaction isolation level repeatable read")
        holder.execute("select 1")
        yield holder.info.backend_pid


def _is_indexed(url: str, collection: pgchroma.Collection) -> bool:
    return bool(indexes(url, collection)) and all(indexes(url, collection).values())


def test_a_long_transaction_is_named_in_log_and_every_status(
    url: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "pgchroma.compaction")
    with pgchroma.PostgresClient(url, EAGERLY) as client:
        with _long_transaction(url) as pid:
            collections = [filled(client, name) for name in ("papers", "texts")]

            def error(collection: pgchroma.Collection) -> str:
                return collection.get_indexing_status().error or ""

            for each in collections:
                eventually(lambda each=each: f"process {pid} " in error(each))  # type: ignore[misc]
                assert "dump of the night" in error(each)
                assert "transaction has lasted 0:0" in error(each)
            eventually(lambda: f"waits for process {pid} " in caplog.text)
            # As long as it lasts queries go on.
            assert len(collections[1].query(query_embeddings=[[1.0] * 8])["ids"][0]) == 10
        for each in collections:
            eventually(lambda each=each: _is_indexed(url, each))  # type: ignore[misc]
            eventually(lambda each=each: each.get_indexing_status().error is None)  # type: ignore[misc]


def _terminated(superuser: psycopg.Connection[Any]) -> bool:
    found = superuser.execute(
        "select pg_terminate_backend(pid) from pg_stat_activity "
        "where application_name = 'pgchroma compactor' and datname = current_database()"
    )
    return bool(found.fetchall())


def test_a_terminated_backend_is_a_short_pause(
    url: str, superuser: psycopg.Connection[Any], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "pgchroma.compaction")
    with pgchroma.PostgresClient(url, EAGERLY) as client:
        with _long_transaction(url):
            collection = filled(client)
            eventually(lambda: "waits for process" in caplog.text)
            for turn in range(2):
                # There is no backend during a pause.
                eventually(lambda: _terminated(superuser))
                eventually(lambda turn=turn: caplog.text.count("builds are failing") > turn)  # type: ignore[misc]
        assert "retrying in 1 s" in caplog.text
        eventually(lambda: _is_indexed(url, collection))
        eventually(lambda: collection.get_indexing_status().error is None)


@pytest.mark.heavy
@pytest.mark.parametrize("way", ["delete", "lock"])
def test_tables_locked_for_long_do_not_hold_up_other_collections(
    url: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    caplog.set_level(logging.WARNING, "pgchroma.compaction")
    monkeypatch.setattr(session, "LOCK_TIMEOUT_SECONDS", 0.5)
    engine = create_engine("postgresql+psycopg://", creator=lambda: psycopg.connect(url))
    with pgchroma.PostgresClient(url, EAGERLY) as client, engine.connect() as connection:
        taken, other = filled(client, "taken", count=20), filled(client, "other", count=20)
        if way == "delete":
            pgchroma.PostgresClient(connection).delete_collection("taken")
        else:
            name = tables(taken)[1]
            connection.exec_driver_sql(f"lock table {name} in access exclusive mode")
        pid = connection.exec_driver_sql("select pg_backend_pid()").scalar()
        for each in (taken, other):
            # As if both had been written to just now.
            client._backend._context.record_write(_located(each))  # type: ignore[attr-defined]
        more(other, 300, start=20)
        eventually(lambda: _is_indexed(url, other))
        eventually(lambda: f"waits for process {pid} " in caplog.text)
        connection.rollback()
        more(taken, 300, start=20)
        eventually(lambda: _is_indexed(url, taken))
        eventually(lambda: taken.get_indexing_status().error is None)
    engine.dispose()


def _located(collection: pgchroma.Collection) -> ResolvedCollection:
    scope = DatabaseRef("default_tenant", "default_database")
    tables = CollectionTables("default_tenant__default_database", collection.id)
    return ResolvedCollection(scope, tables, "l2", 8)
