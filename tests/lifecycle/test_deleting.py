"""Deleting databases and resetting: immediate, complete or not at all, and continued later."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import make_conninfo
from sqlalchemy import create_engine, text

import pgchroma
from pgchroma import errors
from tests.lifecycle.conftest import (
    DISCARDED,
    SETTINGS,
    admin_of,
    assert_whole,
    eventually,
    fill,
    reading,
    rows,
)

Delete = Callable[[pgchroma.ClientAPI], Any]

WAYS: dict[str, Delete] = {
    "delete_database": lambda client: admin_of(client).delete_database("default_database"),
    "reset": lambda client: client.reset(),
}


@pytest.fixture(params=WAYS)
def delete(request: pytest.FixtureRequest) -> Delete:
    """A way to delete the default database."""
    return WAYS[request.param]


def _create_default(client: pgchroma.ClientAPI) -> None:
    with suppress(errors.UniqueConstraintError):
        admin_of(client).create_database("default_database")


def test_a_reader_does_not_hold_up_a_deletion(
    client: pgchroma.ClientAPI, url: str, delete: Delete
) -> None:
    tables = fill(url, 3)
    with reading(url, tables[1]):
        delete(client)
        _create_default(client)
        # The name is free, and the old database cannot be found.
        assert client.count_collections() == 0
        client.create_collection("papers-1").add(ids="new", embeddings=[1.0, 2.0, 3.0])
        assert_whole(url)
        assert rows(url, DISCARDED) != []
    admin_of(client).create_database("other")
    # The next deletion continues with the rest.
    admin_of(client).delete_database("other")
    assert rows(url, DISCARDED) == []
    assert client.get_collection("papers-1").get()["ids"] == ["new"]
    assert_whole(url)


@pytest.mark.heavy
@pytest.mark.parametrize("row", ["databases", "collections"])
def test_a_deletion_that_times_out_changes_nothing(
    client: pgchroma.ClientAPI, url: str, delete: Delete, row: str
) -> None:
    fill(url, 60)
    with psycopg.connect(url) as other:
        other.execute(f"select from pgchroma.{row} order by id desc limit 1 for share")
        with pytest.raises(errors.DeadlineExceededError, match="nothing was changed"):
            delete(client)
    assert client.count_collections() == 60
    for collection in client.list_collections():
        assert collection.get()["ids"] == ["1"]
    assert rows(url, DISCARDED) == []
    assert_whole(url)
    delete(client)
    assert rows(url, "select count(*) from pgchroma.collections") == [0]


def test_a_foreign_object_stops_a_deletion_before_anything_is_deleted(
    client: pgchroma.ClientAPI, url: str, delete: Delete
) -> None:
    admin_of(client).create_database("another")
    fill(url, 2, "another")
    (table, _) = fill(url, 2)
    schema = "default_tenant__default_database"
    objects = {
        "table": f"{schema}.mine (x int)",
        "function": f"{schema}.mine() returns int language sql as 'select 1'",
        "type": f"{schema}.mine as (x int)",
        "view": f"public.mine as select * from {table}",
    }
    for kind, object in objects.items():
        rows(url, f"create {kind} {object}")
        with pytest.raises(errors.InvalidArgumentError, match=r"mine.*drop"):
            delete(client)
        assert rows(url, "select count(*) from pgchroma.collections") == [4]
        rows(url, f"drop {kind} {object.split(' ')[0]}")
    # Statistics of a table go with it.
    rows(url, f"create statistics {schema}.mine on id, document from {table}")
    delete(client)
    assert rows(url, DISCARDED) == []


def test_a_lost_connection_leaves_nothing_that_is_not_gone_on_with(
    url: str, client: pgchroma.ClientAPI, delete: Delete
) -> None:
    tables = fill(url, 3)
    with reading(url, *tables):
        delete(client)
    assert rows(url, DISCARDED) != []
    # The compactor of another client checks with its first write.
    _create_default(client)
    with pgchroma.PostgresClient(url) as other:
        other.create_collection("papers").add(ids="1", embeddings=[1.0])
        eventually(lambda: rows(url, DISCARDED) == [])
    assert_whole(url)


@pytest.mark.heavy
def test_the_compactor_drops_what_the_caller_did_not_wait_for(url: str, delete: Delete) -> None:
    tables = fill(url, 70)
    with pgchroma.PostgresClient(url, pgchroma.Settings(allow_reset=True)) as client:
        with reading(url, *tables):
            delete(client)
        _create_default(client)
        eventually(lambda: rows(url, DISCARDED) == [] or not _nudge(client))
    assert_whole(url)


def _nudge(client: pgchroma.ClientAPI) -> bool:
    admin_of(client).create_database("nudge")
    admin_of(client).delete_database("nudge")
    return True


def test_one_table_that_cannot_be_dropped_keeps_no_other(
    client: pgchroma.ClientAPI, url: str, delete: Delete
) -> None:
    tables = fill(url, 4)
    left = "select count(*) from pg_class where relname like 'records%' and relkind = 'r'"
    with reading(url, tables[0]):
        delete(client)
        assert rows(url, left) == [1]


def test_a_stale_client_finds_nothing_of_a_recreated_database(
    client: pgchroma.ClientAPI, url: str, delete: Delete
) -> None:
    tables = fill(url, 1)
    with pgchroma.PostgresClient(url, SETTINGS) as stale:
        papers = stale.get_collection("papers-0")
        for _ in range(8):
            papers.upsert(ids="1", embeddings=[1.0, 0.0])
        with reading(url, *tables):
            delete(client)
            _create_default(client)
            client.create_collection("papers-0")
            for call in (
                lambda: papers.upsert(ids="2", embeddings=[1.0, 0.0]),
                papers.get,
                lambda: papers.query(query_embeddings=[1.0, 0.0]),
                lambda: papers.delete(ids="1"),
            ):
                with pytest.raises(errors.NotFoundError):
                    call()
        assert client.get_collection("papers-0").count() == 0


@pytest.mark.parametrize("ending", ["commit", "rollback"])
def test_a_deletion_is_part_of_the_callers_transaction(
    url: str, client: pgchroma.ClientAPI, delete: Delete, ending: str
) -> None:
    fill(url, 30)
    engine = create_engine("postgresql+psycopg://", creator=lambda: psycopg.connect(url))
    with engine.connect() as connection:
        connection.execute(text("set local lock_timeout = '7s'"))
        delete(pgchroma.PostgresClient(connection, SETTINGS))
        assert connection.execute(text("show lock_timeout")).scalar() == "7s"
        assert client.count_collections() == 30
        getattr(connection, ending)()
    engine.dispose()
    _create_default(client)
    assert client.count_collections() == (30 if ending == "rollback" else 0)
    assert_whole(url)


async def test_the_asynchronous_client_goes_on_too(url: str) -> None:
    tables = fill(url, 3)
    impatient = make_conninfo(url, options="-c lock_timeout=300")
    async with await pgchroma.AsyncPostgresClient(impatient, SETTINGS) as client:
        with reading(url, tables[2]):
            assert await client.reset() is True
        assert await client.reset() is True
        assert await client.count_collections() == 0
    assert rows(url, DISCARDED) == []


@pytest.mark.heavy
async def test_a_reset_of_many_collections_answers_before_they_are_dropped(mode: Any) -> None:
    fill(mode.conninfo, 70)
    assert await mode.reset() is True
    assert await mode.count_collections() == 0
    await (await mode.create_collection("papers-0")).add(ids="1", embeddings=[1.0])
    assert_whole(mode.conninfo)
    eventually(lambda: rows(mode.conninfo, DISCARDED) == [])
