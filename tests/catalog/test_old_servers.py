"""Servers with an old pgvector or an old PostgreSQL: refused before anything is created in them.

The old pgvector is real to PostgreSQL: a control file and a script in a directory that
`extension_control_path` of the test's database leads to.
"""

from __future__ import annotations

import logging
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql

import pgchroma
from pgchroma import errors
from pgchroma.catalog import pgvector, server_facts
from pgchroma.catalog.offline import offline_sql
from pgchroma.catalog.pgvector import MIN_PGVECTOR, check_version, is_too_old
from pgchroma.catalog.upgrade import prepare
from pgchroma.embedded.host import binaries
from tests.postgres import VARIABLE, Postgres, serving_postgres

Provide = Callable[[str | None], None]

ON_SERVER = r"on this server is too old.*Install a newer pgvector on the server"
IN_DATABASE = r"The server has pgvector 0\.8\.\d+.*run: alter extension vector update.*reindex"

OLD_POSTGRES = sorted(Path("/usr/lib/postgresql").glob("1[0-5]/bin/postgres"))


@pytest.fixture
def files(server: Postgres) -> Iterator[Path]:
    """A directory where the server looks for extensions."""
    if VARIABLE in os.environ:
        pytest.skip("the embedded server has extension_control_path; older ones do not")
    with psycopg.connect(server.conninfo) as plain:
        if plain.info.server_version < 18_00_00:
            pytest.skip("PostgreSQL looks for extensions in one place only before version 18")
    with tempfile.TemporaryDirectory(dir=server.directory) as directory:
        Path(directory).chmod(0o755)
        Path(directory, "extension").mkdir(mode=0o755)
        yield Path(directory, "extension")


@pytest.fixture
def provide(empty_url: str, files: Path) -> Provide:
    """Install the files of a version of pgvector; `None` means the server's own files."""
    real = binaries().parent / "share" / "extension"

    def provide(version: str | None) -> None:
        control = (real / "vector.control").read_text()
        own = re.findall(r"default_version = '(.*)'", control)[0]
        (files / "vector.control").write_text(control.replace(own, version or own))
        shutil.copy(real / f"vector--{own}.sql", files / f"vector--{version or own}.sql")
        if version is not None:
            # The old version has everything already that an update would create.
            (files / f"vector--{version}--{own}.sql").write_text("select 1;")
        path = f"{files.parent}:$system"
        with psycopg.connect(empty_url, autocommit=True) as plain:
            name = sql.Identifier(plain.info.dbname)
            statement = sql.SQL("alter database {} set extension_control_path = {}")
            plain.execute(statement.format(name, sql.Literal(path)))

    return provide


def _contents(url: str) -> list[tuple[Any, ...]]:
    """All schemas, extensions and relations of a database, with their versions."""
    with psycopg.connect(url) as plain:
        return plain.execute(
            "select 'schema', nspname::text, '' from pg_namespace where nspname !~ '^pg_t'"
            " union all select 'extension', extname::text, extversion from pg_extension"
            " union all select 'relation', oid::regclass::text, '' from pg_class"
            "   where relnamespace <> 'pg_toast'::regnamespace"
            " order by 1, 2"
        ).fetchall()


def _by_client(url: str) -> str:
    with pytest.raises(errors.VersionMismatchError) as refused:
        pgchroma.PostgresClient(url)
    return str(refused.value)


def _by_command(*arguments: str) -> Callable[[str], str]:
    def refused(url: str) -> str:
        command = [sys.executable, "-m", "pgchroma", *arguments, "--url", url]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 1, done
        assert "Traceback" not in done.stderr
        return done.stderr

    return refused


WAYS = {
    "client": _by_client,
    "migrate": _by_command("migrate"),
    "adopt": _by_command("adopt"),
    "run": _by_command("run", "--no-auth", "--port", "0"),
}


@pytest.mark.heavy
@pytest.mark.parametrize("way", WAYS)
def test_old_files_on_the_server_are_refused_before_anything_is_created(
    way: str, empty_url: str, provide: Provide
) -> None:
    provide("0.7.4")
    before = _contents(empty_url)
    message = WAYS[way](empty_url)
    assert re.search(rf"pgvector 0\.7\.4 {ON_SERVER}", message), message
    assert "iterative index scans" in message
    assert _contents(empty_url) == before


@pytest.mark.heavy
@pytest.mark.parametrize("way", WAYS)
def test_an_old_extension_is_refused_before_anything_is_created(
    way: str, empty_url: str, provide: Provide
) -> None:
    provide("0.7.1")
    with psycopg.connect(empty_url, autocommit=True) as plain:
        plain.execute("create extension vector")
    before = _contents(empty_url)
    assert ("extension", "vector", "0.7.1") in before
    both_old = WAYS[way](empty_url)
    assert re.search(r"pgvector 0\.7\.1 is too old.*Install a newer pgvector on the", both_old)
    provide(None)
    message = WAYS[way](empty_url)
    assert re.search(IN_DATABASE, message), message
    assert _contents(empty_url) == before


def test_what_the_message_says_mends_it(empty_url: str, provide: Provide) -> None:
    provide("0.7.4")
    with psycopg.connect(empty_url, autocommit=True) as plain:
        plain.execute("create extension vector")
    provide(None)
    assert "alter extension vector update;" in _by_client(empty_url)
    with psycopg.connect(empty_url, autocommit=True) as plain:
        plain.execute("alter extension vector update")
    with pgchroma.PostgresClient(empty_url) as client:
        client.create_collection("papers").add(ids="1", embeddings=[1.0])


def test_a_catalog_is_not_upgraded_on_an_old_extension(
    url: str, connection: psycopg.Connection[Any]
) -> None:
    connection.execute("update pg_extension set extversion = '0.7.2' where extname = 'vector'")
    connection.execute("update pgchroma.alembic_version set version_num = '0005'")
    with pytest.raises(errors.VersionMismatchError, match=IN_DATABASE):
        pgchroma.PostgresClient(url)
    found = connection.execute("select version_num from pgchroma.alembic_version").fetchone()
    assert found == ("0005",)


def test_a_server_without_pgvector_is_refused(empty_url: str, files: Path) -> None:
    with psycopg.connect(empty_url, autocommit=True) as plain:
        name = sql.Identifier(plain.info.dbname)
        nowhere = sql.Literal(str(files))
        plain.execute(
            sql.SQL("alter database {} set extension_control_path = {}").format(name, nowhere)
        )
    before = _contents(empty_url)
    assert "pgvector is not installed on this server. Install its package" in _by_client(empty_url)
    assert _contents(empty_url) == before


@pytest.mark.heavy
@pytest.mark.skipif(not OLD_POSTGRES, reason="no PostgreSQL 10 to 15: apt-get install postgresql")
@pytest.mark.parametrize("way", WAYS)
def test_a_real_old_postgres_is_refused_before_anything_is_created(way: str, old_url: str) -> None:
    before = _contents(old_url)
    assert re.search(r"PostgreSQL 1[0-5] is too old: pgchroma needs 16", WAYS[way](old_url))
    assert _contents(old_url) == before


@pytest.fixture(scope="module")
def old_url() -> Iterator[str]:
    """A database on a PostgreSQL that is too old."""
    with (
        tempfile.TemporaryDirectory(prefix="pgchroma-old-") as directory,
        pytest.MonkeyPatch.context() as patch,
    ):
        Path(directory).chmod(0o755)
        patch.setenv(VARIABLE, str(OLD_POSTGRES[-1].parent))
        with serving_postgres(Path(directory)) as old:
            # It is read when a server is started, and by the other tests.
            patch.undo()
            yield old.conninfo


def test_an_old_postgres_is_refused_before_anything_is_created(
    empty_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Few machines have an old server, so here the bound is moved instead.
    monkeypatch.setattr(server_facts, "MIN_POSTGRES", 990_000)
    before = _contents(empty_url)
    assert "is too old: pgchroma needs 16 or newer" in _by_client(empty_url)
    assert _contents(empty_url) == before


def test_the_sql_for_review_refuses_an_old_pgvector(empty_url: str, provide: Provide) -> None:
    provide("0.7.4")
    before = _contents(empty_url)
    with psycopg.connect(empty_url, autocommit=True) as plain:
        with pytest.raises(psycopg.errors.RaiseException, match=r"0\.7\.4 is too old"):
            plain.execute(offline_sql().encode())
        plain.execute("rollback")
    assert _contents(empty_url) == before
    least = str(MIN_PGVECTOR)
    provide(least)
    with psycopg.connect(empty_url, autocommit=True) as plain:
        plain.execute(offline_sql().encode())
        assert prepare(plain, "validate").vector_version == least


def test_versions_are_compared_by_their_numbers() -> None:
    for version in ("0.7.10", "0.8", "0.7.4-dev", "0.5.1"):
        assert is_too_old(version)
        with pytest.raises(errors.VersionMismatchError):
            check_version(version, None, 180_000)
    for version in ("0.8.0", "0.8.10", "0.9.0-dev", "1.0"):
        check_version(version, None, 180_000)


@pytest.mark.parametrize(
    ("version", "message"),
    [
        (
            "0.8.0",
            r"buffer overflow.*\(0\.8\.2\).*corruption.*\(0\.8\.3\).*with one process and it",
        ),
        ("0.8.2", r"pgvector 0\.8\.2 .*fix: possible corruption.*avoids them: it never vacuums"),
        ("0.8.3", r"fix: the error 'hnsw graph not repaired' in vacuum \(0\.8\.4\)"),
        ("0.8.4", None),
    ],
)
def test_a_version_with_bugs_is_used_with_one_warning(
    version: str,
    message: str | None,
    url: str,
    connection: psycopg.Connection[Any],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(pgvector, "_warned", set())
    connection.execute(
        "update pg_extension set extversion = %s where extname = 'vector'", [version]
    )
    with caplog.at_level(logging.WARNING, "pgchroma.catalog"):
        for _ in range(2):
            with pgchroma.PostgresClient(url) as client:
                client.get_or_create_collection("papers").upsert(ids="1", embeddings=[1.0])
    logged = [record.getMessage() for record in caplog.records]
    assert len(logged) == (0 if message is None else 1)
    assert message is None or re.search(message, logged[0]), logged
    assert message is None or re.search(r"The server has pgvector .*alter extension", logged[0])


def test_the_advice_depends_on_the_files_of_the_server(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(pgvector, "_warned", set())
    pgvector.warn_of_bugs("0.8.2", "0.8.2", 170_000)
    assert "apt-get install postgresql-17-pgvector" in caplog.text
    assert "alter extension" not in caplog.text
