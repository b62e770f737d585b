"""Clients that share the sessions of PostgreSQL through a PgBouncer in transaction mode."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from sqlalchemy import create_engine, make_url
from sqlalchemy.orm import Session

import pgchroma
from pgchroma.embedded import EmbeddedPostgres
from pgchroma.model.names import DEFAULT_DATABASE, DEFAULT_TENANT
from pgchroma.store.running.prepared_statements import may_prepare, name_statements
from tests import pgbouncer

CLIENTS, THREADS, TURNS = 4, 4, 30


@pytest.fixture(scope="module")
def narrow_bouncer(
    server: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """A connection string through a PgBouncer whose clients all share two sessions."""
    if pgbouncer.PROGRAM is None:
        pytest.skip("PgBouncer is not installed: apt-get install pgbouncer")
    directory = tmp_path_factory.mktemp("narrow")
    with pgbouncer.bouncing(server.conninfo, directory, pool_size=2) as conninfo:
        yield conninfo


@pytest.fixture
def through(narrow_bouncer: str, url: str) -> str:
    return make_conninfo(narrow_bouncer, dbname=conninfo_to_dict(url)["dbname"])


def _engine(conninfo: str, **options: Any) -> Any:
    known = conninfo_to_dict(conninfo)
    url = make_url("postgresql+psycopg://").set(
        username=str(known["user"]),
        host=str(known["host"]),
        port=int(str(known["port"])),
        database=str(known["dbname"]),
    )
    return create_engine(url, **options)


# None is the default. Where statements are prepared all the same, the pooler loses some of them.
@pytest.mark.heavy
@pytest.mark.parametrize("prepares", [None, True])
def test_no_client_runs_anothers_statement(
    through: str, client: pgchroma.ClientAPI, prepares: bool | None
) -> None:
    """Each client writes to a separate collection, and reads only its own records there."""
    admin = pgchroma.PostgresClient(through)
    settings = pgchroma.Settings(pgchroma_prepared_statements=prepares, pgchroma_compaction=False)
    with ExitStack() as stack:
        collections = []
        for number in range(CLIENTS):
            direct = stack.enter_context(pgchroma.PostgresClient(through, settings))
            collections.append(direct.create_collection(f"of-{number}", embedding_function=None))

        def work(number: int, thread: int) -> None:
            collection = collections[number]
            for turn in range(TURNS):
                id = f"{number}-{thread}-{turn}"
                collection.upsert(ids=id, documents=f"text {id}", embeddings=[[1.0, number]])
                assert collection.get(ids=id)["documents"] == [f"text {id}"]
                if turn % 5 == 0:
                    assert all(found.startswith(f"{number}-") for found in collection.get()["ids"])

        with ThreadPoolExecutor(CLIENTS * THREADS) as pool:
            running = [
                pool.submit(work, number, thread)
                for number in range(CLIENTS)
                for thread in range(THREADS)
            ]
            for each in running:
                each.result()
    admin.close()
    for number in range(CLIENTS):
        found = client.get_collection(f"of-{number}", embedding_function=None).get()
        assert len(found["ids"]) == THREADS * TURNS
        assert all(id.startswith(f"{number}-") for id in found["ids"])
        assert found["documents"] == [f"text {id}" for id in found["ids"]]


@pytest.mark.parametrize("prepares", [None, True])
async def test_nor_does_an_asynchronous_client(through: str, prepares: bool | None) -> None:
    import asyncio  # noqa: PLC0415

    settings = pgchroma.Settings(pgchroma_prepared_statements=prepares, pgchroma_compaction=False)
    async with (
        pgchroma.AsyncPostgresClient(through, settings) as one,
        pgchroma.AsyncPostgresClient(through, settings) as other,
    ):
        collections = [
            await client.create_collection(f"of-{number}", embedding_function=None)
            for number, client in enumerate((one, other))
        ]

        async def work(number: int, task: int) -> None:
            for turn in range(TURNS):
                id = f"{number}-{task}-{turn}"
                await collections[number].upsert(ids=id, documents=id, embeddings=[[1.0, number]])
                assert (await collections[number].get(ids=id))["documents"] == [id]

        await asyncio.gather(*(work(n, task) for n in range(2) for task in range(8)))
        for number, collection in enumerate(collections):
            found = await collection.get()
            assert len(found["ids"]) == 8 * TURNS
            assert all(id.startswith(f"{number}-") for id in found["ids"])


def test_every_query_is_answered_where_prepared_statements_get_lost(
    through: str, caplog: pytest.LogCaptureFixture
) -> None:
    settings = pgchroma.Settings(pgchroma_prepared_statements=True, pgchroma_compaction=False)
    with pgchroma.PostgresClient(through, settings) as client:
        collection = client.create_collection("papers", embedding_function=None)
        collection.add(ids=["a", "b"], embeddings=[[1.0], [2.0]])
        with ThreadPoolExecutor(8) as pool:
            asked = pool.map(
                lambda _: collection.query(query_embeddings=[[1.1]], n_results=1), range(480)
            )
            assert [found["ids"] for found in asked] == [[["a"]]] * 480
    told = [record for record in caplog.records if record.name == "pgchroma.connections"]
    assert [record.levelno for record in told] == [logging.WARNING]
    assert "pgchroma_prepared_statements" in told[0].message


def test_a_pooler_is_noticed_and_said_once(through: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "pgchroma.connections")
    with pgchroma.PostgresClient(through) as client:
        collection = client.create_collection("papers", embedding_function=None)
        collection.add(ids="a", embeddings=[[1.0]])
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda _: collection.count(), range(100)))
    told = [record.message for record in caplog.records if record.name == "pgchroma.connections"]
    assert len(told) == 1
    assert "a pooler is between" in told[0]


def test_engines_and_transactions_behind_a_pooler_are_theirs_alone(
    through: str, client: pgchroma.ClientAPI
) -> None:
    """The application's own connections prepare by psycopg's default, under psycopg's names."""
    engines = [_engine(through, pool_size=2, max_overflow=2) for _ in range(3)]
    names = [f"of-{number}" for number in range(3)]
    for name in names:
        client.create_collection(name, embedding_function=None)

    def work(number: int, thread: int) -> None:
        direct = pgchroma.PostgresClient(
            engines[number], pgchroma.Settings(pgchroma_compaction=False)
        )
        for turn in range(TURNS):
            id = f"{number}-{thread}-{turn}"
            if turn % 3:
                place = direct.get_collection(names[number], embedding_function=None)
                place.upsert(ids=id, documents=id, embeddings=[[1.0, number]])
                continue
            with Session(engines[number]) as session:
                joined = pgchroma.PostgresClient(session)
                place = joined.get_collection(names[number], embedding_function=None)
                place.upsert(ids=id, documents=id, embeddings=[[1.0, number]])
                session.commit()
        direct.close()

    with ThreadPoolExecutor(6) as pool:
        for each in [pool.submit(work, n, thread) for n in range(3) for thread in range(2)]:
            each.result()
    for engine in engines:
        engine.dispose()
    for number, name in enumerate(names):
        found = client.get_collection(name, embedding_function=None).get()
        assert len(found["ids"]) == 2 * TURNS
        assert all(id.startswith(f"{number}-") for id in found["ids"])
        assert found["documents"] == found["ids"]


def test_two_tenants_keep_apart(through: str, url: str) -> None:
    place: dict[str, Any] = {"tenant": DEFAULT_TENANT, "database": DEFAULT_DATABASE}
    with pgchroma.PostgresClient(through, **place) as one, pgchroma.PostgresClient(url) as direct:
        named = uuid.uuid4().hex
        one.create_collection(named, embedding_function=None).add(ids="1", embeddings=[[1.0]])
        assert direct.get_collection(named, embedding_function=None).count() == 1


def test_statements_have_names_that_no_other_connection_has(url: str) -> None:
    with psycopg.connect(url, autocommit=True) as one, psycopg.connect(url, autocommit=True) as two:
        for connection in (one, two):
            assert not may_prepare(connection)
            assert name_statements(connection)
            assert not name_statements(connection)
            assert may_prepare(connection)
            for _ in range(8):
                connection.execute("select %s::int", [1])
        named = [
            connection.execute("select name from pg_prepared_statements").fetchall()
            for connection in (one, two)
        ]
        assert all(len(names) == 1 for names in named)
        assert named[0] != named[1]
