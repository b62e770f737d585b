"""The catalog: made, upgraded, checked and refused."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest
from alembic.script import ScriptDirectory
from psycopg import sql
from sqlalchemy import create_engine, text

import pgchroma
from pgchroma import errors
from pgchroma.catalog.offline import offline_sql
from pgchroma.catalog.resources import resource
from pgchroma.catalog.server_facts import HEAD, ServerFacts, check
from pgchroma.catalog.tables import metadata
from pgchroma.catalog.upgrade import prepare
from pgchroma.embedded import EmbeddedPostgres


def _shape(url: str) -> list[tuple[Any, ...]]:
    """Every column, constraint and index of the catalog, as PostgreSQL describes them."""
    with psycopg.connect(url) as connection:
        columns = connection.execute(
            "select table_name, column_name, data_type, is_nullable, column_default, "
            "collation_name, is_identity from information_schema.columns "
            "where table_schema = 'pgchroma' and table_name <> 'alembic_version' order by 1, 2"
        ).fetchall()
        constraints = connection.execute(
            "select conrelid::regclass::text, conname, pg_get_constraintdef(oid) "
            "from pg_constraint where connamespace = 'pgchroma'::regnamespace "
            "and conrelid <> 'pgchroma.alembic_version'::regclass order by 1, 2"
        ).fetchall()
        indexes = connection.execute(
            "select indexname, indexdef from pg_indexes where schemaname = 'pgchroma' "
            "and tablename <> 'alembic_version' order by 1"
        ).fetchall()
    return [*columns, *constraints, *indexes]


def test_a_migrated_catalog_is_what_the_tables_say(url: str, empty_url: str) -> None:
    engine = create_engine("postgresql+psycopg://", creator=lambda: psycopg.connect(empty_url))
    with engine.begin() as connection:
        connection.execute(text("create schema pgchroma"))
        connection.execute(text("create table pgchroma.alembic_version (version_num text)"))
        metadata.create_all(connection)
    engine.dispose()
    assert _shape(empty_url) == _shape(url)


def test_the_code_knows_the_newest_revision() -> None:
    assert ScriptDirectory(str(resource("migrations"))).get_current_head() == HEAD


def test_every_constraint_has_a_name_of_ours(connection: psycopg.Connection[Any]) -> None:
    names = connection.execute(
        "select conname from pg_constraint where connamespace = 'pgchroma'::regnamespace "
        "and contype in ('p', 'u', 'f')"
    ).fetchall()
    declared = {
        constraint.name
        for table in metadata.tables.values()
        for constraint in table.constraints
        if constraint.name
    }
    assert {name for (name,) in names} == declared | {"alembic_version_pkc"}


def test_an_empty_database_is_made_ready_once(empty_url: str) -> None:
    with pgchroma.PostgresClient(empty_url) as client:
        client.create_collection("papers")
    with pgchroma.PostgresClient(empty_url) as client:
        assert client.count_collections() == 1


def test_many_processes_may_make_one_database_ready_at_once(empty_url: str) -> None:
    def connect(number: int) -> str:
        with pgchroma.PostgresClient(empty_url) as client:
            return client.get_or_create_collection(f"c-{number % 3}").name

    with ThreadPoolExecutor(8) as pool:
        assert sorted(set(pool.map(connect, range(8)))) == ["c-0", "c-1", "c-2"]


def test_validate_and_none_change_nothing(empty_url: str) -> None:
    with pytest.raises(errors.VersionMismatchError, match=r"vector is not installed.*migrate"):
        pgchroma.PostgresClient(empty_url, pgchroma.Settings(migrations="validate"))
    with psycopg.connect(empty_url, autocommit=True) as connection:
        connection.execute("create extension vector")
    with pytest.raises(errors.VersionMismatchError, match=r"no pgchroma catalog.*migrate"):
        pgchroma.PostgresClient(empty_url, pgchroma.Settings(migrations="validate"))
    with pytest.raises(errors.ChromaError):
        pgchroma.PostgresClient(empty_url, pgchroma.Settings(migrations="none"))
    with psycopg.connect(empty_url) as connection:
        assert connection.execute("select to_regnamespace('pgchroma')").fetchone() == (None,)


def test_a_newer_catalog_is_refused(url: str, connection: psycopg.Connection[Any]) -> None:
    connection.execute("update pgchroma.alembic_version set version_num = '9999'")
    # A dump may omit the comment that says which older code works with it.
    connection.execute("comment on table pgchroma.alembic_version is null")
    with pytest.raises(errors.VersionMismatchError, match="pip install --upgrade pgchroma"):
        pgchroma.PostgresClient(url)


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        (ServerFacts(150008, "0.8.6", 1, HEAD), "PostgreSQL 15 is too old: pgchroma needs 16"),
        (ServerFacts(160000, "0.7.4", 1, HEAD), "pgvector 0.7.4 is too old.*alter extension"),
        (ServerFacts(160000, "0.7.10", 1, HEAD), "pgvector 0.7.10 is too old"),
        (ServerFacts(160000, None, None, HEAD), "vector is not installed"),
        (ServerFacts(160000, "0.8.4", 1, None), "no pgchroma catalog"),
        (ServerFacts(160000, "0.8.4", 1, "0000"), "at revision 0000, this code needs"),
    ],
)
def test_a_server_that_will_not_do_is_refused_with_the_remedy(
    facts: ServerFacts, message: str
) -> None:
    with pytest.raises(errors.VersionMismatchError, match=message):
        check(facts)


def test_good_servers_pass() -> None:
    for version in ("0.8.0", "0.8.4", "0.8.10", "1.0.0"):
        check(ServerFacts(160000, version, 1, HEAD))


def test_offline_sql_makes_the_same_catalog(
    server: EmbeddedPostgres, empty_url: str, url: str
) -> None:
    script = offline_sql()
    with psycopg.connect(empty_url, autocommit=True) as connection:
        connection.execute(script.encode())
        assert prepare(connection, "validate").revision == HEAD
    assert _shape(empty_url) == _shape(url)
    with pgchroma.PostgresClient(empty_url) as client:
        client.create_collection("papers").add(ids="1", embeddings=[1.0])


@pytest.mark.heavy
def test_the_command_line_migrates_and_prints(empty_url: str) -> None:
    command = [sys.executable, "-m", "pgchroma", "migrate"]
    printed = subprocess.run([*command, "--sql"], capture_output=True, text=True, check=True)
    assert "CREATE TABLE pgchroma.collections" in printed.stdout
    done = subprocess.run(
        [*command, "--url", empty_url], capture_output=True, text=True, check=True
    )
    assert HEAD in done.stdout
    pgchroma.PostgresClient(empty_url, pgchroma.Settings(migrations="validate")).close()
    failed = subprocess.run(
        [*command, "--url", "postgresql://nobody@127.0.0.1:1/x"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert failed.returncode == 1
    assert "the database nobody@127.0.0.1:1/x cannot be reached" in failed.stderr
    assert "Traceback" not in failed.stderr


def test_a_foreign_schema_named_chroma_is_left_alone(empty_url: str) -> None:
    with psycopg.connect(empty_url, autocommit=True) as connection:
        connection.execute("create schema chroma")
        connection.execute("create table chroma.precious (x int)")
    with pytest.raises(Exception, match="chroma"):
        pgchroma.PostgresClient(empty_url)
    with psycopg.connect(empty_url) as connection:
        assert connection.execute("select count(*) from chroma.precious").fetchone() == (0,)
        assert connection.execute("select to_regclass('pgchroma.tenants')").fetchone() == (None,)


@pytest.fixture
def role(empty_url: str) -> Any:
    name = "app_" + str(psycopg.conninfo.conninfo_to_dict(empty_url)["dbname"])[-8:]
    with psycopg.connect(empty_url, autocommit=True) as connection:
        connection.execute(sql.SQL("create role {} login").format(sql.Identifier(name)))
        yield name
        connection.execute(sql.SQL("drop owned by {}").format(sql.Identifier(name)))
        connection.execute(sql.SQL("drop role {}").format(sql.Identifier(name)))


def test_missing_rights_are_named_with_the_grant_that_mends_them(empty_url: str, role: str) -> None:
    theirs = psycopg.conninfo.make_conninfo(empty_url, user=role)
    with pytest.raises(errors.MissingRightError, match="run: create extension vector"):
        pgchroma.PostgresClient(theirs)
    with psycopg.connect(empty_url, autocommit=True) as connection:
        connection.execute("create extension vector")
        with pytest.raises(errors.MissingRightError, match="grant create on database") as caught:
            pgchroma.PostgresClient(theirs)
        grant = str(caught.value).partition("run: ")[2]
        connection.execute(grant.encode())
    with pgchroma.PostgresClient(theirs) as client:
        client.create_collection("papers").add(ids="1", embeddings=[1.0])


def test_a_read_only_user_reads_and_learns_which_rights_are_missing(
    empty_url: str, role: str
) -> None:
    with pgchroma.PostgresClient(empty_url) as owner:
        owner.create_collection("papers").add(ids="1", embeddings=[1.0])
    with psycopg.connect(empty_url, autocommit=True) as connection:
        for schema in ("pgchroma", "default_tenant__default_database"):
            identifiers = {"schema": sql.Identifier(schema), "role": sql.Identifier(role)}
            for grant in (
                "grant usage on schema {schema} to {role}",
                "grant select on all tables in schema {schema} to {role}",
            ):
                connection.execute(sql.SQL(grant).format(**identifiers))
    theirs = psycopg.conninfo.make_conninfo(empty_url, user=role)
    with pgchroma.PostgresClient(theirs) as reader:
        papers = reader.get_collection("papers")
        assert papers.get()["ids"] == ["1"]
        assert papers.query(query_embeddings=[1.0])["ids"] == [["1"]]
        for write in (
            lambda: papers.add(ids="2", embeddings=[1.0]),
            lambda: papers.delete(ids="1"),
            lambda: papers.modify(name="other"),
            lambda: reader.create_collection("other"),
            lambda: reader.delete_collection("papers"),
        ):
            with pytest.raises(errors.MissingRightError, match=r"permission denied.*grant"):
                write()
        assert papers.count() == 1
