"""The peers' processes, seen from the process that runs the benchmark."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

ROOT = Path(__file__).resolve().parents[2]
PYTHON = ROOT / ".venv" / "bin" / "python"
"""pgchroma's environment."""

OTHERS = ROOT / ".venv" / "bench" / "bin" / "python"
"""The environment of the other peers."""

READS = ("query", "curve", "fifty", "filters", "documents", "by_ids", "count", "concurrency")
GROWTH = ("query", "filters", "count")
"""The parts of collections that are measured only for their growth."""

OTHER = ("memory", "query", "curve", "fifty", "filters")
"""The parts of data sets other than the one that is measured completely."""

ALIKE = ("memory", "query", "curve", "fifty", "filters", "by_ids", "count")
"""The parts that vector databases without Chroma's interface do alike."""

CHANGES = ("upsert", "churn", "ingesting")


@dataclass(frozen=True)
class PeerSpec:
    """A peer: its name in the tables, its environment, and its parts."""

    label: str
    python: Path
    parts: tuple[str, ...]


ALL = ("batches", "memory", *READS, *CHANGES)
PEERS = {
    "pgchroma": PeerSpec("pgchroma", PYTHON, ALL),
    "chromadb": PeerSpec("chromadb", OTHERS, ALL),
    "psycopg": PeerSpec("SQL by hand", PYTHON, ALL),
    "langchain": PeerSpec("langchain-postgres", OTHERS, ("memory", "query", "curve", "filters")),
    "lancedb": PeerSpec("LanceDB", OTHERS, ALIKE),
    "qdrant": PeerSpec("Qdrant Edge", OTHERS, ALIKE),
}


class PeerError(Exception):
    """A peer could not do its part."""


class Process:
    """A peer's process; a context manager, in which it executes parts."""

    def __init__(self, peer: str, directory: Path, place: Path) -> None:
        self.peer = peer
        environment = {
            "ANONYMIZED_TELEMETRY": "False",
            "PGCHROMA_PYTHON": str(PYTHON),
            # The caller's entries go first: another checkout of pgchroma, perhaps.
            "PYTHONPATH": os.pathsep.join(
                path for path in (os.environ.get("PYTHONPATH"), str(ROOT / "benchmarks")) if path
            ),
        }
        directory.mkdir(parents=True, exist_ok=True)
        self._process = subprocess.Popen(
            [
                *(str(PEERS[peer].python), "-m", "scale.worker"),
                *(peer, str(directory), str(place)),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | environment,
        )

    def ask(self, part: str, number: int = 0) -> dict[str, Any]:
        """Have a part done, and return its measures.

        Raises:
            PeerError: It was not done; why has been printed.
        """
        self.begin(part, number)
        return self.end(part)

    def begin(self, part: str, number: int = 0) -> None:
        """Start a part; the next call must be `end`."""
        assert self._process.stdin
        with contextlib.suppress(BrokenPipeError):  # `end` will raise.
            self._process.stdin.write(json.dumps([part, number]) + "\n")
            self._process.stdin.flush()

    def end(self, part: str) -> dict[str, Any]:
        """Wait for the part that was begun, and return its measures.

        Raises:
            PeerError: It was not done; why has been printed.
        """
        assert self._process.stdout
        line = self._process.stdout.readline()
        answer: dict[str, Any]
        answer = json.loads(line) if line else {"error": "its process has ended"}
        if "error" in answer:
            print(f"{self.peer}, {part}: {answer['error']}", file=sys.stderr, flush=True)
            raise PeerError(part)
        result: dict[str, Any] = answer["result"]
        return result

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Make it close the peer and exit."""
        assert self._process.stdin
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        try:
            self._process.wait(timeout=120)
        except subprocess.TimeoutExpired:
            print(f"{self.peer} does not end; killing it", file=sys.stderr)
            self._process.kill()
