"""Starting with roles: which starts are refused, which roles are made, and the planner's cost."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql

import pgchroma
from pgchroma import errors
from pgchroma.store.conditions.filters import FilterCompiler
from pgchroma.store.roles import group_name
from tests.roles.conftest import APP, SETTINGS, database_of, roles, rows
from tests.server_process import running

PERMISSIVE = pgchroma.Settings(pgchroma_role_per_tenant="permissive")


@pytest.fixture
def open_url(url: str) -> str:
    """A database whose users may all execute set_config, as they may in a new one."""
    rows(url, "grant execute on function set_config(text, text, boolean) to public")
    return psycopg.conninfo.make_conninfo(url, user=APP)


def _open(url: str, settings: pgchroma.Settings = SETTINGS) -> None:
    pgchroma.PostgresClient(url, settings).close()


@pytest.mark.parametrize("url", ["ordinary"], indirect=True)
def test_an_open_wall_is_refused_with_the_commands_that_close_it(open_url: str) -> None:
    rows(open_url, "revoke execute on function set_config(text, text, boolean) from app")
    rows(open_url, "grant create on schema public to public")
    with pytest.raises(errors.MissingRightError, match="As a superuser, in database") as caught:
        _open(open_url)
    rows(open_url, str(caught.value).partition("run: ")[2])
    _open(open_url)
    assert rows(open_url, "select has_schema_privilege('public', 'public', 'create')") == [(False,)]


@pytest.mark.parametrize("url", ["ordinary"], indirect=True)
def test_who_may_not_create_roles_is_told(url: str) -> None:
    rows(url, f"alter role {APP} nocreaterole")
    try:
        with pytest.raises(errors.MissingRightError, match=f'alter role "{APP}" createrole'):
            _open(url)
    finally:
        rows(url, f"alter role {APP} createrole")
    assert roles(url) == []


@pytest.mark.parametrize("url", ["ordinary"], indirect=True)
def test_roles_another_user_made_are_told_with_the_grant(url: str) -> None:
    group = group_name(database_of(url))
    rows(url, f'create role "{group}"')
    with pytest.raises(errors.MissingRightError, match="another user created the role") as caught:
        _open(url)
    rows(url, str(caught.value).partition("run: ")[2])
    _open(url)


def test_the_extension_may_be_in_a_schema_of_its_own(url: str) -> None:
    name = database_of(url)
    for statement in (
        "create schema extensions",
        "grant usage on schema extensions to app",
        "alter extension vector set schema extensions",
        f"alter database {name} set search_path = public, extensions",
    ):
        rows(url, statement)
    if "user=app" in url:
        with pytest.raises(errors.MissingRightError, match="grant usage on schema") as caught:
            _open(url)
        rows(url, str(caught.value).partition("run: ")[2])
    with pgchroma.PostgresClient(url, SETTINGS) as client:
        papers = client.create_collection("papers")
        papers.add(ids="1", embeddings=[1.0])
        assert papers.query(query_embeddings=[1.0])["ids"] == [["1"]]


@pytest.mark.parametrize("url", ["ordinary"], indirect=True)
def test_permissive_runs_and_is_open(open_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Why `set_config` is revoked: the attacks of the isolation tests succeed here."""
    with pgchroma.PostgresClient(open_url, PERMISSIVE) as client:
        papers = client.create_collection("papers")
        papers.add(ids="1", embeddings=[1.0], documents="d")
        hostile = (
            "case when set_config('role', 'none', true) = 'none' then "
            "exists (select from ts_stat('select to_tsvector(name) from pgchroma.credentials')) "
            "is not null end"
        )
        monkeypatch.setattr(FilterCompiler, "compile", lambda *_: sql.SQL(hostile))
        assert papers.get(where={"k": 1})["ids"] == ["1"]


def test_starting_again_changes_nothing(url: str) -> None:
    def state() -> list[Any]:
        return [
            rows(url, "select xmin from pg_proc where proname = 'set_config'"),
            rows(url, "select xmin from pg_class where relnamespace = 'pgchroma'::regnamespace"),
            rows(url, "select xmin from pg_auth_members"),
        ]

    _open(url)
    before = state()
    _open(url)
    assert state() == before


@pytest.mark.heavy
def test_a_server_runs_requests_so(url: str, tmp_path: Path) -> None:
    arguments = ("--url", url, "--no-auth", "--role-per-tenant")
    with running(tmp_path / "log", *arguments) as served, pgchroma.HttpClient(served.url) as client:
        papers = client.create_collection("papers")

        def add(number: int) -> None:
            papers.add(ids=str(number), embeddings=[1.0])

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(add, range(40)))
        assert papers.count() == 40
    owner = (
        "select distinct tableowner::text from pg_tables where schemaname like 'default_tenant%'"
    )
    role = "select role_name from pgchroma.tenants where name = %s"
    assert rows(url, owner) == rows(url, role, "default_tenant")


def test_a_tenants_look_up_uses_the_same_indexes(url: str) -> None:
    with pgchroma.PostgresClient(url, SETTINGS) as client:
        papers = client.create_collection("papers")
        for statement in (
            "insert into pgchroma.tenants (name) select 't' || n from generate_series(1, 2000) n",
            "insert into pgchroma.databases (id, tenant, name, schema_name) "
            "select gen_random_uuid(), name, 'd', name || '__d' from pgchroma.tenants",
            "insert into pgchroma.collections "
            "(id, database_id, name, configuration, layout_version) "
            "select gen_random_uuid(), id, 'c', '{}', 1 from pgchroma.databases",
            "analyze",
        ):
            rows(url, statement)
        role = rows(url, "select role_name from pgchroma.tenants where name = 'default_tenant'")
        with psycopg.connect(url) as connection:
            connection.execute(sql.SQL("set local role {}").format(sql.Identifier(role[0][0])))
            plan = "\n".join(
                line
                for (line,) in connection.execute(
                    "explain select d.schema_name from pgchroma.collections as c "
                    "join pgchroma.databases as d on d.id = c.database_id where c.id = %s "
                    "and d.tenant = 'default_tenant' and d.name = 'default_database'",
                    (papers.id,),
                )
            )
    assert "Seq Scan" not in plan, plan
    assert "collections_pkey" in plan
