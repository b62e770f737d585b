"""A connection error names the address and the user, and never the password."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict
from sqlalchemy import create_engine
from sqlalchemy.ext.asyncio import create_async_engine

import pgchroma
from pgchroma.cli import main
from pgchroma.embedded import EmbeddedPostgres
from tests.commands import runner
from tests.server_process import free_port, running

SETTINGS = pgchroma.Settings(pgchroma_compaction=False, pgchroma_pool_timeout=1)

Way = Callable[[str], None]


def _asynchronously(url: str) -> None:
    async def connect() -> None:
        await pgchroma.AsyncPostgresClient(url, SETTINGS)

    asyncio.run(connect())


def _by_engine(url: str) -> None:
    engine = create_engine(url.replace("postgresql://", "postgresql+psycopg://"))
    try:
        pgchroma.PostgresClient(engine, SETTINGS)
    finally:
        engine.dispose()


def _by_async_engine(url: str) -> None:
    async def connect() -> None:
        engine = create_async_engine(url.replace("postgresql://", "postgresql+psycopg://"))
        try:
            await pgchroma.AsyncPostgresClient(engine, SETTINGS)
        finally:
            await engine.dispose()

    asyncio.run(connect())


WAYS: dict[str, Way] = {
    "PostgresClient": lambda url: pgchroma.PostgresClient(url, SETTINGS).close(),
    "AsyncPostgresClient": _asynchronously,
    "AdminClient": lambda url: pgchroma.AdminClient(url).close(),
    "connect": lambda url: pgchroma.connect(url).close(),
    "engine": _by_engine,
    "async engine": _by_async_engine,
}

COMMANDS = [
    ("migrate",),
    ("adopt",),
    ("compact",),
    ("grants", "reader", "x"),
    ("keys", "list"),
    ("db", "list"),
]

NOWHERE = {
    "a dead port": ("postgresql://app:sesame@127.0.0.1:1/shop", "app@127.0.0.1:1/shop"),
    "a wrong host": (
        "postgresql://app:sesame@nobody.invalid:99/shop",
        "app@nobody.invalid:99/shop",
    ),
    "a dead socket": (
        "postgresql://app:sesame@/shop?host=/nonexistent",
        "app@/nonexistent:5432/shop",
    ),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("place", NOWHERE)
def test_a_client_names_the_address_that_does_not_answer(way: str, place: str) -> None:
    url, named = NOWHERE[place]
    with pytest.raises(pgchroma.errors.UnavailableError) as refused:
        WAYS[way](url)
    assert f"the database {named} cannot be reached: " in str(refused.value)
    assert "sesame" not in str(refused.value)


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
@pytest.mark.parametrize("place", NOWHERE)
def test_a_command_names_the_address_that_does_not_answer(
    command: tuple[str, ...], place: str
) -> None:
    url, named = NOWHERE[place]
    done = runner().invoke(main, [*command, "--url", url])
    assert done.exit_code == 1
    assert f"the database {named} cannot be reached: " in done.stderr
    assert "sesame" not in done.stderr


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedPostgres]:
    """A server that requires a password of the user `app`."""
    directory = tmp_path_factory.mktemp("guarded")
    with EmbeddedPostgres.open(directory, durable=False) as server:
        rules = directory / "postgres" / "pg_hba.conf"
        rules.write_text(f"local all app scram-sha-256\n{rules.read_text()}")
        with psycopg.connect(server.conninfo, autocommit=True) as plain:
            plain.execute("create role app login password 'right'")
            plain.execute("select pg_reload_conf()")
            plain.execute("select pg_sleep(0.2)")
        yield server


REFUSALS = {
    "a wrong password": ("app:sesame", "pgchroma", "password authentication failed"),
    "no password": ("app", "pgchroma", "no password supplied"),
    "a wrong user": ("nobody:sesame", "pgchroma", 'role "nobody" does not exist'),
    "a wrong database": ("pgchroma:sesame", "shop", 'database "shop" does not exist'),
}


@pytest.fixture(params=REFUSALS)
def refusal(request: pytest.FixtureRequest, guarded: EmbeddedPostgres) -> tuple[str, str, str]:
    """A URL, how messages name it, and PostgreSQL's reason."""
    login, database, reason = REFUSALS[request.param]
    host = str(conninfo_to_dict(guarded.conninfo)["host"])
    url = f"postgresql://{login}@/{database}?{urlencode({'host': host, 'port': '5432'})}"
    return url, f"{login.partition(':')[0]}@{host}:5432/{database}", reason


@pytest.mark.parametrize("way", WAYS)
def test_a_client_names_the_login_that_is_refused(way: str, refusal: tuple[str, str, str]) -> None:
    url, named, reason = refusal
    with pytest.raises(pgchroma.errors.UnavailableError) as refused:
        WAYS[way](url)
    assert f"the database {named} cannot be reached: " in str(refused.value)
    assert reason in str(refused.value)
    assert "sesame" not in str(refused.value)


def test_a_command_names_the_login_that_is_refused(refusal: tuple[str, str, str]) -> None:
    url, named, reason = refusal
    for command in COMMANDS:
        done = runner().invoke(main, [*command, "--url", url])
        assert done.exit_code in (1, 2)
        assert named in done.stderr
        assert reason in done.stderr
        assert "sesame" not in done.stderr


def test_a_client_that_loses_its_database_names_it(tmp_path: Path) -> None:
    with EmbeddedPostgres.open(tmp_path / "lost", durable=False) as server:
        host = str(conninfo_to_dict(server.conninfo)["host"])
        client = pgchroma.PostgresClient(server.url, SETTINGS)
    with client, pytest.raises(pgchroma.errors.UnavailableError) as lost:
        client.list_collections()
    assert f"pgchroma@{host}:5432/pgchroma cannot be reached" in str(lost.value)


async def _asynchronous_http(url: str) -> None:
    await pgchroma.AsyncHttpClient(url)


HTTP: dict[str, Way] = {
    "HttpClient": lambda url: pgchroma.HttpClient(url).close(),
    "AsyncHttpClient": lambda url: asyncio.run(_asynchronous_http(url)),
    "CloudClient": lambda url: pgchroma.CloudClient(
        "t", "d", "key", cloud_host=url, enable_ssl=False
    ).close(),
    "connect": lambda url: pgchroma.connect(url).close(),
}


@pytest.mark.heavy
@pytest.mark.parametrize("way", HTTP)
def test_an_http_client_names_the_url_that_does_not_answer(way: str) -> None:
    port = free_port()
    for login in ("", "jane:sesame@"):
        with pytest.raises(
            ValueError, match=r"Could not connect to a Chroma server\. Are"
        ) as refused:
            HTTP[way](f"http://{login}127.0.0.1:{port}")
        assert f"http://127.0.0.1:{port}" in str(refused.value)
        assert "sesame" not in str(refused.value)
    with pytest.raises(ValueError, match=r"http://nobody\.invalid:99"):
        HTTP[way]("http://nobody.invalid:99")


@pytest.mark.heavy
def test_a_server_without_its_database_is_named_too(url: str, tmp_path: Path) -> None:
    with (
        running(tmp_path / "log", "--url", url, "--no-auth") as served,
        psycopg.connect(f"{url} dbname=template1", autocommit=True) as plain,
    ):
        name: Any = conninfo_to_dict(url)["dbname"]
        plain.execute(f'alter database "{name}" allow_connections false'.encode())
        plain.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity where datname = %s", [name]
        )
        try:
            with pytest.raises(ValueError, match="Could not connect") as refused:
                pgchroma.HttpClient(served.url)
        finally:
            plain.execute(f'alter database "{name}" allow_connections true'.encode())
    assert f"{served.url}: the database is unavailable" in str(refused.value)
