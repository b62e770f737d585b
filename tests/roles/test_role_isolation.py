"""SQL injected into a tenant's request cannot read, change or detect another tenant's data."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import pytest
from psycopg import sql

import pgchroma
from pgchroma import errors
from pgchroma.model.entities import DatabaseRef
from pgchroma.model.operations import CreateCollection, GetTenant, ListCollections, Operation
from pgchroma.store import handlers
from pgchroma.store.conditions.filters import FilterCompiler
from pgchroma.store.running.steps import Statement, Steps, Transaction
from tests.roles.conftest import admin_of, rows


class Rogue:
    """A tenant whose filters are SQL, and a victim; both use one connection."""

    def __init__(self, client: Any, monkeypatch: pytest.MonkeyPatch, url: str) -> None:
        self.client, self.url = client, url
        self.rogue: Any = None
        self.victim: Any = None
        self._monkeypatch = monkeypatch

    async def settle(self) -> Rogue:
        admin = admin_of(self.client)
        papers_of: dict[str, Any] = {}
        for tenant in ("rogue", "victim"):
            await admin.create_tenant(tenant)
            await admin.create_database("docs", tenant)
            await self.client.set_tenant(tenant, "docs")
            papers = await self.client.create_collection("papers")
            await papers.add(ids=tenant, embeddings=[1.0], documents=f"secret of {tenant}")
            papers_of[tenant] = papers
        self.rogue, self.victim = papers_of["rogue"], papers_of["victim"]
        self.secret = f'"victim__docs"."records_{self.victim.id.hex}"'
        self.log = f"victim__docs.log_{self.victim.id.hex}"
        query = "select name, role_name from pgchroma.tenants where role_name is not null"
        self.roles = dict(rows(self.url, query))
        return self

    async def get(self, condition: str) -> list[str]:
        """The ids of the records that an injected condition matches."""
        with self._smuggling(condition):
            return (await self.rogue.get(where={"k": 1}))["ids"]  # type: ignore[no-any-return]

    async def run(self, statement: str) -> None:
        """Run a statement that writes, in the ``with`` of a query with a filter."""
        with self._smuggling(f"true), evil as ({statement}"):
            await self.rogue.query(query_embeddings=[1.0], where={"k": 1})

    async def check(self) -> None:
        """The next request on the connection is the victim's and finds its own records."""
        assert (await self.victim.get())["ids"] == ["victim"]
        assert (await self.rogue.get())["ids"] == ["rogue"]

    @contextmanager
    def _smuggling(self, condition: str) -> Iterator[None]:
        with self._monkeypatch.context() as patched:
            patched.setattr(FilterCompiler, "compile", lambda *_: sql.SQL(condition))
            yield


@pytest.fixture
async def rogue(mode: Any, monkeypatch: pytest.MonkeyPatch, url: str) -> Rogue:
    """Two tenants on one connection."""
    return await Rogue(mode, monkeypatch, url).settle()


async def test_smuggling_works_on_the_tenants_own(rogue: Rogue) -> None:
    assert await rogue.get("true") == ["rogue"]
    assert await rogue.get(f"current_user = '{rogue.roles['rogue']}'") == ["rogue"]
    await rogue.run(f"delete from rogue__docs.records_{rogue.rogue.id.hex} returning 1")
    assert await rogue.get("true") == []


async def test_what_is_not_the_tenants_is_denied(rogue: Rogue) -> None:
    dynamic = f"select to_tsvector(document) from {rogue.secret}".replace("'", "''")
    for condition in (
        f"exists (select from {rogue.secret})",
        'exists (select from victim__docs."papers")',
        f"exists (select from ts_stat('{dynamic}'))",
        f"nextval('{rogue.log}') > 0",
        f"exists (select from {rogue.log})",
        f"'{rogue.secret}'::regclass is not null",
        "exists (select from pgchroma.credentials)",
        "exists (select from pgchroma.alembic_version)",
        "exists (select from pg_authid)",
        "exists (select from pg_statistic)",
        "pg_read_file('/etc/passwd') is not null",
        "lo_import('/etc/passwd') > 0",
        "pg_terminate_backend(pg_backend_pid())",
        "pg_cancel_backend(pg_backend_pid())",
        "pg_reload_conf()",
    ):
        with pytest.raises(errors.MissingRightError, match="permission denied"):
            await rogue.get(condition)
            pytest.fail(condition)
        await rogue.check()


async def test_the_catalog_and_the_statistics_show_nothing_of_others(rogue: Rogue) -> None:
    rows(rogue.url, f"analyze {rogue.secret}")
    rows(
        rogue.url,
        "insert into pgchroma.segments (collection_id, first_pos, end_pos, index_name, "
        "quantization, max_neighbors, ef_construction) "
        f"select id, 0, 1, 'i', 'none', 16, 100 from pgchroma.collections "
        f"where id in ('{rogue.victim.id}', '{rogue.rogue.id}')",
    )
    rows(
        rogue.url,
        "insert into pgchroma.secondary_indexes (collection_id, kind, key) "
        f"values ('{rogue.victim.id}', 'number', 'k'), ('{rogue.rogue.id}', 'number', 'k')",
    )
    for condition in (
        "exists (select from pgchroma.tenants where name <> 'rogue')",
        "exists (select from pgchroma.databases where tenant <> 'rogue')",
        f"exists (select from pgchroma.collections where id = '{rogue.victim.id}')",
        "(select count(*) from pgchroma.collections) <> 1",
        "(select count(*) from chroma.collections) <> 1",
        "exists (select from chroma._collections where tenant <> 'rogue')",
        "(select count(*) from pgchroma.segments) <> 1",
        "(select count(*) from pgchroma.secondary_indexes) <> 1",
        "exists (select from pg_stats where schemaname = 'victim__docs')",
        "exists (select from pg_stat_activity where query !~ '^(<insufficient privilege>)?$')",
    ):
        assert await rogue.get(condition) == [], condition
    await rogue.check()


async def test_the_functions_find_the_tenants_own_records_only(rogue: Rogue) -> None:
    own = "tenant => 'rogue', database => 'docs'"
    assert await rogue.get(f"chroma.count('papers', {own}) = 1") == ["rogue"]
    for call in (
        "chroma.count('papers', {}) > 0",
        "exists (select from chroma.get('papers', {}))",
        "exists (select from chroma.query('papers', array[1]::vector, {}))",
        "chroma.delete('papers', ids => array['victim'], {}) = 1",
        "chroma.add('papers', array['x'], {}) = 1",
    ):
        with pytest.raises(errors.InternalError, match=r"Collection \[papers\] does not exist"):
            await rogue.get(call.format("tenant => 'victim', database => 'docs'"))
            pytest.fail(call)
        await rogue.check()


def test_no_function_executes_the_callers_text(url: str) -> None:
    """An executed text could change the role. Texts are composed with names and literals only."""
    sources = rows(
        url,
        "select p.proname, p.prosrc from pg_proc as p "
        "where p.pronamespace = 'chroma'::regnamespace and p.prosrc ~ 'execute'",
    )
    assert len(sources) > 5
    allowed = {
        "_advance", "_change", "_check_ids", "_create_vectors", "_embeddings", "_last_write",
        "_restore", "_rows", "_set_search", "add", "count", "delete", "get", "query", "search",
    }  # fmt: skip
    assert {name for name, _ in sources} == allowed
    # None of these takes a text that it executes; `query` and others compile filters to literals.
    signatures = rows(
        url,
        "select p.proname, pg_get_function_identity_arguments(p.oid) from pg_proc as p "
        "where p.pronamespace = 'chroma'::regnamespace and starts_with(p.proname, '_') "
        "and p.prosrc ~ 'execute'",
    )
    for name, arguments in signatures:
        assert not re.search(r"\btext\b(?!\[)", arguments), (name, arguments)


async def test_the_role_cannot_be_changed(rogue: Rogue) -> None:
    victim = rogue.roles["victim"]
    read = f"exists (select from ts_stat('select to_tsvector(document) from {rogue.secret}'))"
    for role in ("none", victim):
        with pytest.raises(errors.MissingRightError, match="function set_config"):
            await rogue.get(f"set_config('role', '{role}', true) is not null and {read}")
        await rogue.check()
        with pytest.raises(errors.MissingRightError, match="function set_config"):
            await rogue.get(f"pg_catalog.set_config('session_authorization', '{role}', false) = ''")
    # The view's rule turns this into a select that nothing refers to, so it does not run.
    await rogue.run("update pg_settings set setting = 'none' where name = 'role'")
    await rogue.check()
    with pytest.raises(errors.ChromaError, match="cannot perform UPDATE RETURNING"):
        await rogue.run("update pg_settings set setting = 'none' where name = 'role' returning 1")
    for statement in ("set role none", "reset role", f'set local role "{victim}"'):
        with pytest.raises(errors.ChromaError, match=r"cannot open .* query as cursor"):
            await rogue.get(f"exists (select from ts_stat('{statement}'))")
        with pytest.raises(errors.ChromaError, match=r"multiple commands|syntax error"):
            await rogue.get(f"true); {statement}; --")
        await rogue.check()


async def test_nothing_of_others_is_written(rogue: Rogue) -> None:
    # The client's compactor may change other columns of the tenant's own entry.
    entries = "select id, database_id, name, metadata, configuration from pgchroma.collections"
    before = rows(rogue.url, f"{entries} order by id")
    other = rows(rogue.url, "select id from pgchroma.databases where tenant = 'victim'")[0][0]
    for statement in (
        f"delete from {rogue.secret} returning id",
        f"insert into {rogue.secret} (seq, id) values (99, 'x') returning id",
        f"update pgchroma.collections set database_id = '{other}' returning id",
        "insert into pgchroma.collections (id, database_id, name, configuration, layout_version) "
        f"values (gen_random_uuid(), '{other}', 'x', '{{}}', 1) returning id",
        "update pgchroma.tenants set role_name = current_user where name = 'victim' returning 1",
        "update pgchroma.databases set schema_name = 'victim__docs' returning id",
        "insert into pgchroma.databases (id, tenant, name, schema_name) "
        "values (gen_random_uuid(), 'rogue', 'x', 'victim__docs') returning id",
        "insert into pgchroma.segments (collection_id, first_pos, end_pos, index_name) "
        f"values ('{rogue.rogue.id}', 0, 1, 'i') returning id",
    ):
        with pytest.raises(errors.MissingRightError, match=r"permission denied|row-level security"):
            await rogue.run(statement)
            pytest.fail(statement)
        await rogue.check()
    await rogue.run(
        f"update pgchroma.collections set name = 'x' where id = '{rogue.victim.id}' returning id"
    )
    assert rows(rogue.url, f"{entries} order by id") == before


async def test_a_tenant_that_does_not_exist_sees_nothing(rogue: Rogue) -> None:
    target = rogue.client.target
    backend, scope = target._backend, DatabaseRef("nobody", "docs")
    with pytest.raises(errors.NotFoundError):
        await result(backend.execute(GetTenant("nobody")))
    with pytest.raises(errors.InvalidArgumentError, match="does not exist"):
        await result(backend.execute(CreateCollection(scope, "papers")))
    assert await result(backend.execute(ListCollections(scope))) == []
    hostile = Statement(b"select current_user, count(*) from pgchroma.tenants")
    assert (await _probe(backend, "nobody", hostile))[0][1] == 0
    await rogue.check()


async def test_a_role_ends_with_its_transaction(rogue: Rogue) -> None:
    backend = rogue.client.target._backend
    who = Statement(b"select current_user::text, session_user::text = current_user")
    user = await _probe(backend, None, who)
    assert user[0][1]
    for step in (
        Statement(b"select 1"),
        Statement(b"select 1/0"),
        (Statement(b"select 1"), Statement(b"select 1/0")),
        Transaction(_failing()),
    ):
        with suppress(errors.ChromaError):
            await _probe(backend, "rogue", step)
        assert await _probe(backend, None, who) == user
    await rogue.check()


async def test_a_request_cut_short_leaves_no_role(rogue: Rogue) -> None:
    backend = rogue.client.target._backend
    timeout = Statement(b"set local statement_timeout = 50"), Statement(b"select pg_sleep(30)")
    with pytest.raises(errors.DeadlineExceededError, match="statement timeout"):
        await _probe(backend, "rogue", timeout)
    await rogue.check()
    if isinstance(rogue.client.target, pgchroma.AsyncClientAPI):
        for step in (timeout[1], (timeout[1], timeout[1]), Transaction(iter_of(timeout[1]))):
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(_probe(backend, "rogue", step), 0.2)
            await rogue.check()


async def test_every_step_of_a_handler_runs_as_the_tenant(rogue: Rogue) -> None:
    who = Statement(b"select current_user::text, session_user::text <> current_user")
    backend, expected = rogue.client.target._backend, [(rogue.roles["rogue"], True)]
    assert await _probe(backend, "rogue", who) == expected
    assert await _probe(backend, "rogue", (Statement(b"select 1"), who)) == expected
    assert await _probe(backend, "rogue", Transaction(iter_of(who, who))) == expected
    nested = Transaction(iter_of((who, who), Transaction(iter_of(who))))
    assert await _probe(backend, "rogue", nested) == expected


@dataclass(frozen=True)
class Probe(Operation[Any]):
    """A test's own operation: one step, as a tenant or as the user who is logged in."""

    scope: DatabaseRef | None
    step: Any

    @property
    def acting_tenant(self) -> str | None:
        return self.scope.tenant if self.scope else None


def _run_probe(operation: Probe, _: Any) -> Steps[Any]:
    return (yield operation.step)


async def _probe(backend: Any, tenant: str | None, step: Any) -> Any:
    handlers[Probe] = _run_probe
    try:
        scope = DatabaseRef(tenant, "docs") if tenant else None
        return await result(backend.execute(Probe(scope, step)))
    finally:
        del handlers[Probe]


def iter_of(*steps: Any) -> Steps[Any]:
    rows: Any = None
    for step in steps:
        rows = yield step
    return rows


def _failing() -> Steps[Any]:
    yield Statement(b"select 1")
    yield Statement(b"select 1/0")


async def result(answer: Any) -> Any:
    return await answer if isinstance(answer, Awaitable) else answer
