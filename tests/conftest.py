"""What the tests share: one embedded PostgreSQL, a prepared database to copy, and clients."""

from __future__ import annotations

import functools
import os
import shutil
import tempfile
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import httpx._transports.default as transports
import psycopg
import pytest
from hypothesis import HealthCheck, settings
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

import pgchroma
from pgchroma.catalog.upgrade import prepare
from pgchroma.embedded import EmbeddedPostgres
from tests import pgbouncer
from tests.postgres import Postgres, serving_postgres
from tests.server_process import Server, running
from tests.sql.backend import SqlFunctionsBackend

settings.register_profile(
    "default",
    deadline=None,
    max_examples=60,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    print_blob=True,
)
settings.register_profile("thorough", settings.get_profile("default"), max_examples=2000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))

# Otherwise httpx reads the certificates of all authorities for each client, which takes 40 ms.
transports.create_ssl_context = functools.cache(httpx.create_ssl_context)  # type: ignore[attr-defined]

TEMPLATE = "pgchroma_template"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--no-database",
        action="store_true",
        help="leave out the tests that use PostgreSQL, and fail those that start it all the same",
    )
    parser.addoption(
        "--memory-indexes",
        action="store_true",
        help="give direct clients indexes in memory, which answer wherever they can",
    )


@pytest.fixture(scope="session", autouse=True)
def memory_indexes(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[bool]:
    """Whether direct clients have indexes in memory."""
    if not request.config.getoption("memory_indexes"):
        yield False
        return
    # It imports faiss.
    from tests.memory.at_once import everywhere  # noqa: PLC0415

    with everywhere(tmp_path_factory.mktemp("memory")):
        yield True


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("no_database"):
        using = {item for item in items if _uses_postgres(item)}
        config.hook.pytest_deselected(items=list(using))
        items[:] = [item for item in items if item not in using]


def _uses_postgres(item: pytest.Item) -> bool:
    # `mode` asks for a database only when it runs.
    fixtures = {"server", "mode"}.intersection(getattr(item, "fixturenames", ()))
    return bool(fixtures) or item.get_closest_marker("database") is not None


@pytest.fixture(scope="session", autouse=True)
def _no_database(request: pytest.FixtureRequest) -> Iterator[None]:
    """Refuse to start a PostgreSQL in a run without one."""

    def refuse(*_: Any, **__: Any) -> None:
        pytest.fail("this test starts PostgreSQL, but --no-database is given")

    with pytest.MonkeyPatch.context() as patch:
        if request.config.getoption("no_database"):
            patch.setattr(EmbeddedPostgres, "open", refuse)
            patch.setattr(EmbeddedPostgres, "open_ephemeral", refuse)
        yield


@pytest.fixture(scope="session", autouse=True)
def _no_profiles(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep commands from the databases that the user who runs the tests has stored."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CONFIG_HOME", str(tmp_path_factory.mktemp("configuration")))
        patch.delenv("PGCHROMA_PROFILE", raising=False)
        yield


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Turn skipped tests into failures if continuous integration asks for it."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if os.environ.get("PGCHROMA_TEST_NO_SKIPS") and reporter and reporter.stats.get("skipped"):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.fixture(scope="session")
def server() -> Iterator[Postgres]:
    """A PostgreSQL for the whole run."""
    # Not below pytest's directory, which only root may enter: PgBouncer has to reach the socket.
    with tempfile.TemporaryDirectory(prefix="pgchroma-tests-", dir=_memory()) as directory:
        Path(directory).chmod(0o755)
        with serving_postgres(Path(directory)) as postgres:
            yield postgres


@pytest.fixture(scope="session")
def template(server: Postgres) -> str:
    """The name of a template database with a fresh catalog."""
    _execute(server.conninfo, sql.SQL("create database {}").format(sql.Identifier(TEMPLATE)))
    with psycopg.connect(make_conninfo(server.conninfo, dbname=TEMPLATE), autocommit=True) as c:
        prepare(c)
    return TEMPLATE


@pytest.fixture(scope="session")
def elsewhere_template(server: Postgres) -> str:
    """A template database whose extensions are in a schema outside every search path."""
    name = f"{TEMPLATE}_elsewhere"
    _execute(server.conninfo, sql.SQL("create database {}").format(sql.Identifier(name)))
    options = "-c search_path="
    place = make_conninfo(server.conninfo, dbname=name, options=options)
    with psycopg.connect(place, autocommit=True) as connection:
        connection.execute("create schema extensions")
        wanted = "select name from pg_available_extensions where name in ('vector', 'pg_trgm')"
        for (extension,) in connection.execute(wanted).fetchall():
            create = sql.SQL("create extension {} schema extensions")
            connection.execute(create.format(sql.Identifier(extension)))
        prepare(connection)
    return name


@pytest.fixture
def elsewhere_url(server: Postgres, elsewhere_template: str) -> Iterator[str]:
    """A database of the test's own with an empty search path, and the extensions elsewhere."""
    for url in _database(server, elsewhere_template):
        name = sql.Identifier(str(conninfo_to_dict(url)["dbname"]))
        _execute(url, sql.SQL("alter database {} set search_path = ''").format(name))
        yield url


@pytest.fixture
def url(server: Postgres, template: str) -> Iterator[str]:
    """A database of the test's own, with a catalog in it."""
    yield from _database(server, template)


@pytest.fixture(scope="module")
def module_url(server: Postgres, template: str) -> Iterator[str]:
    """A database of the module's own, with a catalog in it."""
    yield from _database(server, template)


@pytest.fixture
def empty_url(server: Postgres) -> Iterator[str]:
    """A database of the test's own without anything in it."""
    yield from _database(server, "template0")


@pytest.fixture
def connection(url: str) -> Iterator[psycopg.Connection[Any]]:
    """A plain connection to the test's database."""
    with psycopg.connect(url, autocommit=True) as plain:
        yield plain


@pytest.fixture
def client(url: str) -> Iterator[pgchroma.ClientAPI]:
    """A direct client."""
    with pgchroma.PostgresClient(url, pgchroma.Settings(allow_reset=True)) as direct:
        yield direct


class Mode:
    """A client behind one set of coroutine methods, whichever way in it takes.

    Attributes:
        target: The client itself.
        conninfo: The database its data ends up in.
        unpooled: The same, without a pooler in between.
    """

    def __init__(self, client: Any, conninfo: str = "", unpooled: str = "") -> None:
        self.target = client
        self.conninfo = conninfo
        self.unpooled = unpooled

    def beside(self, **place: Any) -> pgchroma.ClientAPI:
        """Make a direct client of the same database."""
        return pgchroma.PostgresClient(self.conninfo, **place)

    def __getattr__(self, name: str) -> Any:
        attribute = getattr(self.target, name)
        if not callable(attribute):
            return attribute

        async def call(*args: Any, **kwargs: Any) -> Any:
            result = attribute(*args, **kwargs)
            return _wrapped(await result if isinstance(result, Awaitable) else result)

        return call


# Every mode takes as long as the others. With two of them less, `make test` ends in ten minutes.
MODES = (
    "direct",
    "async-direct",
    pytest.param("bouncer", marks=pytest.mark.heavy),
    "http",
    pytest.param("async-http", marks=pytest.mark.heavy),
    pytest.param("sql", marks=pytest.mark.heavy),
)


client_modes = pytest.mark.parametrize("mode", MODES[:-1], indirect=True)
"""Modes in which a write says what its embeddings were computed from, and of which generation they
are. The SQL functions take neither."""


@pytest.fixture(params=MODES)
async def mode(request: pytest.FixtureRequest) -> AsyncIterator[Any]:
    """A client in each mode; its methods, and those of its collections, are awaited."""
    way = request.param.removeprefix("async-")
    is_async = request.param != way
    if way == "http":
        place = request.getfixturevalue("emptied")
        conninfo = request.getfixturevalue("open_server").conninfo
        client: Any = pgchroma.AsyncHttpClient(place) if is_async else pgchroma.HttpClient(place)
    else:
        # Pooled clients get the hardest case: pgvector is not on their search path either.
        place = "elsewhere_url" if way == "bouncer" else "url"
        conninfo = request.getfixturevalue(place)
        settings = pgchroma.Settings(allow_reset=True)
        if way == "bouncer":
            name = conninfo_to_dict(conninfo)["dbname"]
            conninfo = make_conninfo(request.getfixturevalue("bouncer"), dbname=name)
        factory = pgchroma.AsyncPostgresClient if is_async else pgchroma.PostgresClient
        client = factory(conninfo, settings)
        if way == "sql":
            client._backend = SqlFunctionsBackend(client._backend, conninfo)
    unpooled = request.getfixturevalue(place) if way == "bouncer" else conninfo
    mode = Mode(await client if is_async else client, conninfo, unpooled)
    yield mode
    await mode.close()


@pytest.fixture(scope="session")
def bouncer(server: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A connection string through a PgBouncer in transaction mode."""
    if pgbouncer.PROGRAM is None:
        pytest.skip("PgBouncer is not installed: apt-get install pgbouncer")
    with pgbouncer.bouncing(server.conninfo, tmp_path_factory.mktemp("bouncer")) as conninfo:
        yield conninfo


@pytest.fixture(scope="session")
def open_server(
    server: Postgres, template: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """A server without authentication, on a separate database."""
    log = tmp_path_factory.mktemp("served") / "log"
    for conninfo in _database(server, template):
        arguments = ("--url", conninfo, "--no-auth", "--allow-reset")
        with running(log, *arguments) as served:
            served.conninfo = conninfo
            yield served


@pytest.fixture
def served(open_server: Server) -> str:
    """The URL of a server without authentication, shared with other tests."""
    return open_server.url


@pytest.fixture
def emptied(served: str) -> str:
    """The URL of a server that has only the default tenant and database."""
    httpx.post(f"{served}/api/v2/reset").raise_for_status()
    return served


@pytest.fixture
def new_path(tmp_path: Path) -> Callable[[], Path]:
    """Paths that do not exist yet."""
    return lambda: tmp_path / uuid.uuid4().hex


def _wrapped(result: Any) -> Any:
    collections = (pgchroma.Collection, pgchroma.AsyncCollection)
    if isinstance(result, collections):
        return Mode(result)
    if isinstance(result, list) and result and isinstance(result[0], collections):
        return [Mode(collection) for collection in result]
    return result


def _memory() -> str | None:
    """A directory in memory if there is enough: creating a database is ten times as fast there."""
    shared = Path("/dev/shm")
    is_there = shared.is_dir() and os.access(shared, os.W_OK)
    return str(shared) if is_there and shutil.disk_usage(shared).free > 4 << 30 else None


def _database(server: Postgres, template: str) -> Iterator[str]:
    name = f"test_{uuid.uuid4().hex[:12]}"
    create = sql.SQL("create database {} template {} strategy file_copy").format(
        sql.Identifier(name), sql.Identifier(template)
    )
    _execute(server.conninfo, create)
    try:
        yield make_conninfo(server.conninfo, dbname=name)
    finally:
        drop = sql.SQL("drop database {} with (force)").format(sql.Identifier(name))
        _execute(server.conninfo, drop)


def _execute(conninfo: str, statement: sql.Composed) -> None:
    with psycopg.connect(conninfo, autocommit=True) as connection:
        connection.execute(statement)
