"""Chroma's own tests of its API, which its package carries, against a pgchroma server.

They have two modes: a single node, and a cluster, which has the Search API and another default
index. They take minutes and a separate environment: `make upstream` makes it and runs them.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from pgchroma.embeddings.minilm.weights import export_onnx
from tests.server_process import running

ENVIRONMENT = Path(__file__).parents[2] / ".venv" / "upstream"

MODULES = (
    "test_api.py",
    "api",
    "client",
    "test_client.py",
    "property/test_filtering.py",
    "property/test_collections.py",
)

NOT_OURS = (
    # They start a server or a store of Chroma's own.
    "local_persist_api",
    "ssl_self_signed",
    "python_sqlite_persistent",
    "test_create_http_client",
    "test_persist_index_loading_params",
    # A single node adds the keys of metadata to the schema at once, not at compaction as a cluster.
    "discover",
    # It has no index of sparse vectors.
    "test_sparse_vector_not_allowed_locally",
    # The weights are downloaded, whatever the cache holds.
    "test_default_embedding",
)

CLUSTER_MODULES = (
    "api/test_schema_e2e.py",
    "api/test_search_api.py",
    "api/test_count_api.py",
    "api/test_limit_offset.py",
    "api/test_indexing_status.py",
    "configurations",
)

NOT_OF_A_CLUSTER = (
    # Both create nearly the same collection, and expect other defaults than each other and than
    # Chroma's server has.
    "test_empty_spann_configuration",
    "test_spann_default_parameters",
    # They expect HNSW by default, the opposite of the others; and that a setting is ignored.
    "test_default_collection_creation",
    "test_spann_configuration and not persistence",
    # Expects a ValueError for a request that Chroma's server answers with 400.
    "test_exclusive_update",
    # Forks are not supported.
    "fork",
)

_TOKENIZER_FILES = ("config.json", "special_tokens_map.json", "tokenizer_config.json", "vocab.txt")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(
        not (ENVIRONMENT / ".ready").exists(),
        reason="Chroma's tests are not installed; `make upstream` installs them",
    ),
]


def test_a_single_nodes_tests_pass(emptied: str, tmp_path: Path) -> None:
    port = emptied.rsplit(":", 1)[1]
    place = {
        "CHROMA_INTEGRATION_TEST_ONLY": "1",
        "CHROMA_SERVER_HOST": "localhost",
        "CHROMA_SERVER_HTTP_PORT": port,
        "CHROMA_PORT": port,
    }
    _run(tmp_path, MODULES, NOT_OURS, place)


def test_a_clusters_tests_pass(url: str, tmp_path: Path) -> None:
    arguments = ("--url", url, "--no-auth", "--allow-reset")
    environment = {"PGCHROMA_DEFAULT_KNN_INDEX": "spann"}
    with running(tmp_path / "log", *arguments, environment=environment) as server:
        port = server.url.rsplit(":", 1)[1]
        place = {"CHROMA_CLUSTER_TEST_ONLY": "1", "CHROMA_SERVER_HOST": f"127.0.0.1:{port}"}
        _run(tmp_path, CLUSTER_MODULES, NOT_OF_A_CLUSTER, place)


def _run(
    home: Path, modules: Sequence[str], left_out: Sequence[str], place: Mapping[str, str]
) -> None:
    model = home / ".cache/chroma/onnx_models/all-MiniLM-L6-v2/onnx"
    export_onnx(model)
    for name in _TOKENIZER_FILES:
        # Only looked for, never read.
        (model / name).touch()
    (tests,) = ENVIRONMENT.glob("lib/python*/site-packages/chromadb/test")
    done = subprocess.run(
        [
            ENVIRONMENT / "bin" / "python", "-m", "pytest", "-q", "-c", os.devnull,
            "-p", "no:cacheprovider", "-W", "ignore", "--timeout", "600",
            "-k", " and ".join(f"not ({name})" for name in left_out),
            *(tests / module for module in modules),
        ],
        cwd=home,
        env={
            "PATH": f"{ENVIRONMENT / 'bin'}:{os.environ['PATH']}",
            "HOME": str(home),
            "PROPERTY_TESTING_PRESET": "fast",
            **place,
        },
        capture_output=True,
        text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-5000:]
    assert " passed" in done.stdout
