"""Users without a right: the error names the statements that grant it, and they work unchanged."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from sqlalchemy import create_engine

import pgchroma
from pgchroma import errors
from pgchroma.catalog.upgrade import upgrade
from pgchroma.cli import main
from tests.administration.conftest import QUIET, command
from tests.commands import runner
from tests.downgrading import downgrade

SCHEMA = "default_tenant__default_database"


@pytest.fixture(autouse=True)
def papers(url: str) -> None:
    """Collections of the owner's: with embeddings and without."""
    with pgchroma.PostgresClient(url, QUIET) as owner:
        owner.create_collection("papers", embedding_function=None).add(
            ids=["1", "2"], embeddings=[[1.0, 0.0], [0.0, 1.0]], documents=["one", "two"]
        )
        owner.create_collection("empty", embedding_function=None)


def _name(user: str) -> str:
    return str(conninfo_to_dict(user)["user"])


def _statements(refused: BaseException) -> str:
    return str(refused).partition("run: ")[2]


def _granted(url: str, act: Callable[[], Any], *, times: int = 1) -> tuple[Any, list[str]]:
    """Make a call that is refused, run the statements of the message, and make the call again."""
    messages = []
    for _ in range(times):
        with pytest.raises(errors.MissingRightError) as caught:
            act()
        messages.append(str(caught.value))
        with psycopg.connect(url, autocommit=True) as owner:
            owner.execute(_statements(caught.value).encode())
    return act(), messages


def _grant(url: str, profile: str, user: str, *options: str) -> str:
    arguments = ["grants", profile, _name(user), "--url", url, *options]
    printed = runner().invoke(main, arguments, catch_exceptions=False).stdout
    with psycopg.connect(url, autocommit=True) as owner:
        owner.execute(printed.encode())
    return printed


ACTS: dict[str, Callable[[Any, Any, Any], Any]] = {
    "count": lambda client, papers, empty: papers.count(),
    "get": lambda client, papers, empty: papers.get(),
    "query": lambda client, papers, empty: papers.query(query_embeddings=[[1.0, 0.0]]),
    "add": lambda client, papers, empty: papers.add(ids=["3"], embeddings=[[1.0, 1.0]]),
    "upsert": lambda client, papers, empty: papers.upsert(ids=["1"], embeddings=[[1.0, 1.0]]),
    "update": lambda client, papers, empty: papers.update(ids=["1"], metadatas=[{"n": 1}]),
    "delete": lambda client, papers, empty: papers.delete(ids=["1"]),
    "first write": lambda client, papers, empty: empty.add(ids=["1"], embeddings=[[1.0]]),
    "rename": lambda client, papers, empty: papers.modify(name="articles"),
    "create": lambda client, papers, empty: client.create_collection("mine"),
    "drop": lambda client, papers, empty: client.delete_collection("papers"),
}


@pytest.mark.parametrize("act", ACTS)
def test_a_refusal_has_the_statements_that_allow_it(url: str, user: str, act: str) -> None:
    client, (message,) = _granted(url, lambda: pgchroma.PostgresClient(user, QUIET))
    assert f'grant usage on schema "pgchroma" to "{_name(user)}"' in message
    with client:
        papers, empty = (
            client.get_collection(name, embedding_function=None) for name in ("papers", "empty")
        )
        _, (message,) = _granted(url, lambda: ACTS[act](client, papers, empty))
        assert f'"{_name(user)}"' in message
        assert "`pgchroma grants" in message


def test_a_role_that_may_change_all_tables_lacks_only_the_rest(url: str, user: str) -> None:
    name = sql.Identifier(_name(user))
    with psycopg.connect(url, autocommit=True) as owner:
        for schema in ("pgchroma", SCHEMA):
            for grant in (
                "grant usage on schema {} to {}",
                "grant select, insert, update, delete on all tables in schema {} to {}",
            ):
                owner.execute(sql.SQL(grant).format(sql.Identifier(schema), name))
    with pgchroma.PostgresClient(user, QUIET) as client:
        papers = client.get_collection("papers", embedding_function=None)
        with pytest.raises(errors.MissingRightError) as caught:
            papers.upsert(ids=["1"], embeddings=[[1.0, 1.0]])
        assert _statements(caught.value) == (
            f'grant create on schema "{SCHEMA}" to {name.as_string(None)}; '
            f'grant usage on all sequences in schema "{SCHEMA}" to {name.as_string(None)}'
        )


def test_tables_of_sparse_vectors_are_among_those_that_a_user_needs(url: str, user: str) -> None:
    schema = pgchroma.Schema().create_index(pgchroma.SparseVectorIndexConfig(), key="terms")
    with pgchroma.PostgresClient(url, QUIET) as owner:
        owner.create_collection("sparse", schema=schema, embedding_function=None).add(
            ids="1",
            embeddings=[1.0],
            metadatas={"terms": pgchroma.SparseVector(indices=[1], values=[1.0])},
        )
    _grant(url, "reader", user)
    name = sql.Identifier(_name(user))
    with psycopg.connect(url, autocommit=True) as connection:
        tables = connection.execute(
            "select relname from pg_class where relname ~ '^sparse_' and relkind = 'r'"
        )
        for (table,) in tables.fetchall():
            revoke = sql.SQL("revoke select on {} from {}")
            connection.execute(revoke.format(sql.Identifier(SCHEMA, table), name))
    with pgchroma.PostgresClient(user, QUIET) as client:
        theirs = client.get_collection("sparse", embedding_function=None)
        found, _ = _granted(url, theirs.get)
    assert found["ids"] == ["1"]


def test_a_missing_usage_of_pgvectors_schema_is_named(url: str, user: str) -> None:
    _grant(url, "writer", user)
    with psycopg.connect(url, autocommit=True) as owner:
        owner.execute('create schema "Ext"')
        owner.execute('alter extension vector set schema "Ext"')
    theirs = make_conninfo(user, options='-c search_path="Ext",public')
    client, (message,) = _granted(url, lambda: pgchroma.PostgresClient(theirs, QUIET))
    client.close()
    assert f'run: grant usage on schema "Ext" to "{_name(user)}"' in message


def test_tables_of_an_ordinary_role_are_shared_by_membership(
    url: str, make_user: Callable[..., str]
) -> None:
    owner, app = make_user("owner"), make_user("app")
    _grant(url, "owner", owner)
    with pgchroma.PostgresClient(owner, QUIET) as client:
        client.create_collection("theirs", embedding_function=None)
    _grant(url, "writer", app)
    with pgchroma.PostgresClient(app, QUIET) as client:
        theirs = client.get_collection("theirs", embedding_function=None)
        _, (message,) = _granted(url, lambda: theirs.add(ids=["1"], embeddings=[[1.0]]))
        assert f'grant "{_name(owner)}" to "{_name(app)}"' in message
        client.delete_collection("theirs")


def test_refusals_are_explained_in_the_callers_transaction_too(url: str, user: str) -> None:
    _grant(url, "reader", user)
    engine = create_engine("postgresql+psycopg://", creator=lambda: psycopg.connect(user))
    with engine.connect() as connection, pgchroma.PostgresClient(connection, QUIET) as client:
        papers = client.get_collection("papers", embedding_function=None)
        with pytest.raises(errors.MissingRightError, match="run: grant"):
            papers.delete(ids=["1"])
        assert papers.count() == 2
    engine.dispose()


async def test_refusals_are_explained_to_asynchronous_clients(url: str, user: str) -> None:
    _grant(url, "reader", user)
    async with pgchroma.AsyncPostgresClient(user, QUIET) as client:
        papers = await client.get_collection("papers", embedding_function=None)
        with pytest.raises(errors.MissingRightError, match="run: grant select, insert, update"):
            await papers.add(ids=["3"], embeddings=[[1.0, 1.0]])


READS = ("count", "get", "query")
WRITES = ("add", "upsert", "update", "delete", "create")


@pytest.mark.parametrize(
    ("profile", "allowed"),
    [("reader", READS), ("writer", (*READS, *WRITES)), ("owner", tuple(ACTS))],
)
def test_what_is_printed_for_a_kind_of_user_is_what_it_needs(
    url: str, user: str, profile: str, allowed: tuple[str, ...]
) -> None:
    _grant(url, profile, user)
    with pgchroma.PostgresClient(url, QUIET) as owner_client:
        later = owner_client.create_collection("later", embedding_function=None)
        later.add(ids=["1", "2"], embeddings=[[1.0, 0.0], [0.0, 1.0]])
    with pgchroma.PostgresClient(user, QUIET) as client:
        empty = client.get_collection("empty", embedding_function=None)
        # One that was there, and one that was created after the grants.
        for name in ("papers", "later"):
            collection = client.get_collection(name, embedding_function=None)
            for act in ACTS if name == "papers" else [*READS, *WRITES[:4]]:
                if act == "drop":
                    continue
                if act in allowed:
                    ACTS[act](client, collection, empty)
                else:
                    with pytest.raises(errors.MissingRightError):
                        ACTS[act](client, collection, empty)


@pytest.mark.heavy
def test_an_owner_upgrades_makes_tenants_and_builds_indexes(url: str, user: str) -> None:
    _grant(url, "owner", user)
    downgrade(url, "0004")
    command("migrate", "--url", user)
    with psycopg.connect(user, autocommit=True) as theirs:
        upgrade(theirs)
    command("compact", "--url", user)
    command("keys", "create", "key", "--role", "read", "--url", user)


def test_an_upgrade_by_another_user_names_the_missing_rights(url: str, user: str) -> None:
    _grant(url, "writer", user)
    with psycopg.connect(user, autocommit=True) as theirs:
        _, (message,) = _granted(url, lambda: upgrade(theirs))
    assert f'alter view "chroma"."collections" owner to "{_name(user)}"' in message


def test_an_analyst_reads_views_and_no_credentials(url: str, user: str) -> None:
    printed = _grant(url, "analyst", user)
    assert "credentials" not in printed
    with pgchroma.PostgresClient(url, QUIET) as owner:
        owner.create_collection("later", embedding_function=None).add(ids="1", embeddings=[1.0])
    with psycopg.connect(user, autocommit=True) as analyst:
        for name in ("papers", "later"):
            analyst.execute(f'select id, embedding <-> embedding from {SCHEMA}."{name}"')
        found = analyst.execute("select collection from chroma.collections order by 1").fetchall()
        assert found == [("empty",), ("later",), ("papers",)]
        for table in ("credentials", "collections"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                analyst.execute(f"select from pgchroma.{table}".encode())


def test_an_analyst_of_one_tenant_uses_the_functions_on_its_collections_only(
    url: str, user: str
) -> None:
    with pgchroma.PostgresClient(url, QUIET) as owner:
        owner.create_tenant("acme")
        owner.create_database("docs", "acme")
        owner.set_tenant("acme", "docs")
        owner.create_collection("papers", embedding_function=None).add(
            ids=["acme"], embeddings=[[1.0]], metadatas=[{"k": 1}]
        )
    assert SCHEMA not in _grant(url, "analyst", user, "--tenant", "acme")
    with psycopg.connect(user, autocommit=True) as analyst:
        found = analyst.execute("select tenant, collection, rows from chroma.collections")
        assert found.fetchall() == [("acme", "papers", 1)]
        place = "tenant => 'acme', database => 'docs'"
        for call in (
            f"chroma.get('papers', \"where\" => '{{\"k\": 1}}', {place})",
            f"chroma.query('papers', '[1]', {place})",
        ):
            rows = analyst.execute(f"select id from {call}".encode()).fetchall()
            assert rows == [("acme",)]
        with pytest.raises(psycopg.errors.UndefinedObject, match="does not exist"):
            analyst.execute("select chroma.count('papers')")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            analyst.execute(
                f"select chroma.delete('papers', ids => array['acme'], {place})".encode()
            )


@pytest.mark.parametrize("profile", ["reader", "writer"])
def test_credentials_stay_hidden_from_readers_and_writers(
    url: str, user: str, profile: str
) -> None:
    _grant(url, profile, user)
    with (
        psycopg.connect(user, autocommit=True) as theirs,
        pytest.raises(psycopg.errors.InsufficientPrivilege),
    ):
        theirs.execute("select from pgchroma.credentials")


@pytest.mark.heavy
def test_grants_can_be_confined_to_a_database(url: str, user: str) -> None:
    printed = command(
        "grants", "analyst", _name(user), "--url", url, "--tenant", "default_tenant"
    ).stdout
    assert SCHEMA in printed
    none = command(
        "grants", "analyst", _name(user), "--url", url, "--tenant", "nobody", check=False
    )
    assert (none.returncode, none.stdout) == (2, "")
    unknown = command("grants", "reader", "no such user", "--url", url, check=False)
    assert unknown.returncode == 2
    assert "no role 'no such user'" in unknown.stderr


def test_a_client_that_does_not_own_the_tables_says_who_builds_indexes(
    url: str, user: str, caplog: pytest.LogCaptureFixture
) -> None:
    _grant(url, "writer", user)
    settings = pgchroma.Settings(pgchroma_segment_bytes=0)
    with (
        caplog.at_level(logging.WARNING, "pgchroma.compaction"),
        pgchroma.PostgresClient(user, settings) as client,
    ):
        papers = client.get_collection("papers", embedding_function=None)
        papers.add(
            ids=[f"n{n}" for n in range(1200)], embeddings=[[float(n), 1.0] for n in range(1200)]
        )
        deadline = time.monotonic() + 60
        while not caplog.records and time.monotonic() < deadline:
            time.sleep(0.1)
        assert "run `pgchroma compact`" in caplog.text
        error = papers.get_indexing_status().error
        assert error is not None
        assert "owner" in error
