"""A directory of Chroma that LangChain wrote moves in, and gives the same answers in every way."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

import pgchroma
from pgchroma.embedded import EmbeddedPostgres
from tests.server_process import running
from tests.third_party.test_unmodified import PYTHON, SCRIPTS, installed

pytestmark = [pytest.mark.heavy, installed(PYTHON, "Chroma's clients in Python")]

PAGE = Path(__file__).parents[2] / "docs" / "importing.md"
TEXTS = 30
"""How many texts the script searches for, each once without and once with a filter."""

Found = list[tuple[str, str, dict[str, Any], float]]


def shown(language: str) -> list[str]:
    """Return the programs of the section."""
    return re.findall(rf"```{language} five-minutes\n(.*?)```", PAGE.read_text(), re.DOTALL)


def script(directory: Path, *arguments: str | Path) -> str:
    """Run Python where Chroma's clients are; fail with what it printed."""
    done = subprocess.run(
        [PYTHON / "bin" / "python", *arguments],
        cwd=directory,
        env={
            "PATH": os.environ["PATH"],
            "HOME": str(directory),
            "PYTHONPATH": str(SCRIPTS),
            "ANONYMIZED_TELEMETRY": "False",
        },
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with `chroma`, which LangChain wrote."""
    return tmp_path_factory.mktemp("moving")


@pytest.fixture(scope="module")
def expected(home: Path) -> list[Found]:
    """What Chroma finds in its directory."""
    found = script(home, SCRIPTS / "langchain_directory.py", "write", home / "chroma")
    return [[tuple(each) for each in answer] for answer in json.loads(found)]


@pytest.fixture(scope="module")
def printed(home: Path, expected: list[Found]) -> str:
    """What the commands of the section print; the first of them imports the directory."""
    commands = shown("sh")
    assert len(commands) == 2
    done = subprocess.run(
        ["sh", "-ec", "".join(commands)],
        cwd=home,
        env={**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr
    return done.stdout


@pytest.fixture
def database(home: Path, printed: str) -> Iterator[psycopg.Connection[Any]]:
    with (
        EmbeddedPostgres.open(home / "data", create=False) as postgres,
        psycopg.connect(postgres.conninfo) as connection,
    ):
        yield connection


def test_the_commands_of_the_page_show_the_records(printed: str, expected: list[Found]) -> None:
    assert f"articles: {TEXTS} of {TEXTS} records in " in printed
    assert re.search(rf"^articles +{TEXTS} +26 +l2 ", printed, re.MULTILINE)
    nearest = [f"{id}|{document}" for id, document, *_ in expected[0][:3]]
    assert printed.splitlines()[-3:] == nearest


@pytest.mark.usefixtures("printed")
def test_langchain_finds_the_same_over_http(
    home: Path, expected: list[Found], tmp_path: Path
) -> None:
    (program,) = shown("python")
    with running(tmp_path / "log", "--path", str(home / "data"), "--no-auth") as server:
        found = json.loads(script(home, SCRIPTS / "langchain_directory.py", "read", server.url))
        lines = script(
            home,
            "-c",
            "from langchain_directory import Letters\nembeddings = Letters()\n"
            + program.replace('"localhost", 8000', f'"localhost", {server.port}'),
        )
    assert len(found) == len(expected) == 2 * TEXTS
    for answer, wanted in zip(found, expected, strict=True):
        assert [each[:3] for each in answer] == [list(each[:3]) for each in wanted]
        assert [each[3] for each in answer] == pytest.approx([each[3] for each in wanted], rel=1e-5)
    assert lines.splitlines() == [f"{id} {document}" for id, document, *_ in expected[0][:3]]


def test_sql_finds_the_same(
    home: Path, database: psycopg.Connection[Any], expected: list[Found]
) -> None:
    program = (
        "import json\nfrom langchain_directory import Letters, documents\n"
        "print(json.dumps([Letters().embed_query(each.page_content) for each in documents()]))"
    )
    vectors = json.loads(script(home, "-c", program))
    for number, vector in enumerate(vectors):
        rows = database.execute(
            """
            select id, document, metadata, distance
            from chroma.query('articles', %s::vector, 5) order by distance
            """,
            [json.dumps(vector)],
        ).fetchall()
        wanted = expected[2 * number]
        assert [row[:3] for row in rows] == [each[:3] for each in wanted]
        assert [row[3] for row in rows] == pytest.approx([each[3] for each in wanted], rel=1e-5)


@pytest.mark.usefixtures("printed")
async def test_browse_shows_the_same(home: Path, expected: list[Found]) -> None:
    pytest.importorskip("textual", reason="the extra browse is not installed")
    from textual.widgets import DataTable  # noqa: PLC0415  (an extra)

    from pgchroma.cli.browser.app import Browser  # noqa: PLC0415
    from pgchroma.cli.browser.reading import Reader  # noqa: PLC0415

    settings = pgchroma.Settings(pgchroma_compaction=False)
    with pgchroma.PersistentClient(home / "data", settings) as client:
        app = Browser(Reader(client), "somewhere")
        async with app.run_test(size=(120, 40)) as pilot:

            async def press(*keys: str) -> list[tuple[str, str]]:
                """Press keys, and return the identifiers and documents that are shown then."""
                await pilot.press(*keys)
                for _ in range(2):
                    await pilot.app.workers.wait_for_complete()
                    await pilot.pause()
                table = app.screen.query_one("#records", DataTable)
                rows = [table.get_row_at(row) for row in range(table.row_count)]
                return [(str(row[0]), str(row[2])) for row in rows]

            await pilot.app.workers.wait_for_complete()
            await pilot.pause()
            records = await press("enter")
            assert len(records) == TEXTS
            assert records[0] == expected[0][0][:2]
            nearest = await press("m")
            assert nearest[:5] == [each[:2] for each in expected[0]]
            app.screen.query_one("#where").value = '{"subject": {"$ne": 0}}'  # type: ignore[attr-defined]
            filtered = await press("f", "enter")
            assert filtered[:5] == [each[:2] for each in expected[1]]
