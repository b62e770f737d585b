"""Tenants and databases."""

from __future__ import annotations

import copy
import json
import pickle
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import psycopg
import pytest

import pgchroma
from pgchroma import errors
from pgchroma.client._async.client import AsyncAdminClient
from pgchroma.client._sync.client import AdminClient
from tests.conftest import Mode


@pytest.fixture
async def admin(mode: Any) -> AsyncIterator[Any]:
    client = mode.target
    facade = AsyncAdminClient if isinstance(client, pgchroma.AsyncClientAPI) else AdminClient
    yield Mode(facade(client._backend), mode.conninfo)


async def test_the_default_tenant_and_database_are_there(admin: Any) -> None:
    assert (await admin.get_tenant("default_tenant")).name == "default_tenant"
    database = await admin.get_database("default_database")
    assert database.id == UUID(int=0)


async def test_tenants_and_databases_are_mappings(admin: Any) -> None:
    await admin.create_tenant("acme")
    await admin.create_database("one", "acme")
    tenant = await admin.get_tenant("acme")
    assert tenant == {"name": "acme"}
    assert (tenant["name"], dict(tenant), json.loads(json.dumps(tenant))) == (
        "acme", {"name": "acme"}, {"name": "acme"},
    )  # fmt: skip
    database = await admin.get_database("one", "acme")
    assert dict(database) == {"id": str(database.id), "name": "one", "tenant": "acme"}
    assert json.loads(json.dumps(database)) == dict(database)
    assert {**database}["name"] == database.name == "one"
    assert await admin.list_databases(tenant="acme") == [database]
    for entity in (tenant, database):
        assert pickle.loads(pickle.dumps(entity)) == copy.deepcopy(entity) == entity


async def test_databases_of_a_tenant_are_listed_by_name(admin: Any) -> None:
    await admin.create_tenant("acme")
    assert await admin.list_databases(tenant="acme") == []
    for name in ("two", "one"):
        await admin.create_database(name, "acme")
    assert [d.name for d in await admin.list_databases(tenant="acme")] == ["one", "two"]
    assert [d.name for d in await admin.list_databases(1, 1, "acme")] == ["two"]
    assert await admin.list_databases(tenant="nobody") == []


async def test_taken_and_missing_names_are_told(admin: Any) -> None:
    await admin.create_tenant("acme")
    await admin.create_database("one", "acme")
    with pytest.raises(errors.UniqueConstraintError, match=r"Tenant \[acme\] already exists"):
        await admin.create_tenant("acme")
    with pytest.raises(errors.UniqueConstraintError, match=r"Database \[one\] already exists"):
        await admin.create_database("one", "acme")
    with pytest.raises(errors.NotFoundError, match=r"Tenant \[nope\] not found"):
        await admin.get_tenant("nope")
    with pytest.raises(errors.NotFoundError, match=r"Tenant \[nope\] not found"):
        await admin.create_database("one", "nope")
    with pytest.raises(errors.NotFoundError, match=r"Database \[nope\] not found"):
        await admin.get_database("nope", "acme")
    with pytest.raises(errors.NotFoundError, match=r"Database \[nope\] not found"):
        await admin.delete_database("nope", "acme")
    with pytest.raises(errors.InvalidArgumentError, match="at least 3 characters"):
        await admin.create_tenant("ab")
    with pytest.raises(errors.InvalidArgumentError, match="3-512 characters"):
        await admin.create_database("a b", "acme")


@pytest.mark.parametrize(
    ("tenant", "database"),
    [
        ("Ärger & Söhne", "db1"),
        ("pg_tenant", "catalog"),
        ("quote\"'; drop schema pgchroma; --", "db1"),
        ("x" * 300, "y" * 500),
        ("a__b", "ccc"),
        ("aaa", "b.c-d_e"),
        ("TENANT", "DATABASE"),
        ("PG_", "dbname"),
        ("pg!", "dbname"),
        ("日本語テナント", "db1"),
    ],
)
async def test_any_tenant_name_makes_a_schema_of_its_own(
    admin: Any, tenant: str, database: str
) -> None:
    await admin.create_tenant(tenant)
    await admin.create_database(database, tenant)
    with admin.beside(tenant=tenant, database=database) as client:
        client.create_collection("papers").add(ids="1", embeddings=[1.0])
        assert client.get_collection("papers").count() == 1
    with admin.beside() as other:
        assert other.count_collections() == 0
    await admin.delete_database(database, tenant)
    assert await admin.list_databases(tenant=tenant) == []


async def test_similar_names_do_not_share_a_schema(admin: Any) -> None:
    pairs = [("aaa", "b_c"), ("aaa_b", "ccc"), ("Aaa", "b_c"), ("aaa", "B_c"), ("aaa.", "b_c")]
    for tenant, database in pairs:
        if tenant not in {t for t, _ in pairs[: pairs.index((tenant, database))]}:
            await admin.create_tenant(tenant)
        await admin.create_database(database, tenant)
        with admin.beside(tenant=tenant, database=database) as client:
            assert client.count_collections() == 0
            client.create_collection("papers")


async def test_a_collection_is_not_found_from_another_tenant(admin: Any) -> None:
    await admin.create_tenant("acme")
    await admin.create_database("one", "acme")
    with admin.beside() as client:
        papers = client.create_collection("papers")
        papers.add(ids="1", embeddings=[1.0])
        client.set_tenant("acme", "one")
        with pytest.raises(errors.NotFoundError):
            client.get_collection("papers")
        with pytest.raises(errors.NotFoundError):
            client.get_collection_by_id(papers.id)
        assert papers.count() == 1


async def test_a_client_of_a_missing_tenant_or_database_is_refused(url: str) -> None:
    with pytest.raises(errors.NotFoundError, match=r"Tenant \[nope\]"):
        pgchroma.PostgresClient(url, tenant="nope")
    with pytest.raises(errors.NotFoundError, match=r"Database \[nope\]"):
        pgchroma.PostgresClient(url, database="nope")
    with pytest.raises(errors.NotFoundError, match=r"Database \[nope\]"):
        await pgchroma.AsyncPostgresClient(url, database="nope")


@pytest.mark.heavy
async def test_a_database_of_many_collections_is_dropped_whole(admin: Any) -> None:
    await admin.create_database("many")
    with admin.beside(database="many") as client:
        for number in range(120):
            collection = client.create_collection(f"collection-{number}")
            if number % 10 == 0:
                collection.add(ids="1", embeddings=[1.0])
    await admin.delete_database("many")
    with pytest.raises(errors.NotFoundError):
        await admin.get_database("many")


async def test_a_foreign_table_stops_the_drop_of_its_schema(
    admin: Any,
) -> None:
    await admin.create_database("shared_db")
    with admin.beside(database="shared_db") as client:
        client.create_collection("papers").add(ids="1", embeddings=[1.0])
    connection = psycopg.connect(admin.conninfo, autocommit=True)
    connection.execute("create table default_tenant__shared_db.mine (x int)")
    with pytest.raises(errors.InvalidArgumentError, match="mine"):
        await admin.delete_database("shared_db")
    with admin.beside(database="shared_db") as client:
        assert client.get_collection("papers").count() == 1
    connection.execute("drop table default_tenant__shared_db.mine")
    connection.close()
    await admin.delete_database("shared_db")


async def test_a_client_administers_its_tenant_and_others(mode: Any) -> None:
    await mode.create_tenant("acme")
    await mode.create_database("docs", "acme")
    await mode.create_database("more")
    assert (await mode.get_tenant("acme")).name == "acme"
    assert (await mode.get_database("more")).tenant == "default_tenant"
    assert [d.name for d in await mode.list_databases()] == ["default_database", "more"]
    await mode.set_tenant("acme", "docs")
    await mode.create_database("notes")
    assert [d.name for d in await mode.list_databases()] == ["docs", "notes"]
    assert [d.name for d in await mode.list_databases(1, 1)] == ["notes"]
    await mode.delete_database("notes")
    assert [d.name for d in await mode.list_databases(tenant="acme")] == ["docs"]
    with pytest.raises(errors.NotFoundError, match=r"Database \[more\] not found"):
        await mode.delete_database("more")
    await mode.delete_database("more", "default_tenant")


async def test_names_that_no_database_can_have_are_refused_as_chroma_does(
    mode: Any, admin: Any
) -> None:
    for name in ("", "ab"):
        for call in (mode.set_database, admin.get_database, admin.delete_database):
            with pytest.raises(errors.InvalidArgumentError, match="name must be at least 3 char"):
                await call(name)
    with pytest.raises(errors.NotFoundError, match=r"\[\]"):
        await mode.set_tenant("")
