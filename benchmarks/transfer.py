"""The rate and the memory of an import, compared with a loop of `add` in a client.

Run by ``make bench-transfer``; ``ARGS="--records 1000000"`` measures more. Both write the same
records of a Parquet file into a new directory, in a process of their own and in turns. The loop
adds batches of 1,000 records that are in memory already, and its time is that of the calls alone.
Neither builds indexes. Writes docs/benchmarks-transfer.md.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

import pgchroma
from tables import table

ROOT: Final = Path(__file__).parents[1]
REPORT: Final = ROOT / "docs" / "benchmarks-transfer.md"

DIMENSION: Final = 384
BATCH: Final = 1_000
WORDS: Final = ("records", "have", "embeddings", "and", "documents", "with", "some", "words")


def main() -> None:
    """Measure, and write the report; or be the process of the loop."""
    options = _options()
    if options.loop:
        _loop(*options.loop)
        return
    with tempfile.TemporaryDirectory(dir=options.directory) as directory:
        place = Path(directory)
        _make(place / "papers.parquet", options.records)
        rounds = [_round(place, number, options.records) for number in range(options.rounds)]
    _write(options, rounds)


def _round(place: Path, number: int, records: int) -> dict[str, float]:
    file, added, imported = place / "papers.parquet", place / f"a{number}", place / f"i{number}"
    loop, _ = _run([sys.executable, __file__, "--loop", str(file), str(added)])
    command = [sys.executable, "-m", "pgchroma.cli", "import", str(file), "--json"]
    printed, memory = _run([*command, "--path", str(imported)])
    (report,) = json.loads(printed)["collections"]
    assert report["written"] == records, report
    assert report["faithful"], report
    found = {
        "loop": records / float(loop),
        "import": records / (report["seconds"] + report["verification_seconds"]),
        "memory": memory / 1024,
    }
    print(json.dumps({name: round(value) for name, value in found.items()}), flush=True)
    return found


def _run(command: list[str]) -> tuple[str, int]:
    """Run a command, and return what it printed and the peak of its resident memory, in KiB."""
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(command, stdout=output)
        peak = 0
        # The peak that `wait4` returns is that of this process, if this one has more memory.
        while process.poll() is None:
            status = Path(f"/proc/{process.pid}/status").read_text()
            found = re.search(r"VmHWM:\s*(\d+) kB", status)
            peak = int(found[1]) if found else peak
            time.sleep(0.05)
        output.seek(0)
        printed = output.read().decode()
    assert process.returncode == 0, printed
    return printed, peak


def _loop(file: str, directory: str) -> None:
    settings = pgchroma.Settings(pgchroma_compaction=False)
    with pgchroma.PersistentClient(directory, settings) as client:
        collection = client.create_collection("papers", embedding_function=None)
        seconds = 0.0
        for columns in _columns(Path(file)):
            begin = time.perf_counter()
            collection.add(**columns)
            seconds += time.perf_counter() - begin
    print(seconds)


def _columns(file: Path) -> Iterator[dict[str, Any]]:
    with pq.ParquetFile(file) as parquet:
        for batch in parquet.iter_batches(BATCH):
            vectors = batch.column("embedding").flatten().to_numpy()
            yield {
                "ids": batch.column("id").to_pylist(),
                "embeddings": vectors.reshape(-1, DIMENSION),
                "documents": batch.column("document").to_pylist(),
                "metadatas": batch.select(["number", "share", "flag", "kind"]).to_pylist(),
            }


def _make(file: Path, records: int) -> None:
    rng = np.random.default_rng(7)
    writer = None
    for first in range(0, records, 10 * BATCH):
        numbers = np.arange(first, min(first + 10 * BATCH, records))
        vectors = rng.standard_normal((len(numbers), DIMENSION)).astype(np.float32)
        words = rng.choice(WORDS, (len(numbers), 40))
        rows = pa.table(
            {
                "id": [f"record-{n}" for n in numbers],
                "document": [" ".join(row) for row in words],
                "embedding": pa.FixedSizeListArray.from_arrays(
                    pa.array(vectors.reshape(-1)), DIMENSION
                ),
                "number": numbers,
                "share": numbers / 7,
                "flag": numbers % 2 == 0,
                "kind": [f"kind {n % 100}" for n in numbers],
            }
        )
        writer = writer or pq.ParquetWriter(file, rows.schema)
        writer.write_table(rows)
    assert writer is not None
    writer.close()


def _write(options: argparse.Namespace, rounds: list[dict[str, float]]) -> None:
    def median(name: str) -> float:
        return statistics.median(each[name] for each in rounds)

    def shares(name: str) -> list[float]:
        return [each[name] / each["loop"] for each in rounds]

    def row(label: str, name: str, goal: str = "") -> tuple[str, ...]:
        found = shares(name)
        ratio = "" if name == "loop" else f"{statistics.median(found):.2f}"
        spread = "" if name == "loop" else f"{min(found):.2f}–{max(found):.2f}"
        return label, f"{median(name):,.0f}", ratio, spread, goal

    rows = [
        row("loop of `add`", "loop"),
        row("import", "import", "≥ 0.7"),
    ]
    header = ("", "records/s", "÷ loop", "rounds", "goal")
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"],
        cwd=ROOT,
        capture_output=True,
        check=True,
        text=True,
    ).stdout.strip()
    peak = max(each["memory"] for each in rounds)
    REPORT.write_text(
        "# Benchmark of imports\n\n"
        f"{options.records:,} records with {DIMENSION} dimensions, documents of some 280 "
        "characters and four metadata keys, from a Parquet file into a new directory with an "
        "embedded PostgreSQL. The loop adds batches of 1,000 that are in memory already; its time "
        "is that of the calls. The import reads the file, checks the records, writes them in "
        "batches of 1,000, and reads each batch back and compares it while it writes the next one. "
        "Neither builds indexes. "
        f"Medians of {options.rounds} rounds in turns; {os.cpu_count()} cores, "
        f"{platform.machine()}, Python {platform.python_version()}, {time.strftime('%Y-%m-%d')}, "
        f"commit {commit}. Made by `make bench-transfer{_arguments(options)}`.\n\n"
        f"{table(header, 1, rows)}\n"
        f"The import took at most {peak:,.0f} MB of resident memory (goal: 300), without "
        "PostgreSQL.\n" + options.note
    )


def _arguments(options: argparse.Namespace) -> str:
    words = [
        f"--{name} {getattr(options, name)}"
        for name, usual in (("records", 100_000), ("rounds", 3))
        if getattr(options, name) != usual
    ]
    return f' ARGS="{" ".join(words)}"' if words else ""


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--directory", help="where the databases are created")
    parser.add_argument("--note", default="", help="a paragraph at the end of the report")
    parser.add_argument("--loop", nargs=2, metavar=("FILE", "DIRECTORY"), help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
