"""``pgchroma db connect``: the lines that it prints connect, and contain no secret."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from click.testing import Result
from psycopg.conninfo import conninfo_to_dict

import pgchroma
from pgchroma.cli import main
from pgchroma.embedded.host import binaries
from tests.commands import runner

QUIET = pgchroma.Settings(pgchroma_compaction=False)


def _run(*args: str, code: int = 0, **env: str | None) -> Result:
    result = runner().invoke(main, ["db", "connect", *args], env={"PGCHROMA_API_KEY": None, **env})
    assert result.exit_code == code, result.output
    assert "sesame" not in result.output
    return result


@pytest.fixture
def plain(url: str) -> str:
    """The test's database as a short URL with a password."""
    given: dict[str, str] = {k: str(v) for k, v in conninfo_to_dict(url).items()}
    with pgchroma.PostgresClient(url, QUIET) as client:
        client.create_tenant("acme")
        client.create_database("docs", "acme")
    query = urlencode({"host": given["host"], "user": given["user"], "password": "sesame"})
    return f"postgresql:///{given['dbname']}?{query}"


def _client_of(text: str) -> Any:
    names: dict[str, Any] = {}
    exec(text, names)
    return names["client"]


def test_the_lines_for_python_connect(plain: str, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = _run("docs", "--tenant", "acme", "--language", "python", PGCHROMA_URL=plain).stdout
    assert "# The password comes from PGPASSWORD" in lines
    monkeypatch.setenv("PGPASSWORD", "sesame")
    with _client_of(lines) as client:
        assert (client.tenant, client.database) == ("acme", "docs")
        assert client.list_collections() == []


def test_the_line_for_psql_finds_the_collections(plain: str) -> None:
    url = plain.replace("&password=sesame", "")
    with pgchroma.PostgresClient(url, QUIET, tenant="acme", database="docs") as client:
        client.create_collection("papers", embedding_function=None)
    lines = _run("docs", "--tenant", "acme", "--language", "psql", PGCHROMA_URL=url).stdout
    path = os.pathsep.join([str(binaries()), os.environ["PATH"]])
    command = f'{lines.strip()} -Atc "select count(*) from papers"'
    done = subprocess.run(
        ["sh", "-c", command], capture_output=True, text=True, check=False,
        env={**os.environ, "PATH": path},
    )  # fmt: skip
    assert done.stdout == "0\n", done.stderr


def test_the_lines_for_a_server_connect(emptied: str) -> None:
    lines = json.loads(_run("--json", PGCHROMA_URL=emptied).stdout)
    assert lines.keys() == {"python", "javascript", "psql"}
    with _client_of(lines["python"]) as client:
        assert client.heartbeat() > 0
    port = emptied.rsplit(":", 1)[1]
    assert f"port: {port}," in lines["javascript"]
    assert "ssl: false," in lines["javascript"]
    assert "needs the URL of the database" in lines["psql"]
    with_key = _run("--language", "python", PGCHROMA_URL=emptied, PGCHROMA_API_KEY="sesame").stdout
    assert 'os.environ["PGCHROMA_API_KEY"]' in with_key


@pytest.mark.heavy
def test_the_lines_for_a_directory_name_it(tmp_path: Path) -> None:
    pgchroma.PersistentClient(tmp_path).close()
    lines = _run("--path", str(tmp_path)).stdout
    assert f"pgchroma.PersistentClient(\n    '{tmp_path}'," in lines
    assert f"pgchroma run --path {tmp_path}" in lines
    assert f"pgchroma psql --path {tmp_path}" in lines


def test_the_lines_for_javascript_are_javascript(emptied: str, tmp_path: Path) -> None:
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is not installed")
    lines = _run("--language", "typescript", PGCHROMA_URL=emptied).stdout
    (tmp_path / "connect.mjs").write_text(lines)
    done = subprocess.run([node, "--check", str(tmp_path / "connect.mjs")], check=False)
    assert done.returncode == 0


def test_variables_are_lines_of_an_env_file(plain: str, emptied: str) -> None:
    lines = _run("docs", "--tenant", "acme", "--env-vars", PGCHROMA_URL=plain).stdout.splitlines()
    assert lines[0].startswith("PGCHROMA_URL=")
    assert lines[1:] == ["CHROMA_TENANT=acme", "CHROMA_DATABASE=docs"]
    assert f"CHROMA_HOST={emptied}" in _run("--env-vars", PGCHROMA_URL=emptied).stdout


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("postgresql://app:sesame@db.example/app", "postgresql://app@db.example/app"),
        (
            "postgresql+psycopg://app:sesame@db.example:5433/app",
            "postgresql://app@db.example:5433/app",
        ),
        ("host=db.example password=sesame dbname=app", "host=db.example dbname=app"),
        (
            "postgresql://db.example/app?password=sesame&user=app",
            "user=app dbname=app host=db.example",
        ),
        ("postgresql://db.example/app", "postgresql://db.example/app"),
    ],
)
def test_a_password_is_left_out(given: str, shown: str) -> None:
    from pgchroma.cli.connect import _without_password  # noqa: PLC0415

    text, is_secret = _without_password(given)
    assert conninfo_to_dict(text) == conninfo_to_dict(shown)
    assert is_secret == ("sesame" in given)


def test_an_unknown_database_is_refused(plain: str) -> None:
    assert "not found" in _run("nothing", code=2, PGCHROMA_URL=plain).stderr
    assert "not found" in _run("docs", code=2, PGCHROMA_URL=plain).stderr
