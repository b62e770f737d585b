"""Whatever works without roles works with them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID

import psycopg
import pytest
from sqlalchemy import create_engine

import pgchroma
from pgchroma import Knn, Schema, Search, SparseVector, SparseVectorIndexConfig, Text, errors
from pgchroma.client._sync.client import AdminClient
from pgchroma.embedded import EmbeddedPostgres
from pgchroma.model import operations
from pgchroma.model.entities import DatabaseRef
from pgchroma.store.roles import group_name, role_name
from tests.roles.conftest import SETTINGS, admin_of, database_of, roles, rows
from tests.server_process import eventually

PLAIN = pgchroma.Settings(allow_reset=True)


def _owners(url: str, schema: str) -> set[str]:
    owners = (
        "select pg_get_userbyid(unnest(array[n.nspowner, c.relowner]))::text from pg_namespace n "
        "left join pg_class c on c.relnamespace = n.oid where n.nspname = %s"
    )
    return {owner for (owner,) in rows(url, owners, schema)} - {None}


def _role_of(url: str, tenant: str) -> str:
    found = rows(url, "select role_name from pgchroma.tenants where name = %s", tenant)
    return str(found[0][0])


async def test_a_tenant_lives_its_life_in_its_role(mode: Any, url: str) -> None:
    admin = admin_of(mode)
    await admin.create_tenant("acme")
    await admin.create_database("docs", "acme")
    assert (await admin.get_tenant("acme")).name == "acme"
    assert [d.name for d in await admin.list_databases(tenant="acme")] == ["docs"]
    await mode.set_tenant("acme", "docs")
    schema = Schema().create_index(SparseVectorIndexConfig(bm25=True), key="sp")
    text: Any = {"text": {"language": "english"}}
    papers = await mode.create_collection("papers", schema, text, metadata={"k": 1})
    await papers.add(
        ids=["a", "b", "c"],
        embeddings=[[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]],
        documents=["red fox", "blue fox", "red hen"],
        metadatas=[{"n": 1}, {"n": 2}, {"n": 3}],
    )
    assert (await papers.query(query_embeddings=[1.0, 0.0], n_results=2))["ids"] == [["a", "c"]]
    assert (await papers.get(where={"n": {"$gte": 2}}))["ids"] == ["b", "c"]
    assert (await papers.get(where_document={"$regex": "r.d"}))["ids"] == ["a", "c"]
    sparse = SparseVector([1, 2**32 - 1], [1.0, 2.0])
    await papers.update(ids="a", metadatas={"n": 9, "sp": sparse}, embeddings=[5.0, 5.0])
    found = await papers.search(Search(rank=Knn(sparse, key="sp"), select=["sp"]))
    assert (found["ids"], found["metadatas"]) == ([["a"]], [[{"sp": sparse}]])
    assert (await papers.search(Search(rank=Text("foxes"))))["ids"] == [["a", "b"]]
    assert (await papers.get(where_document={"$matches": "red -fox"}))["ids"] == ["c"]
    await papers.upsert(ids=["c", "d"], embeddings=[[2.0, 2.0], [3.0, 3.0]])
    assert (await papers.delete(where_document={"$contains": "blue"}))["deleted"] == 1
    assert (await papers.get())["ids"] == ["a", "c", "d"]
    assert await papers.count() == 3
    await papers.modify(name="texts", metadata={"k": 2})
    assert (await mode.get_or_create_collection("texts")).metadata == {"k": 2}
    assert [c.name for c in await mode.list_collections()] == ["texts"]
    assert _owners(url, "acme__docs") == {_role_of(url, "acme")}
    with pytest.raises(errors.UniqueConstraintError):
        await mode.create_collection("texts")
    await mode.create_collection("drafts")
    await mode.delete_collection("drafts")
    with pytest.raises(errors.NotFoundError):
        await mode.get_collection("drafts")
    await admin.delete_database("docs", "acme")
    assert rows(url, "select to_regnamespace('acme__docs')") == [(None,)]


async def test_reset_leaves_no_roles_of_tenants_that_are_gone(mode: Any, url: str) -> None:
    admin = admin_of(mode)
    for tenant in ("one", "two"):
        await admin.create_tenant(tenant)
        await admin.create_database("docs", tenant)
    await mode.create_collection("papers")
    assert len(roles(url)) == 4
    await mode.reset()
    database = database_of(url)
    assert roles(url) == sorted([group_name(database), role_name(database, "default_tenant")])
    await (await mode.create_collection("papers")).add(ids="1", embeddings=[1.0])


def test_a_recreated_tenant_does_not_reach_the_data_of_the_old_one(
    client: Any, admin: Any, url: str
) -> None:
    admin.create_tenant("acme")
    admin.create_database("docs", "acme")
    client.set_tenant("acme", "docs")
    papers = client.create_collection("papers")
    papers.add(ids="secret", embeddings=[1.0])
    role = _role_of(url, "acme")
    with psycopg.connect(url) as reader:
        reader.execute(f"select from acme__docs.records_{papers.id.hex}")
        client.reset()
        # Its objects cannot be dropped yet, so the role still exists.
        assert role in roles(url)
        admin.create_tenant("acme")
        admin.create_database("docs", "acme")
        client.set_tenant("acme", "docs")
        assert client.create_collection("papers").get()["ids"] == []
        assert _role_of(url, "acme") == role
        (schema,) = rows(
            url,
            "select n.nspname::text from pg_namespace as n join pg_class as c "
            f"on c.relnamespace = n.oid where c.relname = 'records_{papers.id.hex}'",
        )[0]
        with psycopg.connect(url) as smuggled:
            smuggled.execute(f'set role "{role}"')
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                smuggled.execute(f'select from "{schema}".records_{papers.id.hex}')
    client.reset()
    assert rows(url, f"select to_regnamespace('\"{schema}\"')") == [(None,)]
    assert role not in roles(url)


def test_tenants_with_the_same_names_keep_apart(client: Any, admin: Any) -> None:
    for tenant in ("one", "two"):
        admin.create_tenant(tenant)
        admin.create_database("docs", tenant)
        client.set_tenant(tenant, "docs")
        client.create_collection("papers").add(ids=tenant, embeddings=[1.0])
    for tenant in ("one", "two"):
        client.set_tenant(tenant, "docs")
        assert client.get_collection("papers").get()["ids"] == [tenant]


def test_what_was_there_before_is_handed_over(url: str, make_client: Callable[..., Any]) -> None:
    plain = make_client(PLAIN)
    collections = [plain.create_collection(f"c-{n}") for n in range(60)]
    collections[0].add(ids="1", embeddings=[1.0])
    plain.create_collection("records_of_the_past")
    rows(url, "create table default_tenant__default_database.notes (x int)")
    walled = make_client()
    assert walled.get_collection("c-0").query(query_embeddings=[1.0])["ids"] == [["1"]]
    walled.get_collection("c-1").add(ids="1", embeddings=[1.0, 2.0])
    walled.get_collection("c-2").modify(name="other")
    walled.delete_collection("c-3")
    owners = _owners(url, "default_tenant__default_database")
    assert owners == {_role_of(url, "default_tenant"), "pgchroma"}
    rows(url, "drop table default_tenant__default_database.notes")
    assert len(_owners(url, "default_tenant__default_database")) == 1


def test_a_reader_in_the_way_of_the_policies_is_waited_for(url: str) -> None:
    pgchroma.PostgresClient(url, PLAIN).close()
    waiting = (
        "select count(*) from pg_locks where not granted "
        "and relation = 'pgchroma.databases'::regclass"
    )
    with psycopg.connect(url) as reader, ThreadPoolExecutor() as threads:
        reader.execute("select from pgchroma.databases")
        walled = threads.submit(pgchroma.PostgresClient, url, SETTINGS)
        eventually(lambda: rows(url, waiting) == [(1,)])
        # Each waits for a lock of the other. PostgreSQL cancels the one that has waited longer.
        reader.execute("select from pgchroma.tenants")
        reader.commit()
        with walled.result() as client:
            assert client.create_collection("papers").count() == 0


def test_roles_may_come_and_go_and_both_kinds_work_at_once(
    url: str, make_client: Callable[..., Any]
) -> None:
    plain, walled = make_client(PLAIN), make_client()
    walled.create_collection("walled").add(ids="1", embeddings=[1.0])
    plain.get_collection("walled").add(ids="2", embeddings=[1.0])
    plain.create_collection("plain").add(ids="1", embeddings=[1.0])
    assert walled.get_collection("plain").get()["ids"] == ["1"]
    walled.get_collection("plain").add(ids="2", embeddings=[1.0])
    admin = AdminClient(plain._backend)
    admin.create_database("other")
    walled.set_database("other")
    walled.create_collection("papers").add(ids="1", embeddings=[1.0])
    plain.reset()
    assert roles(url) == [group_name(database_of(url))]
    walled.set_tenant("default_tenant", "default_database")
    walled.create_collection("papers").add(ids="1", embeddings=[1.0])


def test_first_requests_at_once_make_one_role(url: str, make_client: Callable[..., Any]) -> None:
    admin = AdminClient(make_client(PLAIN)._backend)
    for number in range(3):
        admin.create_tenant(f"tenant-{number}")
        admin.create_database("docs", f"tenant-{number}")

    def use(number: int) -> str:
        place = {"tenant": f"tenant-{number % 3}", "database": "docs"}
        with pgchroma.PostgresClient(url, SETTINGS, **place) as client:
            papers = client.get_or_create_collection("papers")
            papers.add(ids=str(number), embeddings=[1.0])
            return str(papers.get(ids=str(number))["ids"][0])

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(use, range(8))) == list("01234567")
    assert len(roles(url)) == 4


def test_a_copy_of_the_database_goes_on(
    server: EmbeddedPostgres, url: str, make_client: Callable[..., Any]
) -> None:
    first = pgchroma.PostgresClient(url, SETTINGS)
    first.create_collection("papers").add(ids="1", embeddings=[1.0])
    first.close()
    name = database_of(url)
    owner = psycopg.conninfo.conninfo_to_dict(url)["user"]
    copy = psycopg.conninfo.make_conninfo(url, dbname=f"{name}_copy")
    rows(server.conninfo, f"create database {name}_copy template {name} owner {owner}")
    try:
        with pgchroma.PostgresClient(copy, SETTINGS) as client:
            assert client.get_collection("papers").get()["ids"] == ["1"]
            client.reset()
            client.create_collection("papers")
        assert make_client().get_collection("papers").get()["ids"] == ["1"]
    finally:
        rows(server.conninfo, f"drop database {name}_copy with (force)")


def test_the_callers_engine_serves_too(url: str) -> None:
    engine = create_engine("postgresql+psycopg://", creator=lambda: psycopg.connect(url))
    with pgchroma.PostgresClient(engine, SETTINGS) as client:
        papers = client.create_collection("papers")
        papers.add(ids="1", embeddings=[1.0])
        assert papers.get()["ids"] == ["1"]
    with (
        engine.connect() as connection,
        pytest.raises(errors.InvalidArgumentError, match="this one is yours"),
    ):
        pgchroma.PostgresClient(connection, SETTINGS)
    engine.dispose()


def test_only_these_operations_run_as_the_login_role() -> None:
    """All others name the tenant whose role executes them; a new operation has to choose."""
    names = {name for name in operations.__all__ if name not in _NO_OPERATIONS}
    assert names - {name for name in names if _acting_tenant(name) == "acme"} == {
        *("CreateTenant", "DeleteTenant", "ListTenants", "UpdateTenant"),
        *("CreateDatabase", "DeleteDatabase", "Reset"),
        *("GetCollectionByCrn", "GetIdentity", "GetVersion", "Heartbeat"),
    }


_NO_OPERATIONS = {"CollectionRef", "Operation", "Read", "WriteRecords"}


def _acting_tenant(name: str) -> str | None:
    kind: Any = getattr(operations, name)
    ref = operations.CollectionRef(DatabaseRef("acme", "docs"), UUID(int=0))
    values = {"scope": ref.scope, "collection": ref, "query": operations.CountRecords(ref)}
    made = kind(*(values.get(field.name, "acme") for field in dataclasses.fields(kind)))
    assert isinstance(made, operations.Operation)
    return made.acting_tenant


def test_names_of_roles_are_short_readable_and_apart() -> None:
    long = role_name("d" * 63, "Ünïcode / tenant of very many letters " * 9)
    assert len(long.encode()) <= 63
    assert role_name("app", "acme").startswith("pgchroma:app:acme:")
    assert group_name("app").startswith("pgchroma:app:")
    names = [role_name(*pair) for pair in (("a", "b"), ("a", "B"), ("a:b", ""), ("A", "b"))]
    assert len({*names, group_name("a"), group_name("a:b")}) == 6
