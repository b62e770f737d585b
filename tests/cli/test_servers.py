"""Commands on the URL of a server: over HTTP, or refused."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import Result

import pgchroma
from pgchroma.backends._sync.connect import connect
from pgchroma.backends._sync.http import HttpBackend
from pgchroma.cli import main
from pgchroma.cli.database import TargetDatabase
from pgchroma.cli.errors import CommandError
from pgchroma.model.credentials import Scope
from pgchroma.model.operations import GetVersion
from pgchroma.model.operations.credentials import new_key
from tests.commands import runner
from tests.server_process import Server, running

Run = Callable[..., Result]

SQL_COMMANDS = [
    ("adopt",),
    ("compact",),
    ("grants", "reader", "somebody"),
    ("keys", "list"),
    ("migrate",),
    ("psql", "-c", "select 1"),
    ("tenants", "list"),
    ("users", "list"),
]
SERVER = "http://app:sesame@127.0.0.1:1"
KEY_NAMES = ("PGCHROMA_API_KEY", "PGCHROMA_API_KEY_FILE", "CHROMA_API_KEY")


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Run:
    for name in ("PGCHROMA_URL", "PGCHROMA_URL_FILE", "PGCHROMA_PATH", *KEY_NAMES):
        monkeypatch.delenv(name, raising=False)

    def run(*args: str, exit_code: int = 0, **variables: str) -> Result:
        result = runner().invoke(main, args, env=variables)
        assert result.exit_code == exit_code, result.output
        if exit_code:
            assert len(result.stderr.strip().splitlines()) == 1, result.stderr
        assert "sesame" not in result.output
        return result

    return run


@pytest.fixture(scope="module")
def guarded(
    module_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Server, str]]:
    """A server that needs a key, and a key for it."""
    backend = connect(module_url, pgchroma.Settings())
    key, operation = new_key("ci", "admin", Scope(None, None, None), None)
    backend.execute(operation)
    backend.close()
    log = tmp_path_factory.mktemp("guarded") / "log"
    with running(log, "--url", module_url) as served:
        yield served, key.text


def test_databases_are_managed_over_http(run: Run, emptied: str) -> None:
    run("tenants", "create", "acme", "--url", emptied)
    run("db", "create", "docs", "--tenant", "acme", PGCHROMA_URL=emptied)
    listed = run("db", "list", "--tenant", "acme", "--json", PGCHROMA_URL=f"{emptied}/")
    assert [each["name"] for each in json.loads(listed.stdout)] == ["docs"]
    run("db", "delete", "docs", "--tenant", "acme", "--url", emptied)
    assert run("db", "list", "--tenant", "acme", "--url", emptied).stdout == ""


@pytest.mark.parametrize("command", SQL_COMMANDS, ids=" ".join)
def test_a_command_that_needs_sql_refuses_a_server(run: Run, command: tuple[str, ...]) -> None:
    for url, scheme in ((SERVER, "http"), ("HTTPS://app:sesame@db.example", "https")):
        refused = run(*command, "--url", url, exit_code=2)
        assert refused.stderr.startswith(f"Error: --url: {scheme}:// begins the URL of a server")
        assert "give its URL, postgresql://…, or its directory with --path" in refused.stderr
        refused = run(*command, PGCHROMA_URL=url, exit_code=2)
        assert refused.stderr.startswith("Error: PGCHROMA_URL: ")


def test_the_key_comes_from_a_variable_or_from_a_file(
    run: Run, guarded: tuple[Server, str], tmp_path: Path
) -> None:
    server, key = guarded
    file = tmp_path / "key"
    file.write_text(f"{key}\n")
    assert "default_database" in run("db", "list", "--url", server.url, PGCHROMA_API_KEY=key).stdout
    run("db", "list", "--url", server.url, PGCHROMA_API_KEY_FILE=str(file))
    run(
        "db",
        "list",
        "--url",
        server.url,
        PGCHROMA_API_KEY=key,
        PGCHROMA_API_KEY_FILE="/x",
        exit_code=2,
    )
    run(
        "db", "list", "--url", server.url,
        CHROMA_CLIENT_AUTH_PROVIDER="TokenAuthClientProvider",
        CHROMA_CLIENT_AUTH_CREDENTIALS=key,
    )  # fmt: skip


def test_a_wrong_key_is_refused_and_not_shown(run: Run, guarded: tuple[Server, str]) -> None:
    server, key = guarded
    wrong = f"{key[:-8]}abcdefgh"
    for variables in ({}, {"PGCHROMA_API_KEY": wrong}, {"CHROMA_API_KEY": key}):
        refused = run("db", "list", "--url", server.url, exit_code=2, **variables)
        assert refused.stderr.startswith(f"Error: --url: {server.url} refuses the login: ")
        assert "PGCHROMA_API_KEY" in refused.stderr
        assert wrong not in refused.stderr


def test_a_login_in_the_url_is_not_shown(run: Run, guarded: tuple[Server, str]) -> None:
    server, key = guarded
    url = server.url.replace("http://", "http://app:sesame@")
    refused = run("db", "list", "--url", url, exit_code=2, PGCHROMA_API_KEY=key)
    assert f"--url: {server.url} refuses the login" in refused.stderr


def test_a_server_that_is_away_is_named(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pgchroma.backends.http_errors.ATTEMPTS", 1)
    refused = run("db", "list", "--url", SERVER, exit_code=1)
    assert "the server at http://127.0.0.1:1 cannot be reached" in refused.stderr


@pytest.mark.parametrize(
    "url",
    [
        "http://",
        "https://:8000",
        "http://app:ses/ame@db.example",
        "http://app:12/sesame@db.example",
        "http://db.example:99999",
        "http://db.example?key=sesame",
        "http://db.example#sesame",
        "http://[::1",
    ],
)
def test_a_url_that_is_no_servers_is_refused(run: Run, url: str) -> None:
    refused = run("db", "list", "--url", url, exit_code=2)
    assert "--url: not the URL of a server: write http://host:port" in refused.stderr
    assert "ame" not in refused.stderr.replace("name", "")


def test_a_target_gives_backends_and_clients(served: str, url: str) -> None:
    server, database = TargetDatabase(served), TargetDatabase(url)
    assert (server.is_server, database.is_server) == (True, False)
    with server.backend() as backend:
        assert isinstance(backend, HttpBackend)
        assert backend.execute(GetVersion())
    with pytest.raises(CommandError, match="begins the URL of a server"), server.database_backend():
        raise AssertionError
    for target in (server, database):
        with target.client() as client:
            assert client.heartbeat() > 0
        with (
            pytest.raises(CommandError, match="Database \\[nowhere\\] not found"),
            target.client(database="nowhere"),
        ):
            raise AssertionError


def test_the_key_of_chromas_cloud_goes_nowhere_else(monkeypatch: pytest.MonkeyPatch) -> None:
    from pgchroma.cli.servers import server_backend  # noqa: PLC0415

    monkeypatch.setenv("CHROMA_API_KEY", "ck-sesame")
    monkeypatch.delenv("PGCHROMA_API_KEY", raising=False)
    for host, sent in (("api.trychroma.com", "ck-sesame"), ("db.example", None)):
        backend = server_backend(f"https://{host}", pgchroma.Settings())
        headers = backend._endpoint.headers
        assert headers.get("X-Chroma-Token") == sent
        backend.close()
