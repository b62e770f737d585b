"""With a role per tenant, no tenant gets candidates of another one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

import pgchroma
from pgchroma.client._sync.client import AdminClient
from pgchroma.embedded import EmbeddedPostgres
from pgchroma.memory.source import find_segment
from tests.memory.indexed import (
    COUNT,
    Answers,
    builder,
    built,
    check_answer,
    clustered,
    key_of,
    remembering,
    sealed,
    watched_answers,
)
from tests.planner.segments import context_of
from tests.roles.conftest import copied, rows

QUERY = clustered(1, seed=7)[0]

COUNT_TOKENS = "select count(*) from pgchroma.memory_indexes"


@pytest.fixture
def url(server: EmbeddedPostgres, template: str) -> Iterator[str]:
    yield from copied(server, template, "pgchroma")


@pytest.fixture
def client(url: str, tmp_path: Path) -> Iterator[pgchroma.ClientAPI]:
    """A client whose requests run as the tenant's role."""
    with remembering(url, tmp_path / "memory", pgchroma_role_per_tenant=True) as direct:
        yield direct


def _of_tenant(url: str, client: pgchroma.ClientAPI, tenant: str) -> pgchroma.Collection:
    """A collection of a new tenant; all have the same ids and embeddings."""
    admin = AdminClient(client._backend)
    admin.create_tenant(tenant)
    admin.create_database("docs", tenant)
    client.set_tenant(tenant, "docs")
    return sealed(url, client)


def _ask(collection: pgchroma.Collection) -> float:
    answer: Any = collection.query(query_embeddings=[QUERY], include=["distances"])
    stored = {str(n): row for n, row in enumerate(clustered())}
    return check_answer("l2", answer, QUERY, stored)


def test_candidates_of_another_tenant_are_not_found(
    url: str, client: pgchroma.ClientAPI, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers: Answers = watched_answers(monkeypatch)
    one = _of_tenant(url, client, "one")
    other = _of_tenant(url, client, "other")
    built(client, one)
    foreign = built(client, other)
    for collection in (one, other):
        assert _ask(collection) >= 0.9
    assert answers.complete == [True, True]
    # The process mistakes the other tenant's index for this one's.
    proposers: Any = context_of(client).proposers
    monkeypatch.setattr(proposers, "find", lambda _: foreign)
    assert _ask(one) >= 0.9
    assert answers.complete == [True, True, False]


def test_a_role_sees_the_tokens_of_its_tenant(url: str, client: pgchroma.ClientAPI) -> None:
    for tenant in ("one", "other"):
        built(client, _of_tenant(url, client, tenant))
    assert rows(url, COUNT_TOKENS) == [(2,)]
    roles = rows(url, "select role_name from pgchroma.tenants where role_name is not null")
    with psycopg.connect(url, autocommit=True) as connection:
        for (role,) in roles:
            with connection.transaction():
                connection.execute("select set_config('role', %s, true)", [role])
                assert connection.execute(COUNT_TOKENS.encode()).fetchone() in [(1,), (0,)]
            with (
                pytest.raises(psycopg.errors.InsufficientPrivilege),
                connection.transaction(),
            ):
                connection.execute("select set_config('role', %s, true)", [role])
                connection.execute("delete from pgchroma.memory_indexes")


def test_embeddings_are_read_as_the_tenants_role(
    url: str, client: pgchroma.ClientAPI, tmp_path: Path
) -> None:
    """Code that a tenant attaches to its table runs with the tenant's rights."""
    collection = _of_tenant(url, client, "one")
    key = key_of(client, collection)
    with psycopg.connect(url, autocommit=True) as connection:
        segment = find_segment(connection, key)
        assert segment.role is not None
        vectors = segment.tables.vectors.as_string(None)
        for statement in (
            "create function public.note() returns boolean language plpgsql as $$ begin "
            "if current_user = session_user then raise exception 'as %', current_user; end if; "
            "return true; end $$",
            f"alter table {vectors} enable row level security",
            f"alter table {vectors} force row level security",
            f"create policy own on {vectors} using (public.note())",
        ):
            connection.execute(statement.encode())
    assert builder(url, tmp_path / "other").build(key).entries == COUNT
