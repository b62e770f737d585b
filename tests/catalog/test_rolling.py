"""A server of older code at work while newer code upgrades the catalog below it.

The older code is that of an earlier commit of this repository.
"""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

import pgchroma
from pgchroma import errors
from pgchroma.catalog.phases import HEAD, Phase
from pgchroma.catalog.server_facts import read_facts
from pgchroma.catalog.upgrade import upgrade
from tests.compactor.conftest import QUIET

ROOT = Path(__file__).parents[2]

OLD = "c3226e2^"
"""The last commit with revision 0006 and layout 2."""

PROGRAM = """
    import pgchroma

    client = pgchroma.PostgresClient({url!r}, pgchroma.Settings(pgchroma_compaction=False))
    papers = client.get_or_create_collection("papers", embedding_function=None)
    print("open", flush=True)
    for step in range(3):
        input()
        papers.upsert(ids=[f"old-{{step}}", "both"], embeddings=[[step, 1.0], [step, 2.0]])
        papers.add(ids=f"gone-{{step}}", embeddings=[[9.0, 9.0]])
        papers.delete(ids=f"gone-{{step}}")
        other = client.create_collection(f"other-{{step}}", embedding_function=None)
        other.add(ids="1", embeddings=[[1.0]], metadatas=[{{"step": step}}])
        found = papers.query(query_embeddings=[[step, 1.0]], n_results=1)["ids"]
        print(papers.count(), found[0][0], sorted(papers.get()["ids"]), flush=True)
"""


@pytest.fixture(scope="module")
def old_code(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("old")
    paths = ["adapter", "migrations", "sql"]
    git = ["git", "-C", str(ROOT), "archive", OLD, *paths]
    try:
        packed = subprocess.run(git, capture_output=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("the history of the repository is not there")
    subprocess.run(["tar", "-x", "-C", place], input=packed.stdout, check=True)
    return place


@pytest.fixture
def old_server(old_code: Path, empty_url: str) -> Iterator[subprocess.Popen[str]]:
    """A process of the older code that has created a catalog and a collection."""
    command = [sys.executable, "-c", textwrap.dedent(PROGRAM.format(url=empty_url))]
    pipes: dict[str, Any] = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    environment = {**os.environ, "PYTHONPATH": str(old_code / "adapter")}
    with subprocess.Popen(command, **pipes, text=True, env=environment) as process:
        assert process.stdout is not None
        if process.stdout.readline() != "open\n":
            pytest.fail(process.communicate()[1])
        yield process
        process.kill()


def _step(process: subprocess.Popen[str]) -> str:
    """Let the older code write, search and create a collection; return what it found."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write("\n")
    process.stdin.flush()
    return process.stdout.readline() or process.communicate()[1]


@pytest.mark.slow
def test_older_code_works_through_the_upgrade(
    old_server: subprocess.Popen[str], empty_url: str
) -> None:
    validate = QUIET.model_copy(update={"migrations": "validate"})
    assert _step(old_server) == "2 old-0 ['both', 'old-0']\n"
    with psycopg.connect(empty_url, autocommit=True) as plain:
        assert read_facts(plain).revision == "0006"
        # Newer code does not start before the upgrade, so a rollout stops before it does harm.
        with pytest.raises(errors.VersionMismatchError, match="revision 0006, this code needs"):
            pgchroma.PostgresClient(empty_url, validate)
        upgrade(plain, phase=Phase.EXPAND)
        assert read_facts(plain).revision == HEAD
    # Both kinds of servers run.
    with pgchroma.PostgresClient(empty_url, validate) as newer:
        papers = newer.get_collection("papers")
        papers.upsert(ids=["new", "both"], embeddings=[[5.0, 5.0], [6.0, 6.0]])
        assert _step(old_server) == "4 old-1 ['both', 'new', 'old-0', 'old-1']\n"
        assert sorted(papers.get()["ids"]) == ["both", "new", "old-0", "old-1"]
        assert papers.count() == 4
        assert papers.query(query_embeddings=[[1.0, 1.0]], n_results=1)["ids"] == [["old-1"]]
        assert newer.get_collection("other-1").get()["ids"] == ["1"]
        papers.delete(ids="new")
        assert _step(old_server) == "4 old-2 ['both', 'old-0', 'old-1', 'old-2']\n"
    # What older code created after the upgrade has its layout until it is used.
    with pgchroma.PostgresClient(empty_url, validate) as newer:
        assert newer.get_collection("other-2").count() == 1
        newer.get_collection("other-2").add(ids="2", embeddings=[[1.0]])
        assert newer.get_collection("other-2").count() == 2
