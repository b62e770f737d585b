"""Which database a command works on, and that it makes none."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

import pgchroma
from pgchroma.cli import main

NOWHERE = "postgresql://app:sesame@127.0.0.1:1/app"

Run = Callable[..., Result]

COMMANDS = [
    ("keys", "list"),
    ("users", "list", "--json"),
    ("keys", "revoke", "ci"),
    ("keys", "create", "ci", "--role", "read"),
    ("compact",),
    ("migrate",),
]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Run:
    for name in ("URL", "URL_FILE", "PATH", "PERSIST_PATH"):
        monkeypatch.delenv(f"PGCHROMA_{name}", raising=False)

    def run(*args: str | Path, exit_code: int = 0, **variables: str | Path) -> Result:
        environment = {name: str(value) for name, value in variables.items()}
        result = CliRunner().invoke(main, [str(arg) for arg in args], env=environment)
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
        assert f"--path '{path}': there is no database in this directory" in refused.stderr
        run(*command, PGCHROMA_PATH=path, exit_code=2)
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
    assert "--path: this is an address, not a directory" in refused.stderr
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
    assert "PGCHROMA_URL_FILE /nowhere cannot be read: No such file" in refused.stderr


@pytest.mark.parametrize("command", [("keys", "list"), ("compact",), ("migrate",)], ids=" ".join)
def test_the_command_line_wins_over_every_variable(
    run: Run, command: list[str], url: str, tmp_path: Path
) -> None:
    run(*command, "--url", url, PGCHROMA_URL=NOWHERE, PGCHROMA_PATH=tmp_path)
    run(*command, "--url", url, PGCHROMA_URL_FILE="/nowhere")
    refused = run(*command, "--path", tmp_path, PGCHROMA_URL=url, exit_code=2)
    assert "there is no database in this directory" in refused.stderr


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_two_databases_are_refused(run: Run, command: list[str], url: str, tmp_path: Path) -> None:
    refused = run(*command, "--url", url, "--path", tmp_path, exit_code=2)
    assert "--url and --path exclude each other" in refused.stderr


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_a_database_is_needed(run: Run, command: list[str]) -> None:
    refused = run(*command, exit_code=2)
    assert "Give --url or --path, or set PGCHROMA_URL, PGCHROMA_URL_FILE" in refused.stderr


def test_a_directory_is_migrated(run: Run, tmp_path: Path) -> None:
    pgchroma.PersistentClient(tmp_path).close()
    assert "the catalog is at revision" in run("migrate", "--path", tmp_path).stdout
    assert "the catalog is at revision" in run("migrate", PGCHROMA_PATH=tmp_path).stdout
    assert "[]" in run("keys", "list", "--json", PGCHROMA_PERSIST_PATH=tmp_path).stdout
