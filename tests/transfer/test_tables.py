"""Tables of other programs: the statements below are those that the programs execute."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from pgchroma.catalog.upgrade import prepare
from pgchroma.config import Settings
from pgchroma.errors import ChromaError, InvalidArgumentError
from pgchroma.transfer.opening import SourceOptions, open_database
from pgchroma.transfer.readers.tables.source import TablesSource, find_tables
from pgchroma.transfer.source import SourceBatch, SourceCollection

LANGCHAIN = """
create table langchain_pg_collection (
    uuid uuid not null primary key, name varchar not null unique, cmetadata json
);
create table langchain_pg_embedding (
    id varchar not null primary key, collection_id uuid, embedding vector, document varchar,
    cmetadata jsonb,
    foreign key (collection_id) references langchain_pg_collection (uuid) on delete cascade
);
insert into langchain_pg_collection values
    ('00000000-0000-0000-0000-000000000001', 'letters', '{"topic": "x"}'),
    ('00000000-0000-0000-0000-000000000002', 'empty', null);
insert into langchain_pg_embedding values
    ('b', '00000000-0000-0000-0000-000000000001', '[1,2]', 'two', '{"n": 1, "f": 1.0, "b": true}'),
    ('a', '00000000-0000-0000-0000-000000000001', '[0.1,3]', 'one', null)
"""
"""langchain-postgres 0.0.19, `PGVector`."""

LANGCHAIN_STORE = """
create table "my store" (
    "langchain_id" uuid primary key, "content" text not null, "embedding" vector(2) not null,
    "n" integer, "langchain_metadata" json
);
insert into "my store" values
    ('00000000-0000-0000-0000-000000000009', 'nine', '[1,2]', 9, '{"k": "v"}'),
    ('00000000-0000-0000-0000-000000000008', 'eight', '[3,4]', null, null)
"""
"""langchain-postgres 0.0.19, `PGVectorStore`."""

LLAMA_INDEX = """
create table data_llama (
    id bigserial not null primary key, text varchar not null, metadata_ jsonb, node_id varchar,
    embedding halfvec(2), sparse_embedding sparsevec(9)
);
create index on data_llama using hnsw (embedding halfvec_ip_ops);
insert into data_llama (text, metadata_, node_id, embedding, sparse_embedding) values
    ('one', '{"doc_id": "None"}', 'n1', '[1,2]', '{1:0.1,5:2}/9'),
    ('two', null, 'n2', '[0.1,2]', null)
"""
"""llama-index-vector-stores-postgres, `PGVectorStore` with half precision and sparse vectors."""

VECS = """
create schema vecs;
create table vecs.docs (
    id varchar not null primary key, vec vector(2) not null,
    metadata jsonb default '{}' not null
);
create index on vecs.docs using hnsw (vec vector_l2_ops) with (m = 16, ef_construction = 64);
insert into vecs.docs values ('v2', '[1,2]', '{"n": 2}'), ('v1', '[3,4]', '{}')
"""
"""vecs 0.4.5."""

OWN = """
create table own (key text, vector vector(1), body text, at timestamptz, amount numeric);
insert into own values
    ('k', '[1]', 'text', '2026-01-02 03:04:05+00', 1.5), (null, '[2]', '', null, 2)
"""


@pytest.fixture
def theirs(empty_url: str) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(empty_url, autocommit=True) as connection:
        connection.execute("create extension vector")
        yield connection


def read(url: str, **options: Any) -> dict[str, tuple[SourceCollection, list[SourceBatch]]]:
    with TablesSource(url, **options) as source:
        return {each.name: (each, list(source.batches(each, 1))) for each in source.collections()}


def rows(batches: list[SourceBatch]) -> list[tuple[Any, ...]]:
    return [
        (
            batch.ids[0],
            None if batch.embeddings[0] is None else batch.embeddings[0].tolist(),
            batch.documents[0],
            batch.metadatas[0],
        )
        for batch in batches
    ]


def space(collection: SourceCollection) -> str:
    return str(collection.configuration["hnsw"]["space"])


def test_tables_of_langchain(theirs: psycopg.Connection[Any], empty_url: str) -> None:
    theirs.execute(LANGCHAIN)
    found = read(empty_url)
    assert list(found) == ["empty", "letters"]
    collection, batches = found["letters"]
    assert (collection.metadata, collection.count, space(collection)) == (
        {"topic": "x"},
        2,
        "cosine",
    )
    assert rows(batches) == [
        ("a", [pytest.approx(0.1), 3.0], "one", None),
        ("b", [1.0, 2.0], "two", {"n": 1, "f": 1.0, "b": True}),
    ]
    metadata = batches[1].metadatas[0] or {}
    assert [type(metadata[key]) for key in ("n", "f", "b")] == [int, float, bool]
    assert found["empty"][1] == []


def test_a_store_of_langchain(theirs: psycopg.Connection[Any], empty_url: str) -> None:
    theirs.execute(LANGCHAIN_STORE)
    collection, batches = read(empty_url)["my store"]
    assert (collection.dimension, collection.count) == (2, 2)
    id = "00000000-0000-0000-0000-00000000000"
    assert rows(batches) == [
        (f"{id}8", [3.0, 4.0], "eight", {"n": None}),
        (f"{id}9", [1.0, 2.0], "nine", {"k": "v", "n": 9}),
    ]


def test_a_table_of_llama_index(theirs: psycopg.Connection[Any], empty_url: str) -> None:
    theirs.execute(LLAMA_INDEX)
    collection, batches = read(empty_url)["llama"]
    assert space(collection) == "ip"
    sparse = {"#type": "sparse_vector", "indices": [0, 4], "values": [0.1, 2.0]}
    assert rows(batches) == [
        ("n1", [1.0, 2.0], "one", {"doc_id": "None", "sparse_embedding": sparse}),
        ("n2", [pytest.approx(0.1, abs=1e-3), 2.0], "two", None),
    ]


def test_collections_of_vecs(theirs: psycopg.Connection[Any], empty_url: str) -> None:
    theirs.execute(VECS)
    collection, batches = read(empty_url)["docs"]
    assert (space(collection), space(read(empty_url, space="ip")["docs"][0])) == ("l2", "ip")
    assert rows(batches) == [("v1", [3.0, 4.0], None, {}), ("v2", [1.0, 2.0], None, {"n": 2})]


def test_a_table_can_be_named(theirs: psycopg.Connection[Any], empty_url: str) -> None:
    theirs.execute(OWN)
    theirs.execute(VECS)
    assert list(read(empty_url)) == ["docs"]
    chosen = {"id": "key", "document": "body"}
    _, batches = read(empty_url, tables=["public.own"], chosen=chosen)["own"]
    assert rows(batches) == [
        ("k", [1.0], "text", {"at": "2026-01-02T03:04:05+00:00", "amount": 1.5}),
        (None, [2.0], "", {"at": None, "amount": 2}),
    ]
    with pytest.raises(InvalidArgumentError, match=r"no column of ids: name one with --column id"):
        read(empty_url, tables=["own"])
    with pytest.raises(InvalidArgumentError, match=r"no table 'nope'.*public\.own, vecs\.docs"):
        read(empty_url, tables=["nope"])
    theirs.execute("create schema other; create table other.own (id int, v vector)")
    with pytest.raises(InvalidArgumentError, match=r"ambiguous: other\.own, public\.own"):
        read(empty_url, tables=["own"])


def test_reading_can_begin_later(theirs: psycopg.Connection[Any], empty_url: str) -> None:
    theirs.execute(VECS)
    with TablesSource(empty_url) as source:
        (collection,) = source.collections()
        assert [batch.ids for batch in source.batches(collection, 5, skip=1)] == [["v2"]]


def test_what_a_database_has_is_found_out(theirs: psycopg.Connection[Any], empty_url: str) -> None:
    settings = Settings(migrations="validate", pgchroma_compaction=False)

    def opened(**options: Any) -> str:
        return type(open_database(empty_url, SourceOptions(**options), settings)).__name__

    with pytest.raises(InvalidArgumentError, match=r"has nothing to read.*name a table with"):
        opened()
    theirs.execute(VECS)
    assert opened() == "TablesSource"
    prepare(theirs)
    with pytest.raises(InvalidArgumentError, match="choose with --read pgchroma or --read tables"):
        opened()
    assert opened(kind="pgchroma") == "BackendSource"
    assert opened(kind="tables") == opened(tables=("docs",)) == "TablesSource"
    theirs.execute("drop schema vecs cascade")
    assert opened() == "BackendSource"


def test_messages_have_no_password() -> None:
    url = "postgresql://app:sesame@127.0.0.1:1/app"
    with pytest.raises(ChromaError) as error:
        find_tables(url)
    assert "app@127.0.0.1:1/app" in str(error.value)
    assert "sesame" not in str(error.value)
    source = TablesSource(url)
    assert "sesame" not in f"{source.describe()}{source!r}"
