"""Resets and deletions during creations: each is complete, before or after the other."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest

import pgchroma
from pgchroma import errors
from tests.lifecycle.conftest import SETTINGS, admin_of, assert_whole, eventually, fill, rows

GONE = (errors.NotFoundError, errors.InvalidArgumentError)
"""The errors of a creation whose tenant or database has been deleted."""


@contextmanager
def repeating(*works: Callable[[int], Any]) -> Iterator[list[BaseException]]:
    """Repeat work in threads, and collect errors other than those of deleted parents."""
    stop, problems = threading.Event(), []

    def repeat(work: Callable[[int], Any]) -> None:
        turn = 0
        while not stop.is_set():
            turn += 1
            try:
                work(turn)
            except GONE:
                continue
            except BaseException as error:
                problems.append(error)

    threads = [threading.Thread(target=repeat, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    try:
        yield problems
    finally:
        stop.set()
        for thread in threads:
            thread.join()


@pytest.mark.heavy
def test_resets_are_whole_while_others_create(url: str) -> None:
    with (
        pgchroma.PostgresClient(url, SETTINGS) as client,
        pgchroma.PostgresClient(url, SETTINGS) as other,
    ):
        admin = admin_of(other)

        def write(turn: int) -> None:
            papers = other.create_collection(f"papers-{turn}")
            papers.add(ids="1", embeddings=[1.0])

        def make_tenant(turn: int) -> None:
            admin.create_tenant(f"tenant-{turn}")
            admin.create_database("docs", f"tenant-{turn}")

        with repeating(
            write, lambda turn: admin.create_database(f"database-{turn}"), make_tenant
        ) as problems:
            for _ in range(12):
                client.reset()
                client.get_or_create_collection("mine")
                assert_default(url)
        assert problems == []
        assert_whole(url)
        client.reset()
        assert rows(url, "select name from pgchroma.databases") == ["default_database"]


def assert_default(url: str) -> None:
    assert rows(url, "select 1 from pgchroma.databases where name = 'default_database'") == [1]


def test_two_resets_at_once_are_two_resets(url: str) -> None:
    fill(url, 10)
    with ThreadPoolExecutor(4) as threads:
        clients = [pgchroma.PostgresClient(url, SETTINGS) for _ in range(4)]
        assert list(threads.map(lambda each: each.reset(), clients)) == [True] * 4
        for each in clients:
            each.close()
    assert_whole(url)


def test_a_database_is_deleted_with_what_is_created_in_it_concurrently(url: str) -> None:
    with (
        pgchroma.PostgresClient(url, SETTINGS) as client,
        pgchroma.PostgresClient(url, SETTINGS) as other,
    ):
        admin = admin_of(client)
        admin.create_database("docs")
        other.set_database("docs")
        with repeating(lambda turn: other.create_collection(f"papers-{turn}")) as problems:
            for _ in range(8):
                admin.delete_database("docs")
                admin.create_database("docs")
        assert problems == []
        assert_whole(url)


@pytest.mark.parametrize("way", ["delete_database", "reset"])
def test_a_creator_in_an_open_transaction_is_waited_for(url: str, way: str) -> None:
    from sqlalchemy import create_engine  # noqa: PLC0415

    engine = create_engine("postgresql+psycopg://", creator=lambda: psycopg.connect(url))
    with (
        pgchroma.PostgresClient(url, SETTINGS) as client,
        engine.connect() as connection,
        ThreadPoolExecutor(1) as threads,
    ):
        inside = pgchroma.PostgresClient(connection)
        inside.create_collection("late").add(ids="1", embeddings=[1.0])
        if way == "reset":
            done: Future[Any] = threads.submit(client.reset)
        else:
            done = threads.submit(admin_of(client).delete_database, "default_database")
        waiting = "select count(*) > 0 from pg_locks where not granted"
        eventually(lambda: rows(url, waiting) == [True])
        connection.commit()
        done.result(30)
        assert rows(url, "select count(*) from pgchroma.collections") == [0]
    engine.dispose()
