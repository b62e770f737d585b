"""``pgchroma psql`` and ``pgchroma postgres``: other programs on the embedded PostgreSQL."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

import pgchroma
from pgchroma.cli import main
from pgchroma.embedded import EmbeddedPostgres, host
from tests.commands import runner
from tests.embedded.conftest import postmaster, server_lives
from tests.server_process import eventually

pytestmark = pytest.mark.heavy

START = [sys.executable, "-m", "pgchroma"]
Started = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A directory with a collection in it, which no client has open."""
    path = tmp_path / "data"
    with pgchroma.PersistentClient(path) as client:
        client.create_collection("papers", embedding_function=None).add(ids="1", embeddings=[1.0])
    return path


@pytest.fixture
def start() -> Iterator[Started]:
    """Starts the command, and kills its remaining processes after the test."""
    started: list[subprocess.Popen[str]] = []

    def start(*arguments: str | Path) -> subprocess.Popen[str]:
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        command = [*START, *map(str, arguments)]
        started.append(subprocess.Popen(command, text=True, **pipes))  # type: ignore[call-overload]
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


def _psql(
    *arguments: str | Path, given: str = "", path: Path | str | None = None
) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PATH": str(path or os.environ["PATH"])}
    return subprocess.run(
        [*START, "psql", *map(str, arguments)],
        input=given,
        capture_output=True,
        text=True,
        env=environment,
        timeout=60,
        check=False,
    )


@pytest.fixture
def fake(tmp_path: Path) -> Path:
    """A directory with a psql that prints its arguments and environment."""
    program = tmp_path / "bin" / "psql"
    program.parent.mkdir()
    program.write_text('#!/bin/sh\nprintf "%s\\n" "$@" "password $PGPASSWORD"\nexit 7\n')
    program.chmod(0o755)
    return program.parent


def test_psql_runs_on_a_directory_whose_server_is_down(data: Path, tmp_path: Path) -> None:
    # Without another psql on the PATH it is the wheel's.
    done = _psql("--path", data, "-At", "-c", "table papers_missing", path=tmp_path)
    assert done.returncode == 1
    assert 'relation "papers_missing" does not exist' in done.stderr
    query = "select collection from chroma.collections"
    done = _psql("-At", "--path", data, "-c", query, path=tmp_path)
    assert (done.stdout, done.returncode) == ("papers\n", 0), done.stderr
    script = "select :'word';\nselect nope;\nselect 1;\n"
    arguments = ("--no-psqlrc", "-Atv", "word=it", "-v", "ON_ERROR_STOP=1", "--file=-")
    done = _psql("--path", data, *arguments, given=script, path=tmp_path)
    assert (done.stdout, done.returncode) == ("it\n", 3), done.stderr
    assert not server_lives(data)


def test_psql_runs_on_a_url_and_takes_the_variables(url: str, fake: Path) -> None:
    secret = make_conninfo(url, password="sesame")
    done = _psql("--url", secret, "-c", "select 1", "--", "-x", path=fake)
    assert done.returncode == 7
    assert "sesame" not in done.stdout.replace("password sesame", "")
    assert done.stdout.splitlines()[1:] == ["-c", "select 1", "-x", "password sesame"]
    real = runner().invoke(main, ["psql", "-c", "\\q"], env={"PGCHROMA_URL": url})
    assert real.exit_code == 0, real.output


def test_a_missing_psql_is_told(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(host, "binaries", lambda: tmp_path)
    refused = runner().invoke(main, ["psql", "--url", url])
    assert refused.exit_code == 1
    assert "psql is not installed" in refused.stderr
    assert "apt-get install postgresql-client" in refused.stderr


def test_ctrl_c_ends_the_query_and_psql_says_how_it_ended(data: Path, start: Started) -> None:
    running = start("psql", "--path", data, "-c", "select pg_sleep(100)")
    eventually(lambda: _sleeps(data))
    running.send_signal(signal.SIGINT)
    _, said = running.communicate(timeout=60)
    assert "canceling statement due to user request" in said
    assert "Traceback" not in said
    assert running.returncode == 1
    assert not server_lives(data)


def test_a_psql_that_is_terminated_leaves_no_server(data: Path, start: Started) -> None:
    running = start("psql", "--path", data, "-c", "select pg_sleep(100)")
    eventually(lambda: _sleeps(data))
    running.send_signal(signal.SIGTERM)
    _, said = running.communicate(timeout=60)
    assert running.returncode == 128 + signal.SIGTERM, said
    assert not server_lives(data)


def _sleeps(data: Path) -> bool:
    if not server_lives(data):
        return False
    with EmbeddedPostgres.open(data) as server, psycopg.connect(server.conninfo) as plain:
        query = "select from pg_stat_activity where state = 'active' and query ~ '^select pg_sleep'"
        return plain.execute(query).fetchone() is not None


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_postgres_runs_until_a_signal(data: Path, start: Started, how: signal.Signals) -> None:
    running = start("postgres", "--path", data)
    assert running.stdout is not None
    url = running.stdout.readline().strip()
    with psycopg.connect(url) as plain:
        found = plain.execute("select collection from chroma.collections").fetchall()
    assert found == [("papers",)]
    assert _psql("--url", url, "-Atc", "select 1").stdout == "1\n"
    listed = runner().invoke(main, ["db", "list"], env={"PGCHROMA_URL": url})
    assert listed.output == "default_database\n"
    running.send_signal(how)
    _, said = running.communicate(timeout=60)
    assert running.returncode == 0, said
    assert "Traceback" not in said
    assert not server_lives(data)


def test_postgres_starts_a_server_again_that_died(data: Path, start: Started) -> None:
    running = start("postgres", "--path", data)
    assert running.stdout is not None
    url = running.stdout.readline().strip()
    first = postmaster(data)
    os.kill(first, signal.SIGKILL)

    def answers() -> bool:
        try:
            psycopg.connect(url).close()
        except psycopg.OperationalError:
            return False
        return postmaster(data) != first

    eventually(answers)
    running.send_signal(signal.SIGTERM)
    running.communicate(timeout=60)
    assert running.returncode == 0
    assert not server_lives(data)


def test_postgres_leaves_the_server_to_others(data: Path, start: Started) -> None:
    running = start("postgres", "--path", data)
    assert running.stdout is not None
    running.stdout.readline()
    with pgchroma.PersistentClient(data) as client:
        running.send_signal(signal.SIGTERM)
        running.communicate(timeout=60)
        assert client.get_collection("papers").count() == 1
    assert not server_lives(data)


def test_postgres_needs_a_directory(url: str) -> None:
    for arguments, variables in ((["--url", url], {}), ([], {"PGCHROMA_URL": url})):
        refused = runner().invoke(main, ["postgres", *arguments], env=variables)
        assert refused.exit_code == 2
        assert "pass the directory of an embedded PostgreSQL with --path" in refused.stderr
