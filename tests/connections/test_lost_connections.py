"""Connections that end while they are idle, in the middle of a call, or without notice."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from sqlalchemy import create_engine
from sqlalchemy.ext.asyncio import create_async_engine

import pgchroma
from pgchroma import errors
from tests.connections.relay import Relay, relaying
from tests.server_process import Server, eventually, running

QUIET = pgchroma.Settings(pgchroma_compaction=False)

TERMINATE = """
select pg_terminate_backend(pid, 5000) from pg_stat_activity
where datname = current_database() and pid <> pg_backend_pid() and backend_type = 'client backend'
"""


@pytest.fixture
def relay(url: str) -> Iterator[Relay]:
    with (
        tempfile.TemporaryDirectory(prefix="relay-") as directory,
        relaying(url, Path(directory)) as relay,
    ):
        yield relay


@pytest.fixture
def terminate(connection: psycopg.Connection[Any]) -> Callable[[], None]:
    """Ends every other connection to the test's database."""

    def end() -> None:
        assert connection.execute(TERMINATE).rowcount > 0

    return end


def _engine_url(url: str) -> str:
    known = psycopg.conninfo.conninfo_to_dict(url)
    return f"postgresql+psycopg://{known['user']}@/{known['dbname']}?host={known['host']}"


def _used(client: pgchroma.ClientAPI, connections: int = 4) -> pgchroma.Collection:
    """Make a collection, and have the pool open several connections."""
    collection = client.get_or_create_collection("papers", embedding_function=None)
    collection.upsert(ids="a", embeddings=[[1.0]])
    with ThreadPoolExecutor(connections) as pool:
        list(pool.map(lambda _: collection.get(), range(40)))
    return collection


@pytest.mark.parametrize("kind", ["url", "engine"])
@pytest.mark.parametrize("call", ["count", "upsert", "delete"])
def test_a_connection_that_was_closed_while_idle_is_replaced(
    url: str, terminate: Callable[[], None], kind: str, call: str
) -> None:
    engine = create_engine(_engine_url(url), pool_size=4)
    target = url if kind == "url" else engine
    with pgchroma.PostgresClient(target, QUIET) as client:
        collection = _used(client)
        for _ in range(3):
            terminate()
            match call:
                case "count":
                    assert collection.count() == 1
                case "upsert":
                    collection.upsert(ids="a", embeddings=[[2.0]])
                case _:
                    collection.delete(ids=["b"])
    engine.dispose()


@pytest.mark.parametrize("kind", ["url", "engine"])
async def test_and_so_it_is_for_asynchronous_clients(
    url: str, terminate: Callable[[], None], kind: str
) -> None:
    engine = create_async_engine(_engine_url(url))
    target: Any = url if kind == "url" else engine
    async with pgchroma.AsyncPostgresClient(target, QUIET) as client:
        collection = await client.create_collection("papers", embedding_function=None)
        await collection.add(ids="a", embeddings=[[1.0]])
        await asyncio.gather(*(collection.get() for _ in range(8)))
        for _ in range(3):
            await asyncio.to_thread(terminate)
            await collection.upsert(ids="a", embeddings=[[2.0]])
            assert await collection.count() == 1
    await engine.dispose()


def test_over_http_no_request_notices(
    open_server: Server, emptied: str, connection: psycopg.Connection[Any]
) -> None:
    with (
        psycopg.connect(open_server.conninfo, autocommit=True) as other,
        pgchroma.HttpClient(emptied) as client,
    ):
        collection = client.create_collection("papers", embedding_function=None)
        for turn in range(5):
            other.execute(TERMINATE)
            collection.upsert(ids=str(turn), embeddings=[[1.0]])
            other.execute(TERMINATE)
            assert collection.count() == turn + 1


def test_many_threads_are_answered_while_connections_are_ended(
    url: str, connection: psycopg.Connection[Any]
) -> None:
    with pgchroma.PostgresClient(url, QUIET) as client, ThreadPoolExecutor(8) as pool:
        collection = _used(client)
        reading = [pool.submit(collection.get) for _ in range(400)]
        while not all(each.done() for each in reading):
            connection.execute(TERMINATE)
            time.sleep(0.02)
        assert all(each.result()["ids"] == ["a"] for each in reading)


def test_a_write_whose_answer_was_lost_is_not_sent_again(
    relay: Relay, client: pgchroma.ClientAPI
) -> None:
    with pgchroma.PostgresClient(relay.conninfo, QUIET) as through:
        collection = _used(through, 1)
        relay.loses_answers = True
        with pytest.raises(errors.OutcomeUnknownError, match="as a whole or not at all"):
            collection.add(ids="b", embeddings=[[2.0]])
        relay.loses_answers = False
        eventually(lambda: client.get_collection("papers", embedding_function=None).count() == 2)
        assert collection.get(ids="b")["ids"] == ["b"]


async def test_nor_is_one_of_an_asynchronous_client(
    relay: Relay, client: pgchroma.ClientAPI
) -> None:
    async with pgchroma.AsyncPostgresClient(relay.conninfo, QUIET) as through:
        collection = await through.create_collection("papers", embedding_function=None)
        for _ in range(2):
            await collection.upsert(ids="a", embeddings=[[1.0]])
        relay.loses_answers = True
        with pytest.raises(errors.OutcomeUnknownError):
            await collection.upsert(ids="b", embeddings=[[1.0]])
        relay.loses_answers = False
        assert await collection.count() == 2


@pytest.mark.heavy
def test_over_http_the_outcome_is_unknown_too(relay: Relay, tmp_path: Path) -> None:
    arguments = ("--url", relay.conninfo, "--no-auth")
    with running(tmp_path / "log", *arguments) as server, pgchroma.HttpClient(server.url) as client:
        collection = client.create_collection("papers", embedding_function=None)
        for _ in range(2):
            collection.upsert(ids="a", embeddings=[[1.0]])
        relay.loses_answers = True
        with pytest.raises(errors.OutcomeUnknownError):
            collection.delete(ids=["a"])
        relay.loses_answers = False
        assert collection.count() == 0


def test_a_read_is_repeated_on_another_connection(relay: Relay) -> None:
    with pgchroma.PostgresClient(relay.conninfo, QUIET) as client:
        collection = _used(client, 1)
        relay.loses_answers = True
        with ThreadPoolExecutor(1) as pool:
            counted = pool.submit(collection.count)
            time.sleep(0.1)
            relay.loses_answers = False
            assert counted.result() == 1


def test_a_connection_that_went_silent_while_idle_is_replaced(
    relay: Relay, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pgchroma.backends._sync.pool.CHECK_SECONDS", 0.2)
    monkeypatch.setattr("pgchroma.backends.pool_state.UNCHECKED_SECONDS", 0.0)
    with pgchroma.PostgresClient(relay.conninfo, QUIET) as client:
        collection = _used(client, 1)
        relay.is_silent = True
        with ThreadPoolExecutor(1) as pool:
            counted = pool.submit(collection.count)
            time.sleep(0.1)
            relay.cut()
            relay.is_silent = False
            assert counted.result() == 1


@pytest.mark.heavy
@pytest.mark.parametrize("call", ["count", "upsert"])
def test_a_call_ends_that_nothing_answers(relay: Relay, call: str) -> None:
    settings = QUIET.model_copy(update={"pgchroma_request_timeout": 0.5})
    with pgchroma.PostgresClient(relay.conninfo, settings) as client:
        collection = _used(client, 1)
        relay.is_silent = True
        with pytest.raises(errors.DeadlineExceededError, match=r"within 0\.5 seconds"):
            if call == "count":
                collection.count()
            else:
                collection.upsert(ids="a", embeddings=[[1.0]])
        relay.cut()
        relay.is_silent = False
        assert collection.count() == 1


@pytest.mark.heavy
async def test_an_asynchronous_one_ends_too(relay: Relay) -> None:
    settings = QUIET.model_copy(update={"pgchroma_request_timeout": 0.5})
    async with pgchroma.AsyncPostgresClient(relay.conninfo, settings) as client:
        collection = await client.create_collection("papers", embedding_function=None)
        relay.is_silent = True
        with pytest.raises(errors.DeadlineExceededError):
            await collection.count()
        relay.cut()
        relay.is_silent = False
        assert await collection.count() == 0


def test_a_statement_that_takes_long_is_cancelled(
    url: str, connection: psycopg.Connection[Any]
) -> None:
    settings = QUIET.model_copy(update={"pgchroma_request_timeout": 0.5})
    with pgchroma.PostgresClient(url, settings) as client:
        collection = _used(client, 1)
        with connection.transaction():
            connection.execute("lock table pgchroma.collections in access exclusive mode")
            with pytest.raises(errors.DeadlineExceededError):
                client.create_collection("more")
            waiting = "select count(*) from pg_stat_activity where wait_event_type = 'Lock'"
            assert eventually(lambda: connection.execute(waiting).fetchone() == (0,))
        assert collection.count() == 1


@pytest.mark.heavy
def test_the_servers_own_limit_ends_such_a_request(relay: Relay, tmp_path: Path) -> None:
    environment = {"PGCHROMA_REQUEST_TIMEOUT": "1"}
    arguments = ("--url", relay.conninfo, "--no-auth")
    with (
        running(tmp_path / "log", *arguments, environment=environment) as server,
        pgchroma.HttpClient(server.url) as client,
    ):
        collection = client.create_collection("papers", embedding_function=None)
        relay.is_silent = True
        place = f"{server.url}/api/v2/tenants/default_tenant/databases/default_database/collections"
        answer = httpx.get(f"{place}/{collection.id}/count", timeout=60)
        assert answer.status_code == 504
        relay.cut()
        relay.is_silent = False
        assert eventually(lambda: httpx.get(f"{place}/{collection.id}/count").status_code == 200)
