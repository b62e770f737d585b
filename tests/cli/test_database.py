"""Which database a command works on; commands never create one."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result
from psycopg.conninfo import make_conninfo

import pgchroma
from pgchroma import errors
from pgchroma.cli import main
from tests.commands import runner

NOWHERE = "postgresql://app:sesame@127.0.0.1:1/app"

Run = Callable[..., Result]

COMMANDS = [
    ("keys", "list"),
    ("users", "list", "--json"),
    ("keys", "revoke", "ci"),
    ("keys", "create", "ci", "--role", "read"),
    ("compact",),
    ("doctor",),
    ("migrate",),
    ("db", "list"),
    ("tenants", "create", "acme"),
    ("grants", "reader", "somebody"),
    ("psql", "-c", "select 1"),
    ("postgres",),
]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Run:
    for name in ("URL", "URL_FILE", "PATH", "PERSIST_PATH"):
        monkeypatch.delenv(f"PGCHROMA_{name}", raising=False)

    def run(*args: str | Path, exit_code: int = 0, **variables: str | Path) -> Result:
        environment = {name: str(value) for name, value in variables.items()}
        result = runner().invoke(main, [str(arg) for arg in args], env=environment)
        assert result.exit_code == exit_code, result.output
        if exit_code:
            assert len(result.stderr.strip().splitlines()) == 1, result.stderr
        return result

    return run


@pytest.fixture
def secret_file(url: str, tmp_path: Path) -> Path:
    file = tmp_path / "url"
    file.write_text(f"{url}\n")
    return file


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_a_mistyped_path_makes_no_database(run: Run, command: list[str], tmp_path: Path) -> None:
    for path in (tmp_path / "mistyped", tmp_path):
        refused = run(*command, "--path", path, exit_code=2)
        assert f"--path: there is no database in {path}" in refused.stderr
        refused = run(*command, PGCHROMA_PATH=path, exit_code=2)
        assert f"PGCHROMA_PATH: there is no database in {path}" in refused.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "address",
    [
        "postgresql://app:sesame@db/app",
        "postgres://app:sesame@db",
        "postgresql+psycopg://app:sesame@db/app",
        "http://localhost:8000",
        "localhost:8000",
        "host=db password=sesame",
        "password=sesame dbname=app",
    ],
)
@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_an_address_is_no_path(
    run: Run, command: list[str], address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    refused = run(*command, "--path", address, exit_code=2)
    assert refused.stderr.startswith("Error: --path: ")
    assert "sesame" not in refused.stderr
    refused = run(*command, PGCHROMA_PATH=address, exit_code=2)
    assert refused.stderr.startswith("Error: PGCHROMA_PATH: ")
    assert "sesame" not in refused.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", [("keys", "list"), ("compact",), ("migrate",)], ids=" ".join)
def test_the_url_may_be_in_a_variable_or_in_a_file(
    run: Run, command: list[str], url: str, secret_file: Path
) -> None:
    run(*command, PGCHROMA_URL=url)
    run(*command, PGCHROMA_URL_FILE=secret_file)
    refused = run(*command, PGCHROMA_URL=url, PGCHROMA_URL_FILE=secret_file, exit_code=2)
    assert "PGCHROMA_URL and PGCHROMA_URL_FILE exclude each other" in refused.stderr
    refused = run(*command, PGCHROMA_URL_FILE="/nowhere", exit_code=2)
    assert "PGCHROMA_URL_FILE=/nowhere: cannot be read: No such file" in refused.stderr


@pytest.mark.parametrize("command", [("keys", "list"), ("compact",), ("migrate",)], ids=" ".join)
def test_the_command_line_wins_over_every_variable(
    run: Run, command: list[str], url: str, tmp_path: Path
) -> None:
    run(*command, "--url", url, PGCHROMA_URL=NOWHERE, PGCHROMA_PATH=tmp_path)
    run(*command, "--url", url, PGCHROMA_URL_FILE="/nowhere")
    refused = run(*command, "--path", tmp_path, PGCHROMA_URL=url, exit_code=2)
    assert "there is no database in" in refused.stderr


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_two_databases_are_refused(run: Run, command: list[str], url: str, tmp_path: Path) -> None:
    refused = run(*command, "--url", url, "--path", tmp_path, exit_code=2)
    assert "--url and --path exclude each other" in refused.stderr


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_a_database_is_needed(run: Run, command: list[str]) -> None:
    refused = run(*command, exit_code=2)
    assert "use --url or --path, or set PGCHROMA_URL, PGCHROMA_URL_FILE" in refused.stderr


def test_a_directory_is_migrated(run: Run, tmp_path: Path) -> None:
    pgchroma.PersistentClient(tmp_path).close()
    assert "the catalog is at revision" in run("migrate", "--path", tmp_path).stdout
    assert "the catalog is at revision" in run("migrate", PGCHROMA_PATH=tmp_path).stdout
    assert "[]" in run("keys", "list", "--json", PGCHROMA_PERSIST_PATH=tmp_path).stdout


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"dbname": "no_such_database"}, 'database "no_such_database" does not exist'),
        ({"user": "nobody_at_all"}, 'role "nobody_at_all" does not exist'),
    ],
)
@pytest.mark.parametrize("command", [("keys", "list"), ("compact",), ("migrate",)], ids=" ".join)
def test_a_refused_login_names_the_flag(
    run: Run, command: list[str], options: dict[str, str], reason: str, url: str
) -> None:
    wrong = make_conninfo(url, password="sesame", **options)
    for arguments, variables, source in (
        (["--url", wrong], {}, "--url"),
        ([], {"PGCHROMA_URL": wrong}, "PGCHROMA_URL"),
    ):
        refused = run(*command, *arguments, exit_code=2, **variables)
        assert refused.stderr.startswith(f"Error: {source}: ")
        assert reason in refused.stderr
        assert "sesame" not in refused.stderr


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ("", "the URL is empty"),
        ("postgresql+psycopg2://app:sesame@db/app", "write postgresql:// instead of postgresql+ps"),
        ("postgresql+asyncpg://app:sesame@db/app", "write postgresql:// instead of postgresql+as"),
        ("jdbc:postgresql://app:sesame@db/app", "write postgresql:// instead of jdbc:postgresql"),
        ("mysql://app:sesame@db/app", "mysql:// is not the URL of a PostgreSQL database"),
        ("http://localhost:8000", "http:// begins the URL of a server"),
        ("not a url", "not a database's URL or connection string"),
        ("postgresql://app:sesame%zz@db/app", "not a database's URL or connection string"),
    ],
)
def test_a_url_that_is_none_is_refused_with_advice(run: Run, wrong: str, reason: str) -> None:
    for command in (["keys", "list"], ["compact"], ["migrate"]):
        refused = run(*command, "--url", wrong, exit_code=2)
        assert reason in refused.stderr
        assert "sesame" not in refused.stderr
    with pytest.raises(errors.InvalidArgumentError, match=re.escape(reason)):
        pgchroma.PostgresClient(wrong)


def test_an_unknown_variable_is_refused(run: Run, url: str) -> None:
    for command in (["keys", "list"], ["compact"], ["migrate"]):
        refused = run(*command, PGCHROMA_URL=url, PGCHROMA_SEGMENT_BITES="1", exit_code=2)
        assert "PGCHROMA_SEGMENT_BITES (did you mean PGCHROMA_SEGMENT_BYTES?)" in refused.stderr
