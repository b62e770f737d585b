"""The disk space and memory that collections use, and that all of it is released."""

from __future__ import annotations

from typing import Any

import psycopg

import pgchroma


def _bytes(connection: psycopg.Connection[Any], pattern: str) -> int:
    row = connection.execute(
        "select coalesce(sum(pg_total_relation_size(c.oid)), 0)::bigint from pg_class as c "
        "join pg_namespace as n on n.oid = c.relnamespace "
        "where n.nspname = 'default_tenant__default_database' and c.relname like %s "
        "and c.relkind in ('r', 'S')",
        [pattern],
    ).fetchone()
    assert row is not None
    return int(row[0])


def test_an_empty_collection_takes_at_most_64_kb(
    client: pgchroma.ClientAPI, connection: psycopg.Connection[Any]
) -> None:
    collection = client.create_collection("papers")
    assert 0 < _bytes(connection, f"%{collection.id.hex}%") <= 64 * 1024


def test_nothing_is_left_of_a_deleted_collection(
    client: pgchroma.ClientAPI, connection: psycopg.Connection[Any]
) -> None:
    def relations() -> list[tuple[Any, ...]]:
        return connection.execute("select oid from pg_class order by oid").fetchall()

    before = relations()
    collection = client.create_collection("papers")
    collection.add(ids="1", embeddings=[1.0], documents="x" * 10_000)
    assert relations() != before
    client.delete_collection("papers")
    assert relations() == before


def test_people_read_the_same_data_through_the_collections_view(
    client: pgchroma.ClientAPI, connection: psycopg.Connection[Any]
) -> None:
    collection = client.create_collection("My.Papers-2024", metadata={"hnsw:space": "cosine"})
    view = 'default_tenant__default_database."My.Papers-2024"'
    query = f"select id, document, uri, metadata, embedding::text from {view} order by id"
    assert connection.execute(query).fetchall() == []
    collection.add(
        ids=["a", "b"],
        embeddings=[[1, 2], [3, 4]],
        documents=["x", None],
        metadatas=[{"k": 1}, None],
    )
    assert connection.execute(query).fetchall() == [
        ("a", "x", None, {"k": 1}, "[1,2]"),
        ("b", None, None, None, "[3,4]"),
    ]
    collection.modify(name="renamed")
    rows = connection.execute("select count(*) from default_tenant__default_database.renamed")
    assert rows.fetchone() == (2,)
    listed = connection.execute(
        "select tenant, database, collection, dimension, space from chroma.collections"
    ).fetchall()
    assert listed == [("default_tenant", "default_database", "renamed", 2, "cosine")]


def test_a_view_of_the_users_own_stops_the_drop_and_is_named(
    client: pgchroma.ClientAPI, connection: psycopg.Connection[Any]
) -> None:
    collection = client.create_collection("papers")
    collection.add(ids="a", embeddings=[1.0])
    schema = "default_tenant__default_database"
    connection.execute(f"create view {schema}.mine as select id from {schema}.papers")
    try:
        client.delete_collection("papers")
    except pgchroma.errors.InvalidArgumentError as error:
        assert "mine" in str(error)
    assert collection.count() == 1
