"""pgvector in a separate schema, and connections whose search path does not include it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from sqlalchemy import create_engine, text
from sqlalchemy.orm import Session

import pgchroma
from pgchroma import errors
from tests.server_process import eventually


@pytest.fixture
def reader(elsewhere_url: str) -> Iterator[str]:
    """A user who may not use the schema of the extension."""
    name = f"r_{conninfo_to_dict(elsewhere_url)['dbname']}"
    role = sql.Identifier(name)
    with psycopg.connect(elsewhere_url, autocommit=True) as connection:
        connection.execute(sql.SQL("create role {} login").format(role))
        yield name
        connection.execute(sql.SQL("drop owned by {} cascade").format(role))
        connection.execute(sql.SQL("drop role {}").format(role))


def _filled(client: pgchroma.ClientAPI) -> pgchroma.Collection:
    configuration: Any = {"hnsw": {"space": "cosine", "sync_threshold": 50}}
    collection = client.create_collection(
        "papers", configuration=configuration, embedding_function=None
    )
    rows = range(1, 201)
    collection.add(
        ids=[str(row) for row in rows],
        embeddings=[[float(row), 1.0] for row in rows],
        documents=[f"number {row}" for row in rows],
    )
    return collection


def test_an_index_is_built_and_searched(elsewhere_url: str) -> None:
    settings = pgchroma.Settings(pgchroma_segment_bytes=0)
    with pgchroma.PostgresClient(elsewhere_url, settings) as client:
        collection = _filled(client)
        with psycopg.connect(elsewhere_url, autocommit=True) as connection:
            ready = "select count(*) from pgchroma.segments where is_ready"
            assert eventually(lambda: connection.execute(ready).fetchone() != (0,))
        assert collection.query(query_embeddings=[[1.0, 1.0]], n_results=1)["ids"] == [["1"]]
        found = collection.get(where_document={"$contains": "number 77"})
        assert found["ids"] == ["77"]
        assert collection.recall(sample=5).recall >= 0.95


def test_a_transaction_of_the_callers_is_joined(elsewhere_url: str) -> None:
    known = conninfo_to_dict(elsewhere_url)
    url = f"postgresql+psycopg://{known['user']}@/{known['dbname']}?host={known['host']}"
    engine = create_engine(url)
    with Session(engine) as session:
        collection = _filled(pgchroma.PostgresClient(session))
        assert collection.query(query_embeddings=[[1.0, 1.0]], n_results=1)["ids"] == [["1"]]
        session.commit()
        assert session.execute(text("show search_path")).scalar() == '""'
    with pgchroma.PostgresClient(engine) as client:
        assert client.get_collection("papers", embedding_function=None).count() == 200
    engine.dispose()


def test_tenants_with_roles_of_their_own_find_it(elsewhere_url: str) -> None:
    settings = pgchroma.Settings(pgchroma_role_per_tenant=True)
    with pgchroma.PostgresClient(elsewhere_url, settings) as client:
        client.create_tenant("acme")
        client.create_database("docs", "acme")
        client.set_tenant("acme", "docs")
        collection = _filled(client)
        assert collection.query(query_embeddings=[[1.0, 1.0]], n_results=1)["ids"] == [["1"]]
        client.delete_collection("papers")


def test_extensions_are_made_in_public_where_no_path_leads_anywhere(empty_url: str) -> None:
    place = make_conninfo(empty_url, options="-c search_path=")
    with pgchroma.PostgresClient(place) as client:
        _filled(client)
    with psycopg.connect(empty_url) as connection:
        where = "select extnamespace::regnamespace::text from pg_extension where extname = 'vector'"
        assert connection.execute(where).fetchone() == ("public",)


def test_a_user_who_may_not_use_the_schema_is_told_the_grant(
    elsewhere_url: str, reader: str
) -> None:
    grant = f'grant usage on schema "extensions" to "{reader}"'
    settings = pgchroma.Settings(migrations="none")
    with pytest.raises(errors.MissingRightError, match=grant):
        pgchroma.PostgresClient(make_conninfo(elsewhere_url, user=reader), settings)
