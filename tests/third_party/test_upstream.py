"""Chroma's own tests of its API, which its package carries, against a pgchroma server.

They take minutes and a separate environment: `make upstream` makes it and runs them.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from pgchroma.embeddings.minilm.weights import export_onnx

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
    # Keys that were seen in metadata are not added to the schema.
    "discover",
    # The weights are downloaded, whatever the cache holds.
    "test_default_embedding",
)

_TOKENIZER_FILES = ("config.json", "special_tokens_map.json", "tokenizer_config.json", "vocab.txt")


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.skipif(
    not (ENVIRONMENT / ".ready").exists(),
    reason="Chroma's tests are not installed; `make upstream` installs them",
)
def test_chromas_own_tests_pass(emptied: str, tmp_path: Path) -> None:
    model = tmp_path / ".cache/chroma/onnx_models/all-MiniLM-L6-v2/onnx"
    export_onnx(model)
    for name in _TOKENIZER_FILES:
        # Only looked for, never read.
        (model / name).touch()
    (tests,) = ENVIRONMENT.glob("lib/python*/site-packages/chromadb/test")
    port = emptied.rsplit(":", 1)[1]
    done = subprocess.run(
        [
            ENVIRONMENT / "bin" / "python", "-m", "pytest", "-q", "-c", os.devnull,
            "-p", "no:cacheprovider", "-W", "ignore", "--timeout", "300",
            "-k", " and ".join(f"not {name}" for name in NOT_OURS),
            *(tests / module for module in MODULES),
        ],
        cwd=tmp_path,
        env={
            "PATH": f"{ENVIRONMENT / 'bin'}:{os.environ['PATH']}",
            "HOME": str(tmp_path),
            "CHROMA_INTEGRATION_TEST_ONLY": "1",
            "CHROMA_SERVER_HOST": "localhost",
            "CHROMA_SERVER_HTTP_PORT": port,
            "CHROMA_PORT": port,
            "PROPERTY_TESTING_PRESET": "fast",
        },
        capture_output=True,
        text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-5000:]
    assert " passed" in done.stdout
