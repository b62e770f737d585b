"""Schema `chroma` on an upgrade: replaced in place, with what people made of it kept."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

import pgchroma
from pgchroma import errors
from pgchroma.catalog import upgrade as migrating
from pgchroma.catalog.sql_files import sql_files
from pgchroma.catalog.upgrade import prepare, upgrade

OTHER_COLUMNS = """
create or replace view chroma.collections as
select c.id, d.tenant, d.name as database, c.name as collection
from pgchroma.collections as c
inner join pgchroma.databases as d on c.database_id = d.id;
"""
"""The view as a later revision may have it: a column less, and others elsewhere."""


@pytest.fixture
def older(connection: psycopg.Connection[Any]) -> Callable[[], None]:
    """Makes the catalog one that the next `migrate` upgrades, by way of the layout."""

    def make() -> None:
        connection.execute("update pgchroma.collections set layout_version = 1")

    return make


@pytest.fixture
def changed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Has the upgrade change the columns of `chroma.collections`."""
    files = {**sql_files(), "20_views.sql": OTHER_COLUMNS}
    monkeypatch.setattr(migrating, "sql_files", lambda: dict(files))


@pytest.fixture
def reader(connection: psycopg.Connection[Any]) -> Iterator[str]:
    name = f"reader_{connection.info.dbname}"
    connection.execute(sql.SQL("create role {} login").format(sql.Identifier(name)))
    yield name
    connection.execute(sql.SQL("drop owned by {}").format(sql.Identifier(name)))
    connection.execute(sql.SQL("drop role {}").format(sql.Identifier(name)))


def _grants(connection: psycopg.Connection[Any]) -> list[tuple[Any, ...]]:
    return connection.execute(
        "select n.nspname, null, nspacl::text[] from pg_namespace as n where nspname = 'chroma' "
        "union all select 'chroma', c.relname, relacl::text[] from pg_class as c "
        "where relnamespace = 'chroma'::regnamespace "
        "union all select 'chroma', c.relname || '.' || a.attname, attacl::text[] "
        "from pg_attribute as a join pg_class as c on c.oid = a.attrelid "
        "where relnamespace = 'chroma'::regnamespace and attacl is not null order by 1, 2"
    ).fetchall()


def _give(connection: psycopg.Connection[Any], role: str) -> None:
    for grant in (
        "grant usage on schema chroma to {role}",
        "grant select on chroma.collections to {role} with grant option",
        "grant update (collection) on chroma.collections to {role}",
        "grant select on chroma.collections to public",
        "alter view chroma.collections set (security_invoker = true)",
    ):
        connection.execute(sql.SQL(grant).format(role=sql.Identifier(role)))


def _options(connection: psycopg.Connection[Any]) -> Any:
    return connection.execute(
        "select reloptions from pg_class where oid = 'chroma.collections'::regclass"
    ).fetchone()


def test_views_and_grants_of_others_survive_an_upgrade(
    url: str, connection: psycopg.Connection[Any], reader: str
) -> None:
    _give(connection, reader)
    connection.execute("create view public.mine as select * from chroma.collections")
    connection.execute("create view chroma.theirs as select 1 as one")
    connection.execute("create materialized view public.kept as select * from public.mine")
    before = _grants(connection)
    upgrade(connection)
    assert _grants(connection) == before
    assert _options(connection) == (["security_invoker=true"],)
    with pgchroma.PostgresClient(url) as client:
        client.create_collection("papers")
    assert connection.execute("select collection from public.mine").fetchall() == [("papers",)]
    assert connection.execute("select one from chroma.theirs").fetchall() == [(1,)]


@pytest.mark.usefixtures("changed")
def test_a_view_with_other_columns_keeps_its_grants(
    connection: psycopg.Connection[Any], reader: str
) -> None:
    _give(connection, reader)
    before = _grants(connection)
    upgrade(connection)
    names = [
        column.name for column in connection.execute("table chroma.collections").description or ()
    ]
    assert names == ["id", "tenant", "database", "collection"]
    assert _grants(connection) == before
    assert _options(connection) == (["security_invoker=true"],)


@pytest.mark.usefixtures("changed")
def test_a_view_with_other_columns_keeps_its_owner(
    connection: psycopg.Connection[Any], reader: str
) -> None:
    connection.execute(
        sql.SQL("alter view chroma.collections owner to {}").format(sql.Identifier(reader))
    )
    upgrade(connection)
    owner = connection.execute(
        "select relowner::regrole::text from pg_class where oid = 'chroma.collections'::regclass"
    ).fetchone()
    assert owner == (reader,)


@pytest.mark.usefixtures("changed")
@pytest.mark.parametrize(
    ("make", "named"),
    [
        ("create view public.mine as select * from chroma.collections", "view mine"),
        (
            "create materialized view public.mine as select database from chroma.collections",
            "materialized view mine",
        ),
        (
            "create function public.mine() returns setof chroma.collections "
            "language sql begin atomic select * from chroma.collections; end",
            "function mine()",
        ),
    ],
)
def test_what_cannot_be_replaced_is_refused_with_the_dependent_object(
    connection: psycopg.Connection[Any], older: Callable[[], None], make: str, named: str
) -> None:
    connection.execute(make)
    before = connection.execute("table chroma.collections").description
    older()
    with pytest.raises(errors.VersionMismatchError, match=r"chroma\.collections") as caught:
        upgrade(connection)
    assert named in str(caught.value)
    after = connection.execute("table chroma.collections").description
    assert [column.name for column in after or ()] == [column.name for column in before or ()]


def test_a_function_that_returned_other_columns_is_replaced(
    url: str, connection: psycopg.Connection[Any]
) -> None:
    with pgchroma.PostgresClient(url) as client:
        client.create_collection("papers")
    connection.execute("drop function chroma._sparse_clauses(chroma._collections)")
    connection.execute(
        "create function chroma._sparse_clauses(collection chroma._collections) "
        "returns table (names text) language sql immutable as 'select null'"
    )
    upgrade(connection)
    added = connection.execute("select chroma.add('papers', array['a'])").fetchone()
    assert added == (1,)


@pytest.mark.heavy
def test_the_command_keeps_a_view_that_depends_on_schema_chroma(
    url: str, connection: psycopg.Connection[Any], older: Callable[[], None]
) -> None:
    with pgchroma.PostgresClient(url) as client:
        client.create_collection("papers")
    connection.execute("create view public.mine as select * from chroma.collections")
    id = connection.execute("select id from pgchroma.collections").fetchone()
    assert id is not None
    connection.execute(f"drop table default_tenant__default_database.counts_{id[0].hex}")
    older()
    command = [sys.executable, "-m", "pgchroma", "migrate", "--url", url]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "revision" in done.stdout
    assert connection.execute("select collection from public.mine").fetchall() == [("papers",)]


def test_a_schema_chroma_whose_comment_a_dump_left_out_is_ours(
    connection: psycopg.Connection[Any],
) -> None:
    connection.execute("comment on schema chroma is null")
    upgrade(connection)
    assert connection.execute(
        "select obj_description('chroma'::regnamespace, 'pg_namespace') like 'pgchroma:%'"
    ).fetchone() == (True,)


def test_schemas_created_beforehand_are_used(empty_url: str) -> None:
    """A user who may not create schemas gets empty ones from the administrator."""
    name = "app_" + str(conninfo_to_dict(empty_url)["dbname"])[-8:]
    role = sql.Identifier(name)
    with psycopg.connect(empty_url, autocommit=True) as owner:
        owner.execute("create extension vector")
        owner.execute(sql.SQL("create role {} login").format(role))
        for schema in ("pgchroma", "chroma", "default_tenant__default_database"):
            owner.execute(
                sql.SQL("create schema {} authorization {}").format(sql.Identifier(schema), role)
            )
        with psycopg.connect(make_conninfo(empty_url, user=name), autocommit=True) as theirs:
            prepare(theirs)
            upgrade(theirs)
        with pgchroma.PostgresClient(make_conninfo(empty_url, user=name)) as client:
            client.create_collection("papers").add(ids="1", embeddings=[1.0])
        owner.execute(sql.SQL("drop owned by {}").format(role))
        owner.execute(sql.SQL("drop role {}").format(role))
