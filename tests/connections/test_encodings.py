"""Text goes as UTF-8, whatever else is set; databases that cannot hold it are refused."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from sqlalchemy import create_engine
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.orm import Session

import pgchroma
from pgchroma import errors
from pgchroma.embedded import EmbeddedPostgres

DOCUMENT = "é😀"


@pytest.mark.parametrize("by", ["variable", "database", "URL"])
def test_every_character_arrives(
    url: str, connection: psycopg.Connection[Any], monkeypatch: pytest.MonkeyPatch, by: str
) -> None:
    name = str(conninfo_to_dict(url)["dbname"])
    match by:
        case "variable":
            monkeypatch.setenv("PGCLIENTENCODING", "LATIN1")
        case "database":
            alter = sql.SQL("alter database {} set client_encoding = 'LATIN1'")
            connection.execute(alter.format(sql.Identifier(name)))
        case _:
            url = make_conninfo(url, client_encoding="LATIN1")
    with pgchroma.PostgresClient(url) as client:
        collection = client.create_collection("papers", embedding_function=None)
        collection.add(ids="ü", documents=DOCUMENT, embeddings=[[1.0]], metadatas={"k": DOCUMENT})
        assert collection.get(where={"k": DOCUMENT})["documents"] == [DOCUMENT]


def _engine_url(url: str, encoding: str) -> str:
    known = conninfo_to_dict(url)
    place = f"postgresql+psycopg://{known['user']}@/{known['dbname']}?host={known['host']}"
    return f"{place}&client_encoding={encoding}"


async def test_an_engine_of_the_callers_that_sends_something_else_is_refused(url: str) -> None:
    engine, in_order = (create_engine(_engine_url(url, each)) for each in ("LATIN1", "UTF8"))
    match = "iso8859-1.*client_encoding=utf8"
    with pytest.raises(errors.InvalidArgumentError, match=match):
        pgchroma.PostgresClient(engine)
    with Session(engine) as session, pytest.raises(errors.InvalidArgumentError, match=match):
        pgchroma.PostgresClient(session)
    pgchroma.PostgresClient(in_order).close()
    asynchronous = create_async_engine(_engine_url(url, "LATIN1"))
    with pytest.raises(errors.InvalidArgumentError, match=match):
        await pgchroma.AsyncPostgresClient(asynchronous)
    engine.dispose()
    in_order.dispose()
    await asynchronous.dispose()


@pytest.mark.parametrize("encoding", ["LATIN1", "SQL_ASCII"])
def test_a_database_that_stores_something_else_is_refused_before_anything_is_made(
    server: EmbeddedPostgres, encoding: str
) -> None:
    name = sql.Identifier(f"stored_as_{encoding.lower()}")
    create = "create database {} encoding {} locale 'C' locale_provider libc template template0"
    with psycopg.connect(server.conninfo, autocommit=True) as connection:
        connection.execute(sql.SQL(create).format(name, sql.Literal(encoding)))
        url = make_conninfo(server.conninfo, dbname=f"stored_as_{encoding.lower()}")
        with pytest.raises(errors.VersionMismatchError, match=encoding) as raised:
            pgchroma.PostgresClient(url)
        with psycopg.connect(url) as refused:
            made = "select count(*) from pg_namespace where nspname in ('pgchroma', 'chroma')"
            assert refused.execute(made).fetchone() == (0,)
        # The message has the statement that creates a suitable database.
        statement = raised.value.message().split("UTF-8: ", 1)[1]
        connection.execute(statement.encode())
        other = make_conninfo(server.conninfo, dbname=f"stored_as_{encoding.lower()}_utf8")
        pgchroma.PostgresClient(other).close()
        for each in (f"stored_as_{encoding.lower()}", f"stored_as_{encoding.lower()}_utf8"):
            drop = sql.SQL("drop database {} with (force)")
            connection.execute(drop.format(sql.Identifier(each)))
