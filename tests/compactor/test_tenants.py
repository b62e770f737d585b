"""Compaction with a role for each tenant: with the tenant's privileges and no others."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo

import pgchroma
from pgchroma import Knn, Schema, Search, SparseVector, SparseVectorIndexConfig
from pgchroma.catalog.upgrade import prepare
from pgchroma.client._sync.client import AdminClient
from pgchroma.compactor import state
from pgchroma.embedded import EmbeddedPostgres
from tests.compactor.conftest import (
    as_numbered,
    assert_right,
    compact,
    filled,
    indexes,
    more,
    searching,
    segments,
)
from tests.roles.conftest import copied, roles, rows

WITH_ROLES = pgchroma.Settings(
    allow_reset=True,
    pgchroma_role_per_tenant=True,
    pgchroma_compaction=False,
    pgchroma_segment_bytes=0,
)


@pytest.fixture(params=["superuser", "ordinary"])
def url(request: pytest.FixtureRequest, server: EmbeddedPostgres, template: str) -> Iterator[str]:
    """A database of the test's own; its user may be an ordinary one."""
    if request.param == "superuser":
        yield from copied(server, template, "pgchroma")
        return
    name, user = (f"{kind}_{uuid.uuid4().hex[:8]}" for kind in ("owned", "owner"))
    rows(server.conninfo, f"create role {user} login createrole")
    rows(server.conninfo, f"create database {name} template template0 owner {user}")
    made = make_conninfo(server.conninfo, dbname=name, user=user)
    rows(made, "create extension vector")
    rows(made, "revoke execute on function set_config(text, text, boolean) from public")
    rows(made, f"grant execute on function set_config(text, text, boolean) to {user}")
    with psycopg.connect(made, autocommit=True) as connection:
        prepare(connection)
    yield made
    left = roles(made)
    rows(server.conninfo, f"drop database {name} with (force)")
    for role in [*left, user]:
        drop = sql.SQL("drop role {}").format(sql.Identifier(role))
        rows(server.conninfo, drop.as_string(None))


@pytest.fixture
def client(url: str) -> Iterator[pgchroma.ClientAPI]:
    """A client of a tenant that has a role."""
    with pgchroma.PostgresClient(searching(url), WITH_ROLES) as direct:
        AdminClient(direct._backend).create_tenant("acme")
        AdminClient(direct._backend).create_database("docs", "acme")
        direct.set_tenant("acme", "docs")
        yield direct


def _role(url: str) -> str:
    found = rows(url, "select role_name from pgchroma.tenants where name = 'acme'")
    return str(found[0][0])


def _owners(url: str, collection: pgchroma.Collection) -> set[str]:
    found = rows(
        url,
        "select pg_get_userbyid(relowner)::text from pg_class "
        f"where relname ~ '{collection.id.hex}'",
    )
    return {owner for (owner,) in found}


def test_a_tenants_collection_gets_indexes_of_its_own(
    url: str, client: pgchroma.ClientAPI, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(state, "MAX_COUNT_ROWS", 1)
    collection = filled(client)
    more(collection, 100, start=300)
    collection.delete(ids=["0"])
    compact(url)
    assert len(segments(url, collection)) == 1
    assert list(indexes(url, collection).values()) == [True]
    assert _owners(url, collection) == {_role(url)}
    records = as_numbered((0, 300), (300, 100))
    del records["0"]
    assert_right(collection, records)
    assert collection.explain(query_embeddings=[[0.0] * 8]).segments
    assert collection.get_indexing_status().op_indexing_progress == 1.0
    assert rows(url, f"select count(*) from acme__docs.counts_{collection.id.hex}") == [(1,)]


def _tie(url: str, collection: pgchroma.Collection) -> None:
    """Attach functions of the tenant to its tables, which run when these are changed or read."""
    role = _role(url)
    counts, vectors = (f"acme__docs.{kind}_{collection.id.hex}" for kind in ("counts", "vectors"))
    with psycopg.connect(make_conninfo(url, user="pgchroma")) as plain:
        plain.execute(sql.SQL("set role {}").format(sql.Identifier(role)))
        plain.execute("create table acme__docs.caught (who text, what text)")
        plain.execute("grant all on acme__docs.caught to public")
        plain.execute("grant usage on schema acme__docs to public")
        plain.execute(
            "create function acme__docs.catch() returns trigger language plpgsql as $$ begin "
            "insert into acme__docs.caught values (current_user, tg_table_name); "
            "return coalesce(old, new); end $$"
        )
        for table in (counts, vectors):
            plain.execute(
                f"create trigger catch before delete on {table} "
                "for each row execute function acme__docs.catch()"
            )
        # The condition of a policy runs as the role that reads.
        plain.execute(
            "create function acme__docs.peep() returns boolean language plpgsql as $$ begin "
            "insert into acme__docs.caught values (current_user, 'read'); return true; end $$"
        )
        plain.execute(f"alter table {counts} rename to real_counts")
        plain.execute(
            f"create view {counts} as select * from acme__docs.real_counts where acme__docs.peep()"
        )


def test_what_a_tenant_tied_to_its_tables_runs_with_its_rights_alone(
    url: str, client: pgchroma.ClientAPI, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(state, "MAX_COUNT_ROWS", 1)
    collection = filled(client)
    more(collection, 100, start=300)
    rows(
        url,
        f"insert into acme__docs.vectors_{collection.id.hex} (pos, seq, embedding) "
        "values (100000, 1, '[1,2,3,4,5,6,7,8]')",
    )
    _tie(url, collection)
    compact(url)
    caught = rows(url, "select distinct who, what from acme__docs.caught order by 2")
    assert {who for who, _ in caught} == {_role(url)}
    assert "read" in {what for _, what in caught}
    assert f"vectors_{collection.id.hex}" in {what for _, what in caught}


def test_tables_that_were_made_without_roles_are_no_hindrance(
    url: str, client: pgchroma.ClientAPI
) -> None:
    early = client.create_collection("early", configuration={"hnsw": {"sync_threshold": 100}})
    without = WITH_ROLES.model_copy(update={"pgchroma_role_per_tenant": False})
    with pgchroma.PostgresClient(url, without, tenant="acme", database="docs") as plain:
        # Its vectors are the user's, its records the tenant's; of the other all is the user's.
        more(plain.get_collection("early", embedding_function=None), 150)
        late = filled(plain, "late")
    assert len(_owners(url, early)) == 2
    compact(url)
    for collection in (early, late):
        assert list(indexes(url, collection).values()) == [True]


def test_another_tenants_compaction_shows_nothing(url: str, client: pgchroma.ClientAPI) -> None:
    filled(client)
    compact(url)
    admin = AdminClient(client._backend)
    admin.create_tenant("other")
    admin.create_database("docs", "other")
    client.set_tenant("other", "docs")
    collection = filled(client, "mine")
    status: Any = collection.get_indexing_status()
    assert status.total_ops == 300
    compact(url)
    assert collection.get_indexing_status().num_unindexed_ops == 0


def test_a_tenants_sparse_vectors_become_blocks(url: str, client: pgchroma.ClientAPI) -> None:
    schema = Schema().create_index(SparseVectorIndexConfig(bm25=True), key="s")
    collection = client.create_collection("words", schema, embedding_function=None)
    vectors = [SparseVector([n % 7, 7 + n % 5], [1.0, 0.5]) for n in range(200)]
    collection.add(
        [str(n) for n in range(200)],
        embeddings=[[1.0]] * 200,
        metadatas=[{"s": vector} for vector in vectors],
    )
    search = Search(rank=Knn(SparseVector([3, 8], [1.0, 1.0]), key="s", limit=200), limit=200)
    before = collection.search(search)["ids"]
    collection.delete(ids=before[0][:1])
    compact(url)
    assert collection.search(search)["ids"][0] == before[0][1:]
    name = f"acme__docs.sparse_{collection.id.hex}_0"
    assert rows(url, f"select vectors, removed from {name}_blocks") == [(199, 0)]
    assert rows(url, f"select count(*) from {name}_changes") == [(0,)]
    assert _owners(url, collection) == {_role(url)}
