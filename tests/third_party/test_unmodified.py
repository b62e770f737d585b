"""Chroma's clients, as published, against a pgchroma server on a socket.

Each script is a client program that also passes against a Chroma server. It runs in a separate
environment, since the clients and their dependencies do not belong in the project's own.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.heavy

SCRIPTS = Path(__file__).parent / "scripts"
ENVIRONMENTS = Path(__file__).parents[2] / ".venv"
PYTHON = ENVIRONMENTS / "clients"
NODE = ENVIRONMENTS / "node"


def installed(environment: Path, clients: str) -> pytest.MarkDecorator:
    """Skip the test where `make clients` did not make the environment."""
    return pytest.mark.skipif(
        not (environment / ".ready").exists(),
        reason=f"{clients} are not installed; `make clients` installs them",
    )


@installed(PYTHON, "Chroma's clients in Python")
@pytest.mark.parametrize(
    "script",
    [
        "chromadb_sync", "chromadb_async", "with_langchain", "with_llama_index", "with_haystack",
        "with_mcp", "with_mem0", "with_crewai", "with_autogen", "searching", "searching_langchain",
        "searching_llama_index",
    ],
)  # fmt: skip
def test_a_python_client(script: str, served: str, tmp_path: Path) -> None:
    run([PYTHON / "bin" / "python", SCRIPTS / f"{script}.py", served], tmp_path)


@installed(NODE, "Node and Chroma's client in JavaScript")
@pytest.mark.parametrize("script", ["javascript", "searching"])
def test_the_javascript_client(script: str, served: str) -> None:
    program = (SCRIPTS / f"{script}.mjs").read_bytes()
    run(["node", "--input-type=module", "-", served], NODE, program)


def run(command: list[str | Path], directory: Path, program: bytes | None = None) -> None:
    """Run a script in a directory, with little of our environment; fail with what it printed."""
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(directory),
        "HTTPS_PROXY": "http://127.0.0.1:9",  # no proxy listens there: nothing may be downloaded
    }
    done = subprocess.run(
        command,
        cwd=directory,
        env=environment,
        input=program,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=150,
        check=False,
    )
    if done.returncode:
        pytest.fail(done.stdout.decode(errors="replace"), pytrace=False)
