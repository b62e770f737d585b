"""Databases whose server runs each tenant's requests as a separate role.

The embedded server's user is a superuser, whom no missing grant stops. So the tests also run as an
ordinary user, who owns the database and may create roles.
"""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

import pgchroma
from pgchroma.catalog.upgrade import prepare
from pgchroma.client._async.client import AsyncAdminClient
from pgchroma.client._sync.client import AdminClient
from pgchroma.embedded import EmbeddedPostgres
from tests.conftest import Mode

APP = "app"
SEAL = (
    "revoke execute on function pg_catalog.set_config(text, text, boolean) from public; "
    f"grant execute on function pg_catalog.set_config(text, text, boolean) to {APP}"
)
SETTINGS = pgchroma.Settings(allow_reset=True, pgchroma_role_per_tenant=True)


def rows(url: str, statement: str, *values: Any) -> list[tuple[Any, ...]]:
    """What a statement returns to a superuser."""
    with psycopg.connect(make_conninfo(url, user="pgchroma"), autocommit=True) as connection:
        cursor = connection.execute(statement.encode(), values or None)
        return cursor.fetchall() if cursor.description else []


def database_of(url: str) -> str:
    """The name of a connection string's database."""
    return str(conninfo_to_dict(url)["dbname"])


def roles(url: str) -> list[str]:
    """The roles that were made for a database."""
    start = f"pgchroma:{database_of(url)[:16]}"
    found = rows(url, "select rolname from pg_roles where starts_with(rolname, %s)", start)
    return sorted(role for (role,) in found)


@pytest.fixture(scope="package")
def ordinary_template(server: EmbeddedPostgres) -> Iterator[str]:
    """A database of an ordinary user's, with a catalog, where a superuser has closed the wall."""
    name = f"ordinary_{uuid.uuid4().hex[:8]}"
    url = make_conninfo(server.conninfo, dbname=name)
    rows(server.conninfo, f"create role {APP} login createrole")
    rows(server.conninfo, f"create database {name} template template0 owner {APP}")
    rows(url, "create extension vector")
    rows(url, SEAL)
    with psycopg.connect(make_conninfo(url, user=APP), autocommit=True) as connection:
        prepare(connection)
    yield name
    rows(server.conninfo, f"drop database {name}")
    rows(server.conninfo, f"drop role {APP}")


@pytest.fixture(params=["superuser", "ordinary"])
def url(
    request: pytest.FixtureRequest, server: EmbeddedPostgres, template: str, ordinary_template: str
) -> Iterator[str]:
    """A database of the test's own, and of its user's."""
    if request.param == "superuser":
        yield from copied(server, template, "pgchroma")
    else:
        yield from copied(server, ordinary_template, APP)


def copied(server: EmbeddedPostgres, template: str, user: str) -> Iterator[str]:
    """A copy of a database; it and the roles of its tenants are dropped afterwards."""
    name = f"test_{uuid.uuid4().hex[:11]}"
    create = "create database {} template {} owner {} strategy file_copy"
    names = map(sql.Identifier, (name, template, user))
    rows(server.conninfo, sql.SQL(create).format(*names).as_string(None))
    made = make_conninfo(server.conninfo, dbname=name, user=user)
    yield made
    left = roles(made)
    rows(server.conninfo, f"drop database {name} with (force)")
    for role in left:
        drop = sql.SQL("drop role {}").format(sql.Identifier(role))
        rows(server.conninfo, drop.as_string(None))


@pytest.fixture
def client(url: str) -> Iterator[pgchroma.ClientAPI]:
    """A direct client whose requests run as the tenant's role."""
    with pgchroma.PostgresClient(url, SETTINGS) as direct:
        yield direct


@pytest.fixture
def admin(client: Any) -> AdminClient:
    """A client for tenants and databases."""
    return AdminClient(client._backend)


@pytest.fixture(params=["direct", "async-direct", "bouncer", "async-bouncer"])
async def mode(request: pytest.FixtureRequest, url: str) -> AsyncIterator[Any]:
    """A client in each mode; its methods, and those of its collections, are awaited."""
    # With one connection, whose session state the next request inherits from the last one.
    settings = SETTINGS.model_copy(update={"pgchroma_pool_size": 1})
    way = request.param.removeprefix("async-")
    if way == "bouncer":
        through = request.getfixturevalue("bouncer")
        url = make_conninfo(through, dbname=conninfo_to_dict(url)["dbname"])
        settings.pgchroma_prepared_statements = False
    if way == request.param:
        with pgchroma.PostgresClient(url, settings) as direct:
            yield Mode(direct, url)
    else:
        async with pgchroma.AsyncPostgresClient(url, settings) as direct:
            yield Mode(direct, url)


def admin_of(mode: Any) -> Any:
    """A client for tenants and databases, on the backend of another client."""
    facade = AdminClient if isinstance(mode.target, pgchroma.ClientAPI) else AsyncAdminClient
    return Mode(facade(mode.target._backend))


@pytest.fixture
def make_client(url: str) -> Iterator[Callable[..., Any]]:
    """Clients of the same database, each with its own settings."""
    made: list[Any] = []

    def make(settings: pgchroma.Settings = SETTINGS, **place: str) -> Any:
        made.append(pgchroma.PostgresClient(url, settings, **place))
        return made[-1]

    yield make
    for client in made:
        client.close()
