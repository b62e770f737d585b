"""A server has indexes in memory where the extra is installed, and its workers share them."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

import pgchroma
from tests.memory.indexed import check_answer, clustered, fill
from tests.server_process import eventually, running

QUERY = clustered(1, seed=7)[0]
COUNT = 1_000


@pytest.mark.heavy
def test_workers_share_the_indexes_that_their_queries_miss(url: str, tmp_path: Path) -> None:
    directory = tmp_path / "memory"
    environment = {
        "PGCHROMA_URL": url,
        "PGCHROMA_MEMORY_INDEX_PATH": str(directory),
        "PGCHROMA_SEGMENT_BYTES": "0",
        "PGCHROMA_WORKERS": "2",
    }
    with running(tmp_path / "log", "--no-auth", environment=environment) as server:
        with pgchroma.HttpClient(server.url) as client:
            papers = client.create_collection(
                "papers", embedding_function=None, configuration={"hnsw": {"sync_threshold": 10}}
            )
            fill(papers, clustered(COUNT))
        stored = {str(n): row for n, row in enumerate(clustered(COUNT))}

        def asked() -> bool:
            # Each on a connection of its own, so both workers answer some.
            body = {"query_embeddings": [QUERY.tolist()], "n_results": 10}
            path = f"/tenants/default_tenant/databases/default_database/collections/{papers.id}"
            answer: Any = httpx.post(f"{server.url}/api/v2{path}/query", json=body).json()
            assert check_answer("l2", answer, QUERY, stored) >= 0.9
            return len(list(directory.glob("*.index"))) == 1

        eventually(asked)
        until = time.monotonic() + 3
        while time.monotonic() < until:
            asked()
        with psycopg.connect(url) as connection:
            tokens = connection.execute("select count(*) from pgchroma.memory_indexes").fetchone()
        assert tokens == (1,)
        log = server.log.read_text()
        assert log.count("built an index in memory of 1000 embeddings") == 1
        assert "Traceback" not in log


BROKEN = """
import pgchroma
settings = pgchroma.Settings(pgchroma_memory_index=True)
with pgchroma.PostgresClient({url!r}, settings) as client:
    papers = client.create_collection("papers", embedding_function=None)
    papers.add(ids=["a"], embeddings=[[1.0, 2.0]])
    print(papers.query(query_embeddings=[[1.0, 2.0]])["ids"])
"""


def test_without_a_working_faiss_queries_are_as_before(url: str, tmp_path: Path) -> None:
    package = tmp_path / "faiss"
    package.mkdir()
    (package / "__init__.py").write_text("import numpy.no_such_module")
    paths = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = subprocess.run(
        [sys.executable, "-c", BROKEN.format(url=url)],
        env={**os.environ, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "[['a']]\n"
    assert "no indexes in memory, because faiss cannot be imported: No module named" in done.stderr
