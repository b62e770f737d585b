"""Tenants and databases in the user's PostgreSQL: by `AdminClient`, by the client, by commands."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest
from click.testing import Result
from sqlalchemy import create_engine
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.orm import Session

import pgchroma
from pgchroma import errors
from pgchroma.cli import main
from tests.administration.conftest import QUIET
from tests.commands import runner


@pytest.fixture
def engine(url: str) -> Iterator[Any]:
    made = create_engine("postgresql+psycopg://", creator=lambda: psycopg.connect(url))
    yield made
    made.dispose()


def _names(url: str, tenant: str = "default_tenant") -> list[str]:
    with pgchroma.AdminClient(url) as admin:
        return [database.name for database in admin.list_databases(tenant=tenant)]


@pytest.mark.parametrize("spelling", ["url", "keyword", "engine"])
def test_an_admin_client_takes_what_a_postgres_client_takes(
    url: str, engine: Any, spelling: str
) -> None:
    made = {
        "url": lambda: pgchroma.AdminClient(url),
        "keyword": lambda: pgchroma.AdminClient(url=url, settings=QUIET),
        "engine": lambda: pgchroma.AdminClient(engine),
    }[spelling]()
    with made as admin:
        admin.create_tenant("acme")
        admin.create_database("docs", "acme")
    with pgchroma.PostgresClient(url, QUIET, tenant="acme", database="docs") as client:
        assert client.count_collections() == 0


@pytest.mark.parametrize("owner", ["connection", "session"])
def test_an_admin_client_joins_the_callers_transaction(url: str, engine: Any, owner: str) -> None:
    with engine.connect() as connection:
        joined = connection if owner == "connection" else Session(connection)
        admin = pgchroma.AdminClient(joined)
        admin.create_database("undone")
        assert "undone" in [database.name for database in admin.list_databases()]
        joined.rollback()
    assert _names(url) == ["default_database"]


def test_an_admin_client_takes_a_servers_url(served: str) -> None:
    with pgchroma.AdminClient(served) as admin:
        assert admin.get_tenant("default_tenant").name == "default_tenant"


def test_settings_come_first_or_by_name_as_in_chroma(served: str) -> None:
    settings = pgchroma.Settings(
        chroma_api_impl="chromadb.api.fastapi.FastAPI", chroma_server_host=served
    )
    for admin in (pgchroma.AdminClient(settings), pgchroma.AdminClient(settings=settings)):
        assert "default_database" in [database.name for database in admin.list_databases()]
        admin.close()


async def test_asynchronous_clients_administer(url: str) -> None:
    admin = await pgchroma.AsyncPostgresClient(url, QUIET).admin()
    async with admin:
        await admin.create_tenant("acme")
    engine = create_async_engine(
        "postgresql+psycopg://", async_creator=lambda: psycopg.AsyncConnection.connect(url)
    )
    async with pgchroma.AsyncPostgresClient(engine, QUIET) as client:
        await client.create_database("docs", "acme")
        assert [d.name for d in await client.list_databases(tenant="acme")] == ["docs"]
    await engine.dispose()


def test_what_is_no_database_is_refused(url: str) -> None:
    for wrong in ("nonsense", 7, object()):
        with pytest.raises(errors.InvalidArgumentError):
            pgchroma.AdminClient(wrong)  # type: ignore[arg-type]


@pytest.fixture
def run(url: str, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    monkeypatch.delenv("PGCHROMA_PATH", raising=False)

    def run(*args: str, code: int = 0) -> Result:
        result = runner().invoke(main, args, env={"PGCHROMA_URL": url})
        assert result.exit_code == code, result.output
        assert "Traceback" not in result.output
        return result

    return run


def test_databases_are_created_listed_and_deleted(run: Callable[..., Result], url: str) -> None:
    run("tenants", "create", "acme")
    run("db", "create", "docs", "--tenant", "acme")
    run("db", "create", "notes", "--tenant", "acme")
    assert run("db", "list", "--tenant", "acme").stdout.split() == ["docs", "notes"]
    assert run("db", "list").stdout.split() == ["default_database"]
    (first, _) = json.loads(run("db", "list", "--tenant", "acme", "--json").stdout)
    assert (first["name"], first["tenant"]) == ("docs", "acme")
    with pgchroma.PostgresClient(url, QUIET, tenant="acme", database="docs") as client:
        client.create_collection("papers").add(ids="1", embeddings=[1.0])
    assert "pass --yes" in run("db", "delete", "docs", "--tenant", "acme", code=2).stderr
    run("db", "delete", "docs", "--tenant", "acme", "--yes")
    run("db", "delete", "notes", "--tenant", "acme", "--yes")
    assert _names(url, "acme") == []


def test_tenants_are_created_listed_and_deleted(run: Callable[..., Result]) -> None:
    run("tenants", "create", "acme")
    assert run("tenants", "list").stdout.split() == ["acme", "default_tenant"]
    assert json.loads(run("tenants", "list", "--json").stdout)[0] == {
        "name": "acme",
        "resource_name": None,
    }
    run("db", "create", "docs", "--tenant", "acme")
    assert "docs; delete them first" in run("tenants", "delete", "acme", "--yes", code=2).stderr
    run("db", "delete", "docs", "--tenant", "acme", "--yes")
    run("tenants", "delete", "acme", "--yes")
    assert run("tenants", "list").stdout.split() == ["default_tenant"]


def test_keys_of_a_deleted_tenant_end(run: Callable[..., Result]) -> None:
    run("tenants", "create", "acme")
    run("keys", "create", "ci", "--role", "read", "--tenant", "acme")
    run("tenants", "delete", "acme", "--yes")
    assert json.loads(run("keys", "list", "--json").stdout) == []


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("db", "create", "docs", "--tenant", "nobody"), 2, "Tenant [nobody] not found"),
        (("db", "list", "--tenant", "nobody"), 2, "Tenant [nobody] not found"),
        (("db", "delete", "nothing", "--yes"), 2, "Database [nothing] not found"),
        (("db", "create", "default_database"), 2, "already exists"),
        (("db", "create", "a b"), 2, "3-512 characters"),
        (("tenants", "create", "ab"), 2, "at least 3 characters"),
        (("tenants", "create", "default_tenant"), 2, "already exists"),
        (("tenants", "delete", "nobody", "--yes"), 2, "Tenant [nobody] not found"),
    ],
)
def test_mistakes_are_told_in_one_line(
    run: Callable[..., Result], arguments: tuple[str, ...], code: int, said: str
) -> None:
    result = run(*arguments, code=code)
    assert said in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_names_cannot_command_a_terminal(run: Callable[..., Result], url: str) -> None:
    with pgchroma.AdminClient(url) as admin:
        admin.create_tenant("evil\x1b[2J")
    assert "\x1b" not in run("tenants", "list").stdout
