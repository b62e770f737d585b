"""The machine of the benchmark, saved with the results: another one may write the report."""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import tempfile
import time
from importlib import metadata
from pathlib import Path
from typing import Any

from scale.peer_process import PYTHON

ASK = """
import json, tempfile, psycopg
from importlib.metadata import version
from pgchroma.embedded import EmbeddedPostgres
with EmbeddedPostgres.open_ephemeral() as server, psycopg.connect(server.conninfo) as database:
    database.execute("create extension if not exists vector")
    found = database.execute(
        "select current_setting('server_version'), extversion from pg_extension"
        " where extname = 'vector'"
    ).fetchone()
print(json.dumps({"PostgreSQL": found[0].split()[0], "pgvector": found[1],
    "pgchroma": version("pgchroma"), "psycopg": version("psycopg")}))
"""


def remember(directory: Path, command: str, minutes: float, measured: str) -> None:
    """Save a description of this machine, and which command ran on it when, how long, on what."""
    path = directory / "machine.json"
    commands = recall(directory).get("commands", {}) if path.exists() else {}
    today = time.strftime("%Y-%m-%d")
    commands[command] = {"minutes": minutes, "date": today, "revision": measured}
    path.write_text(json.dumps(_described() | {"commands": commands}, indent=1), encoding="utf-8")


def recall(directory: Path) -> dict[str, Any]:
    """Return the description that was saved last."""
    found: dict[str, Any] = json.loads((directory / "machine.json").read_text(encoding="utf-8"))
    return found


def _described() -> dict[str, Any]:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    asked = subprocess.run([str(PYTHON), "-c", ASK], stdout=subprocess.PIPE, text=True, check=True)
    names = ("chromadb", "langchain-postgres", "lancedb", "qdrant-edge-py", "numpy")
    versions = json.loads(asked.stdout.splitlines()[-1])
    return {
        "cores": os.cpu_count(),
        "processor": _processor(),
        "memory": f"{memory:.0f} GB",
        "system": f"{platform.system()} {platform.release().partition('-')[0]}",
        "fsync, ms": _fsync() * 1000,
        "versions": {"Python": platform.python_version()}
        | versions
        | {name: metadata.version(name) for name in names},
    }


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _fsync() -> float:
    """Return the median time, in seconds, to flush a page to disk, as a commit does."""
    times = []
    with tempfile.TemporaryFile() as file:
        for _ in range(200):
            begin = time.perf_counter()
            file.write(bytes(8192))
            file.flush()
            os.fsync(file.fileno())
            times.append(time.perf_counter() - begin)
    return statistics.median(times)
