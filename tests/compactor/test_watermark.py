"""What the compactor of a process records of the log: versions and discovered keys."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Any

import psycopg
import pytest

import pgchroma
from pgchroma.compactor import thread, watermark
from tests.compactor.conftest import QUIET, compact
from tests.server_process import eventually

SCHEMA = "default_tenant__default_database"


def _discovered(client: pgchroma.ClientAPI) -> dict[str, Any]:
    model = client.get_collection("papers").get_model()
    return dict(model.discovered)


def _version(client: pgchroma.ClientAPI) -> int:
    return client.get_collection("papers").get_model().version


def test_a_single_record_makes_a_version(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(thread, "IDLE_SECONDS", 0.2)
    # A process knows the keys that it wrote.
    monkeypatch.setattr(watermark, "_find_keys", None)
    with pgchroma.PostgresClient(url) as client:
        papers = client.create_collection("papers", embedding_function=None)
        papers.add(ids="1", embeddings=[1.0], metadatas={"k": 1})
        eventually(lambda: _version(client) == 1)
        assert _discovered(client) == {"k": ("int",)}
        assert papers.get_indexing_status().op_indexing_progress == 1.0
        papers.update(ids="1", metadatas={"k": "one", "other": [1.5]})
        eventually(lambda: _version(client) == 2)
        assert _discovered(client) == {"k": ("string", "int"), "other": ("float",)}


def test_a_collection_that_is_never_idle_gets_versions(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(thread, "IDLE_SECONDS", 3600.0)
    monkeypatch.setattr(thread, "OVERDUE_SECONDS", 0.5)
    with pgchroma.PostgresClient(url) as client:
        client.create_collection("papers", embedding_function=None).add(ids="1", embeddings=[1.0])
        eventually(lambda: _version(client) == 1)


_WRITE = """
import os, sys, pgchroma
client = pgchroma.PostgresClient(sys.argv[1])
papers = client.create_collection("papers", embedding_function=None)
papers.add(ids="1", embeddings=[1.0], metadatas={"k": 1})
os.kill(os.getpid(), 9)
"""


def test_what_a_killed_process_wrote_is_found(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(thread, "IDLE_SECONDS", 0.2)
    killed = subprocess.run([sys.executable, "-c", _WRITE, url], check=False)
    assert killed.returncode == -9
    with pgchroma.PostgresClient(url) as client:
        assert _version(client) == 0
        # A caller that waits for the progress wakes the compactor.
        papers = client.get_collection("papers")
        eventually(lambda: papers.get_indexing_status().op_indexing_progress == 1.0)
        assert (_version(client), _discovered(client)) == (1, {"k": ("int",)})


def test_a_catalog_that_is_locked_is_written_later(url: str) -> None:
    with pgchroma.PostgresClient(url, QUIET) as client:
        papers = client.create_collection("papers", embedding_function=None)
        papers.add(ids="1", embeddings=[1.0], metadatas={"k": 1})
        with psycopg.connect(url) as other:
            other.execute("select from pgchroma.collections for update")
            with ThreadPoolExecutor() as threads:
                working = threads.submit(compact, url)
                assert wait([working], 0.5).not_done
                other.rollback()
                working.result()
        assert (_version(client), _discovered(client)) == (1, {"k": ("int",)})


def test_a_pass_at_the_end_of_the_log_reads_no_records(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pgchroma.PostgresClient(url, QUIET) as client:
        papers = client.create_collection("papers", embedding_function=None)
        papers.add(ids="1", embeddings=[1.0], metadatas={"k": 1})
        compact(url, merges_all=False)
        monkeypatch.setattr(watermark, "_find_keys", None)
        compact(url, merges_all=False)
        assert _version(client) == 1
