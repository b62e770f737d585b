"""Settings that stay on a session that only pgchroma uses, and on no other."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

import pgchroma
from pgchroma.backends._sync.sources import introduce
from pgchroma.store import run, run_async
from pgchroma.store.running.session_settings import keep_settings, settings_of
from pgchroma.store.running.sessions import Sessions
from pgchroma.store.running.steps import Reads, Statement, Step, Steps, WithSettings
from tests.planner.segments import compact, create, quiet

EF = "hnsw.ef_search"
SHOW = Statement(b"show hnsw.ef_search")
FAIL = Statement(b"select 1 / 0")


def _setting(name: str, value: str) -> Statement:
    return Statement(f"set local {name} = {value}".encode())


def _near(ef: int, statement: Statement = SHOW) -> WithSettings:
    return WithSettings((_setting(EF, str(ef)),), statement)


def _alone(step: Step) -> Steps[Any]:
    return (yield step)


@pytest.fixture
def own(url: str) -> Iterator[psycopg.Connection[Any]]:
    """A connection whose settings may stay."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("select '[1]'::vector")
        keep_settings(connection)
        # The first statement asks for the default isolation level.
        run(connection, _alone(SHOW))
        yield connection


def test_settings_are_set_once(own: psycopg.Connection[Any]) -> None:
    for ef in (100, 100, 200, 100):
        assert run(own, _alone(_near(ef))) == [(str(ef),)]
        assert run(own, _alone(SHOW)) == [(str(ef),)]
    kept = settings_of(own)
    assert kept is not None
    assert kept.missing((_near(100),)) == ()
    assert kept.missing((_near(7),)) == (Statement(b"set hnsw.ef_search = 7", reuses_plan=False),)


def test_a_read_that_fails_leaves_what_was_set_before(own: psycopg.Connection[Any]) -> None:
    run(own, _alone(_near(100)))
    with pytest.raises(psycopg.errors.DivisionByZero):
        run(own, _alone(_near(200, FAIL)))
    assert run(own, _alone(SHOW)) == [("100",)]
    assert run(own, _alone(_near(200))) == [("200",)]
    with pytest.raises(psycopg.errors.InvalidParameterValue):
        run(own, _alone(_near(0)))
    assert run(own, _alone(_near(200))) == [("200",)]


def test_other_settings_end_with_their_transaction(own: psycopg.Connection[Any]) -> None:
    run(own, _alone(_near(100)))
    both = (_setting(EF, "300"), _setting("enable_sort", "off"))
    assert run(own, _alone(WithSettings(both, SHOW))) == [("300",)]
    assert run(own, _alone(SHOW)) == [("100",)]
    assert own.execute("show enable_sort").fetchall() == [("on",)]


def test_reads_with_different_settings_are_a_transaction(own: psycopg.Connection[Any]) -> None:
    run(own, _alone(_near(100)))
    assert run(own, _alone(Reads((_near(200), _near(300))))) == [[("200",)], [("300",)]]
    assert run(own, _alone(SHOW)) == [("100",)]
    assert run(own, _alone(Reads((_near(200), _near(200))))) == [[("200",)], [("200",)]]
    assert run(own, _alone(SHOW)) == [("200",)]


def test_a_transaction_keeps_its_settings_to_itself(own: psycopg.Connection[Any]) -> None:
    run(own, _alone(_near(100)))
    with own.transaction():
        assert settings_of(own) is None
        assert run(own, _alone(_near(200))) == [("200",)]
    assert run(own, _alone(SHOW)) == [("100",)]


def test_a_role_reads_in_a_transaction(own: psycopg.Connection[Any]) -> None:
    run(own, _alone(_near(100)))
    assert run(own, _alone(_near(200)), own.info.user) == [("200",)]
    assert run(own, _alone(SHOW)) == [("100",)]


async def test_an_asynchronous_connection_keeps_them_too(url: str) -> None:
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        await connection.execute("select '[1]'::vector")
        keep_settings(connection)
        await run_async(connection, _alone(SHOW))
        for ef in (100, 200):
            assert await run_async(connection, _alone(_near(ef))) == [(str(ef),)]
            assert await run_async(connection, _alone(SHOW)) == [(str(ef),)]


@pytest.mark.parametrize("level", ["serializable", "repeatable read"])
def test_a_session_with_another_isolation_level_keeps_nothing(url: str, level: str) -> None:
    options = f"-c default_transaction_isolation={level.replace(' ', chr(92) + ' ')}"
    with psycopg.connect(make_conninfo(url, options=options), autocommit=True) as connection:
        connection.execute("select '[1]'::vector")
        keep_settings(connection)
        run(connection, _alone(SHOW))
        assert settings_of(connection) is None
        assert run(connection, _alone(_near(200))) == [("200",)]
        assert run(connection, _alone(SHOW)) == [("40",)]


@pytest.mark.parametrize(
    ("prepares", "are_own", "keeps"),
    [(None, True, True), (True, True, True), (False, True, False), (None, False, False)],
)
def test_only_connections_of_a_pool_of_its_own_keep_them(
    url: str, prepares: bool | None, are_own: bool, keeps: bool
) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        introduce(connection, Sessions(prepares, are_own=are_own))
        run(connection, _alone(Statement(b"select 7")))
        assert (settings_of(connection) is not None) == keeps


def test_a_session_of_a_pooler_keeps_nothing(bouncer: str, url: str) -> None:
    through = make_conninfo(bouncer, dbname=conninfo_to_dict(url)["dbname"])
    with psycopg.connect(through, autocommit=True) as connection:
        introduce(connection, Sessions(None, are_own=True))
        assert settings_of(connection) is None


def test_a_clients_queries_find_the_same_after_any_other(url: str) -> None:
    """What one query sets is no setting of the next."""
    stored = np.random.default_rng(3).normal(size=(2_000, 16)).astype(np.float32)
    with quiet(url, pgchroma_pool_size=1) as client:
        collection = create(client, space="l2")
        ids = [f"id{n}" for n in range(len(stored))]
        collection.add(ids=ids, embeddings=stored, metadatas=[{"k": n % 50} for n in range(2_000)])
        compact(url, collection)
    with quiet(url, pgchroma_pool_size=1) as client:
        collection = client.get_collection(collection.name, embedding_function=None)
        calls: list[dict[str, Any]] = [
            {"n_results": 10},
            {"n_results": 300},
            {"n_results": 10, "where": {"k": 7}},
            {"n_results": 10, "where_document": {"$regex": "a"}},
        ]
        first = [_found(collection, stored, call) for call in calls]
        for before in calls:
            for call, found in zip(calls, first, strict=True):
                _found(collection, stored, before)
                assert _found(collection, stored, call) == found


def _found(collection: pgchroma.Collection, stored: Any, call: dict[str, Any]) -> list[list[str]]:
    return collection.query(query_embeddings=stored[:3], include=[], **call)["ids"]


def test_a_call_that_was_cancelled_leaves_no_wrong_note(own: psycopg.Connection[Any]) -> None:
    assert run(own, _alone(_near(50))) == [("50",)]
    kept = settings_of(own)
    assert kept is not None
    # PostgreSQL executes this, and the call is cancelled before it notes so.
    for statement in kept.missing([_near(300)]) or ():
        own.execute(statement.text)
    assert run(own, _alone(_near(50))) == [("50",)]
