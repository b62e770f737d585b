"""Chroma's own server as a source and as a target; `make bench-http` installs it."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from pgchroma.backends._sync.http import HttpBackend
from pgchroma.client._sync.backends import http_backend
from pgchroma.config import Settings
from pgchroma.model.entities import DatabaseRef
from pgchroma.model.operations import GetCollection
from pgchroma.transfer.importing import Assignment, import_collection
from pgchroma.transfer.options import TransferOptions
from pgchroma.transfer.readers.backend import Selection
from pgchroma.transfer.readers.server import ServerSource
from pgchroma.transfer.writers.backend import BackendTarget, check_writable
from tests.server_process import eventually, free_port
from tests.transfer.sources import (
    SCOPE,
    ListSource,
    Record,
    assignment,
    check_stored,
    opened,
    some_records,
    stored,
)

CHROMA = Path(__file__).parents[2] / ".venv" / "clients" / "bin" / "chroma"

pytestmark = [
    pytest.mark.heavy,
    pytest.mark.skipif(
        not CHROMA.exists(), reason="Chroma's server is not installed; `make clients` does it"
    ),
]

OPTIONS = TransferOptions(batch_size=100)


@pytest.fixture(scope="module")
def chroma(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    path, port = tmp_path_factory.mktemp("chroma"), free_port()
    command = [str(CHROMA), "run", "--path", str(path / "data"), "--port", str(port)]
    with (path / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        url = f"http://127.0.0.1:{port}"
        eventually(lambda: process.poll() is not None or _answers(url))
        assert process.poll() is None, (path / "log").read_text()
        yield url
    finally:
        process.kill()
        process.wait()


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/api/v2/heartbeat").is_success
    except httpx.TransportError:
        return False


@pytest.fixture
def chroma_backend(chroma: str) -> Iterator[HttpBackend]:
    backend = http_backend(Settings(chroma_server_host=chroma))
    yield backend
    backend.close()


def simple_records(count: int) -> list[Record]:
    """Records of what Chroma's server stores without rounding it."""
    records = some_records(count)
    for record in records:
        keys = ("int", "whole", "bool", "text", "strings", "ints")
        record.metadata = {key: record.metadata[key] for key in keys} if record.metadata else None
    return records


def test_a_collection_is_copied_to_chroma_and_back(
    chroma_backend: HttpBackend, chroma: str, url: str
) -> None:
    check_writable(chroma_backend)
    records = simple_records(250)
    details: dict[str, Any] = {
        "metadata": {"topic": "x", "n": 1, "f": 0.5, "b": True},
        "configuration": {
            "hnsw": {"space": "ip", "ef_search": 77},
            "embedding_function": {"type": "known", "name": "default", "config": {}},
        },
    }
    scope = DatabaseRef("acme", "library")
    source = ListSource(records, name="there", details=details)
    report = import_collection(
        source, BackendTarget(chroma_backend), assignment(source, scope), OPTIONS
    )
    assert report.is_faithful, list(report.lines())
    check_stored(stored(chroma_backend, "there", scope), records)

    with (
        ServerSource(http_backend(Settings(chroma_server_host=chroma)), Selection("acme")) as back,
        opened(url) as backend,
    ):
        (found,) = back.collections()
        assert (found.database, found.count, found.dimension) == ("library", 250, 8)
        back_again = Assignment(found, SCOPE, "back")
        report = import_collection(back, BackendTarget(backend), back_again, OPTIONS)
        assert report.is_faithful, list(report.lines())
        check_stored(stored(backend, "back"), records)
        model = backend.execute(GetCollection(SCOPE, "back"))
    assert model.metadata == details["metadata"]
    shown = model.configuration_json
    assert (shown["hnsw"]["space"], shown["hnsw"]["ef_search"]) == ("ip", 77)
    assert shown["embedding_function"]["name"] == "default"


def test_what_chroma_does_not_store_is_reported(chroma_backend: HttpBackend) -> None:
    records = some_records(60, has_gaps=True)
    details = {
        "configuration": {
            "hnsw": {"space": "cosine"},
            "text": {"language": "english", "average_length": 64},
        },
        "schema": {
            "defaults": {},
            "keys": {
                "sparse": {
                    "sparse_vector": {"sparse_vector_index": {"enabled": True, "config": {}}}
                }
            },
        },
    }
    source = ListSource(records, name="partly", details=details)
    report = import_collection(source, BackendTarget(chroma_backend), assignment(source), OPTIONS)
    reasons = " | ".join({loss.reason for loss in report.losses})
    assert "the target has no full-text index" in reasons
    assert "it has no embedding, and the API of servers has no such records" in reasons
    # Chroma refuses sparse vectors, so only records without metadata arrive.
    without_metadata = [e for e in records if e.metadata is None and e.embedding is not None]
    assert report.written == len(without_metadata)
    assert stored(chroma_backend, "partly").ids == [each.id for each in without_metadata]


def test_embeddings_that_chroma_normalizes_and_floats_that_it_rounds(
    chroma_backend: HttpBackend,
) -> None:
    records = some_records(300)
    for n, record in enumerate(records):
        record.metadata = {"float": (n + 271) / 3}
    details = {"configuration": {"hnsw": {"space": "cosine"}}}
    source = ListSource(records, name="rounded", details=details)
    report = import_collection(source, BackendTarget(chroma_backend), assignment(source), OPTIONS)
    assert (report.status, report.differing) == ("complete", ())
    assert {loss.part for loss in report.losses} <= {"metadata", "embedding"}
    assert "the target rounds the last digit of floats" in {loss.reason for loss in report.losses}
