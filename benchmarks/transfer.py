"""The rate and the memory of an import, compared with a loop of `add` in a client.

Run by ``make bench-transfer``; ``ARGS="--records 1000000"`` measures more. The same records are
written into new directories by the loop, from a Parquet file, and from a data directory that Chroma
has written: each in a process of its own, and in turns. The loop adds batches of 1,000 records that
are in memory already, and its time is that of the calls alone. Nothing builds indexes. Writes
docs/benchmarks-transfer.md.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq

import pgchroma
from revision import revision
from tables import table
from transfer_records import COLLECTION, DIMENSION, METADATA, portions

ROOT: Final = Path(__file__).parents[1]
REPORT: Final = ROOT / "docs" / "benchmarks-transfer.md"
PEER: Final = ROOT / ".venv" / "bench" / "bin" / "python"

BATCH: Final = 1_000

Round = dict[str, float]
"""Records per second of the loop and of each source, and the memory of its import in MiB."""


def main() -> None:
    """Measure, and write the report; or be the process of the loop."""
    options = _options()
    if options.loop:
        _loop(Path(options.loop), options.records)
        return
    measured = revision()
    with tempfile.TemporaryDirectory(dir=options.directory) as directory:
        place = Path(directory)
        sources = {"file": place / f"{COLLECTION}.parquet", "chroma": place / "chroma"}
        _make_file(sources["file"], options.records)
        sources["chroma"] = options.chroma or _make_chroma(sources["chroma"], options.records)
        rounds = [
            _round(place, number, sources, options.records) for number in range(options.rounds)
        ]
    _write(options, rounds, measured)


def _round(place: Path, number: int, sources: dict[str, Path], records: int) -> Round:
    target = place / f"loop{number}"
    command = [sys.executable, __file__, "--loop", str(target), "--records", str(records)]
    seconds, _ = _run(command)
    found = {"loop": records / float(seconds)}
    shutil.rmtree(target)
    for name, source in sources.items():
        target = place / f"{name}{number}"
        command = [sys.executable, "-m", "pgchroma.cli", "import", str(source), "--json"]
        printed, memory = _run([*command, "--path", str(target)])
        (report,) = json.loads(printed)["collections"]
        assert report["written"] == records, report
        assert report["faithful"], report
        found[name] = records / (report["seconds"] + report["verification_seconds"])
        found[f"{name} memory"] = memory / 1024
        shutil.rmtree(target)
    print(json.dumps({name: round(value) for name, value in found.items()}), flush=True)
    return found


def _run(command: list[str]) -> tuple[str, int]:
    """Run a command, and return what it printed and the peak of its memory, in KiB.

    The memory is the resident one of the process and of those that read for it; what they share is
    counted once.
    """
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(command, stdout=output)
        peak = 0
        while process.poll() is None:
            peak = max(peak, sum(map(_memory, (process.pid, *_readers(process.pid)))))
            time.sleep(0.05)
        output.seek(0)
        printed = output.read().decode()
    assert process.returncode == 0, printed
    return printed, peak


def _memory(pid: int) -> int:
    """Return the proportional share of memory of a process, in KiB."""
    with suppress(OSError):
        found = re.search(r"^Pss:\s*(\d+) kB", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.M)
        return int(found[1]) if found else 0
    return 0


def _readers(pid: int) -> list[int]:
    """Return the Python processes that a process has started."""
    with suppress(OSError):
        # A thread of the process has started them.
        tasks = Path(f"/proc/{pid}/task").glob("*/children")
        children = [each for task in tasks for each in task.read_text().split()]
        return [int(each) for each in children if b"spawn_main" in _command(each)]
    return []


def _command(pid: str) -> bytes:
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    return b""


def _loop(directory: Path, records: int) -> None:
    settings = pgchroma.Settings(pgchroma_compaction=False)
    with pgchroma.PersistentClient(directory, settings) as client:
        collection = client.create_collection(COLLECTION, embedding_function=None)
        seconds = 0.0
        for columns in portions(records, BATCH):
            rows = zip(*(columns[key] for key in METADATA), strict=True)
            metadatas = [dict(zip(METADATA, row, strict=True)) for row in rows]
            begin = time.perf_counter()
            collection.add(
                ids=columns["id"],
                embeddings=columns["embedding"],
                documents=columns["document"],
                metadatas=metadatas,
            )
            seconds += time.perf_counter() - begin
    print(seconds)


def _make_file(file: Path, records: int) -> None:
    writer = None
    for columns in portions(records, 10 * BATCH):
        vectors = pa.array(columns.pop("embedding").reshape(-1))
        columns["embedding"] = pa.FixedSizeListArray.from_arrays(vectors, DIMENSION)
        rows = pa.table(columns)
        writer = writer or pq.ParquetWriter(file, rows.schema)
        writer.write_table(rows)
    assert writer is not None
    writer.close()


def _make_chroma(directory: Path, records: int) -> Path:
    program = Path(__file__).with_name("transfer_directory.py")
    command = [str(PEER), str(program), str(directory), "--records", str(records)]
    subprocess.run(command, check=True)
    return directory


def _write(options: argparse.Namespace, rounds: list[dict[str, float]], measured: str) -> None:
    def median(name: str) -> float:
        return statistics.median(each[name] for each in rounds)

    def shares(name: str) -> list[float]:
        return [each[name] / each["loop"] for each in rounds]

    def row(label: str, name: str) -> tuple[str, ...]:
        found = shares(name)
        ratio = f"{statistics.median(found):.2f}"
        spread = f"{min(found):.2f}–{max(found):.2f}"
        memory = max(each[f"{name} memory"] for each in rounds)
        return label, f"{median(name):,.0f}", ratio, spread, f"{memory:,.0f}"

    rows = [
        ("loop of `add`", f"{median('loop'):,.0f}", "", "", ""),
        row("import of Parquet", "file"),
        row("import of a directory of Chroma", "chroma"),
        ("goal of imports", "", "≥ 0.7", "", "≤ 300"),
    ]
    header = ("", "records/s", "÷ loop", "rounds", "MB")
    REPORT.write_text(
        "# Benchmark of imports\n\n"
        f"{options.records:,} records with {DIMENSION} dimensions, documents of some 280 "
        "characters and four metadata keys, into a new directory with an embedded PostgreSQL. "
        "The loop adds batches of 1,000 that are in memory already; its time is that of the "
        "calls. An import reads a Parquet file, or a data directory that chromadb 1.5.9 has "
        "written; it checks the records, writes them in batches of 1,000, and reads each batch "
        "back and compares it while it writes the next one. Nothing builds indexes. "
        f"Medians of {options.rounds} rounds in turns; {os.cpu_count()} cores, "
        f"{platform.machine()}, Python {platform.python_version()}, {time.strftime('%Y-%m-%d')}, "
        f"{measured}. Made by `make bench-transfer{_arguments(options)}`.\n\n"
        f"{table(header, 1, rows)}\n"
        "The memory is the peak of the import's resident memory, with that of the process that "
        "reads a directory for it, and without PostgreSQL.\n" + options.note
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
    parser.add_argument("--chroma", type=Path, help="a directory of Chroma with these records")
    parser.add_argument("--loop", metavar="DIRECTORY", help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
