"""The core benchmark: pgchroma, chromadb and hand-written SQL, in turns, as ratios of medians.

Run by ``make bench-core``. Every peer does the same work on the same data, in a separate process
and directory; rounds alternate, so that a busy minute hits all of them. Writes a table to
docs/benchmarks-core.md.
"""

from __future__ import annotations

import json
import os
import platform
import resource
import statistics
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from revision import revision

ROOT = Path(__file__).resolve().parents[1]
RECORDS = int(os.environ.get("BENCH_RECORDS", "20000"))
ROUNDS = int(os.environ.get("BENCH_ROUNDS", "3"))

GOALS = {
    "insert": 1 / 10,
    "get by ids": 0.5,
    "get with metadata filter": 0.5,
    "page at half": 0.5,
    "$contains, rare": 0.5,
    "$contains, common": 0.5,
    "$regex, rare": 0.5,
    "$regex, common": 0.5,
    "update metadata": 0.5,
    "delete": 0.5,
    "count": 0.8,
    "upsert existing": 1 / 50,
}
"""The maximum time of an operation, as a fraction of chromadb's."""

PEERS = {
    "chromadb": ROOT / ".venv" / "bench" / "bin" / "python",
    "pgchroma": ROOT / ".venv" / "bin" / "python",
    "psycopg": ROOT / ".venv" / "bin" / "python",
}


def main() -> None:
    """Run the rounds and write the table."""
    measured = revision()
    rounds: dict[str, list[dict[str, float]]] = {peer: [] for peer in PEERS}
    for number in range(ROUNDS):
        for peer, python in PEERS.items():
            print(f"round {number + 1} of {ROUNDS}: {peer} …", flush=True)
            rounds[peer].append(run(peer, python))
    medians = {
        peer: {name: statistics.median(r[name] for r in results) for name in results[0]}
        for peer, results in rounds.items()
    }
    text = table(medians, measured) + embedding_table() + footprint()
    (ROOT / "docs" / "benchmarks-core.md").write_text(text, encoding="utf-8")
    print(text)


def run(peer: str, python: Path) -> dict[str, float]:
    """Run one peer's part in a separate process."""
    with tempfile.TemporaryDirectory(prefix="pgchroma-bench-") as directory:
        command = [str(python), str(ROOT / "benchmarks" / "workload.py"), peer]
        done = subprocess.run(
            [*command, str(Path(directory) / "data"), str(RECORDS)],
            stdout=subprocess.PIPE,
            text=True,
            check=True,
            env={**os.environ, "ANONYMIZED_TELEMETRY": "False"},
        )
    measured: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return measured


def table(medians: dict[str, dict[str, float]], measured: str) -> str:
    """Lay the medians and their ratios out."""
    lines = [
        "# Core benchmark",
        "",
        f"{RECORDS:,} records of 384 dimensions with documents of some 300 characters and four "
        f"metadata keys, written in batches of 1,000. Medians of {ROUNDS} rounds in turns on "
        f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}, "
        f"{time.strftime('%Y-%m-%d')}, {measured}. Made by `make bench-core`; times are in "
        "milliseconds.",
        "",
        "Below 1 is faster than the peer. `chromadb` is chromadb 1.5.9's PersistentClient; "
        "`psycopg` is the same SQL written by hand with a pool (`benchmarks/handwritten.py`).",
        "",
        "| operation | chromadb | pgchroma | psycopg | ÷ chromadb | goal | ÷ psycopg |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for name, theirs in medians["chromadb"].items():
        ours, limit = medians["pgchroma"][name], medians["psycopg"].get(name)
        ratio, goal = ours / theirs, GOALS.get(name)
        verdict = "" if goal is None else f"≤ {goal:.2f} {'✓' if ratio <= goal else '✗'}"
        by_hand = ("–", "–") if limit is None else (_ms(limit), f"{ours / limit:.2f}")
        lines.append(
            f"| {name} | {_ms(theirs)} | {_ms(ours)} | {by_hand[0]} | {ratio:.3f} | {verdict} "
            f"| {by_hand[1]} |"
        )
    return "\n".join(lines) + "\n\n"


def embedding_table() -> str:
    """Compare the default embedding functions on the same weights."""
    home = Path(tempfile.mkdtemp(prefix="pgchroma-bench-home-"))
    export = (
        "from pathlib import Path; from pgchroma.embeddings.minilm.weights import export_onnx; "
        f"export_onnx(Path({str(home)!r}) / '.cache/chroma/onnx_models/all-MiniLM-L6-v2/onnx')"
    )
    subprocess.run([str(PEERS["pgchroma"]), "-c", export], check=True)
    results: dict[str, list[dict[str, Any]]] = {"chromadb": [], "pgchroma": []}
    for _ in range(ROUNDS):
        for peer, found in results.items():
            command = [str(PEERS[peer]), str(ROOT / "benchmarks" / "embedding.py"), peer]
            done = subprocess.run(
                command,
                stdout=subprocess.PIPE,
                text=True,
                check=True,
                env={**os.environ, "HOME": str(home)},
            )
            found.append(json.loads(done.stdout.splitlines()[-1]))
    lines = [
        "## Default embedding function",
        "",
        "all-MiniLM-L6-v2, float32, the same ONNX graph for both; texts a second.",
        "",
        "| texts | chromadb | pgchroma | × chromadb | largest difference of a value |",
        "|---|---:|---:|---:|---:|",
    ]
    for name in results["chromadb"][0]["rates"]:
        rates = [statistics.median(r["rates"][name] for r in results[peer]) for peer in results]
        difference = max(
            abs(a - b)
            for a, b in zip(
                results["chromadb"][0]["values"][name],
                results["pgchroma"][0]["values"][name],
                strict=True,
            )
        )
        lines.append(
            f"| {name} | {rates[0]:.0f} | {rates[1]:.0f} | {rates[1] / rates[0]:.1f} "
            f"| {difference:.1e} |"
        )
    return "\n".join(lines) + "\n\n"


def footprint() -> str:
    """Measure an empty collection, and the process's memory while a collection grows."""
    import numpy as np  # noqa: PLC0415
    import psycopg  # noqa: PLC0415

    import pgchroma  # noqa: PLC0415
    from pgchroma.embedded import EmbeddedPostgres  # noqa: PLC0415

    with tempfile.TemporaryDirectory(prefix="pgchroma-bench-") as directory:
        client = pgchroma.PersistentClient(directory)
        empty = client.create_collection("empty", embedding_function=None)
        with (
            EmbeddedPostgres.open(directory) as postgres,
            psycopg.connect(postgres.conninfo) as connection,
        ):
            row = connection.execute(
                "select sum(pg_total_relation_size(oid)) from pg_class "
                "where relname like %s and relkind in ('r', 'S')",
                [f"%{empty.id.hex}%"],
            ).fetchone()
        assert row
        growing = client.create_collection("growing", embedding_function=None)
        random = np.random.default_rng(1)
        peaks = []
        for part in range(20):
            ids = [f"{part}-{n}" for n in range(1000)]
            growing.add(ids=ids, embeddings=random.normal(size=(1000, 384)), documents=ids)
            growing.query(query_embeddings=random.normal(size=(1, 384)))
            peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
        client.close()
    return (
        "## Footprint\n\n"
        f"An empty collection takes {row[0] / 1024:.0f} KB on disk (goal: at most 64). The "
        f"process's peak memory is {peaks[1]:.0f} MB after 2,000 records and {peaks[-1]:.0f} MB "
        "after 20,000.\n"
    )


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.3f}"


if __name__ == "__main__":
    main()
