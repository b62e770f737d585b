"""VectorDBBench with its Chroma client, unmodified: Chroma's server and pgchroma's, in turns.

Run by ``make bench-vectordbbench``, in an environment of its own. Every round gives each side a new
directory, which VectorDBBench loads and then searches at once, as it always does. When both sides
are at rest it searches again: with the lowest ef_search of `BREADTHS` at which a side reaches the
recall wanted. Writes a table to docs/benchmarks-vectordbbench.md.
"""

from __future__ import annotations

import argparse
import itertools
import os
import platform
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import chromadb
import numpy as np
import pyarrow.parquet as pq

import vectordbbench_data
from comparison import Goal, Results, table
from revision import revision
from running import COMMANDS, HOST, ROOT, Server, serving
from scale import quiescence
from vectordbbench_data import QUERIES, Data
from vectordbbench_task import COLLECTION, EF_CONSTRUCTION, M, Stage, Task, run

RECALL = 0.95
BREADTHS = (100, 150, 200, 300, 400, 600)
"""The values of ef_search that are tried; the first is Chroma's default."""

WARMING = 100
"""How many queries a server answers after a start before it is measured."""

POLL_SECONDS = 0.5
EVERYTHING: tuple[Stage, ...] = ("drop_old", "load", "search_serial", "search_concurrent")
"""The stages of VectorDBBench; it searches concurrently first."""


def main() -> None:
    """Run the rounds and write the table."""
    measured = revision()
    os.environ |= {"ANONYMIZED_TELEMETRY": "False", "NO_PROXY": HOST, "no_proxy": HOST}
    options = _options()
    rounds: dict[str, list[Results]] = {side: [] for side in options.sides}
    for number in range(options.rounds):
        found: dict[str, Results] = {side: {} for side in options.sides}
        for size in options.sizes:
            print(f"round {number + 1} of {options.rounds}, {size:,} records …", flush=True)
            data = vectordbbench_data.make(options.data, size, options.dimension)
            with tempfile.TemporaryDirectory(prefix="pgchroma-bench-") as directory:
                measurement = Measurement(data, Path(directory), options)
                for side, numbers in measurement.run().items():
                    found[side] |= {(what, f"{size:,}"): n for what, n in numbers.items()}
        for side, results in found.items():
            rounds[side].append(results)
    text = introduction(options, measured) + table(
        rounds, {side: goals(options.k, side) for side in options.sides}
    )
    options.output.write_text(text, encoding="utf-8")
    print(text)


def _options() -> argparse.Namespace:
    def numbers(text: str) -> list[int]:
        return [int(word) for word in text.split(",")]

    parser = argparse.ArgumentParser(description="Compare two servers with VectorDBBench.")
    add = parser.add_argument
    add("--sides", type=lambda text: text.split(","), default=list(COMMANDS))
    add("--sizes", type=numbers, default="20000,100000", help="numbers of records")
    add("--dimension", type=int, default=384)
    add("--k", type=numbers, default="10,100", help="how many records a search returns")
    add("--clients", type=numbers, default="1,8,16", help="processes that search together")
    add("--seconds", type=int, default=10, help="how long they do")
    add("--rounds", type=int, default=3)
    add("--workers", type=int, default=os.cpu_count(), help="of pgchroma")
    add("--data", type=Path, default=ROOT / "build" / "bench" / "vectordbbench")
    add("--output", type=Path, default=ROOT / "docs" / "benchmarks-vectordbbench.md")
    return parser.parse_args()


@dataclass(frozen=True)
class Measurement:
    """One round with one data set."""

    data: Data
    directory: Path
    options: argparse.Namespace

    def run(self) -> dict[str, dict[str, float]]:
        """Load and search; return each side's numbers."""
        with self._serving() as servers:
            results = {side: self._load(side, servers) for side in servers}
        for k in self.options.k:
            for side, numbers in self._at_rest(k).items():
                results[side] |= {f"at rest, k = {k}: {what}": n for what, n in numbers.items()}
        return results

    def _load(self, side: str, servers: dict[str, Server]) -> dict[str, float]:
        """Run all stages of VectorDBBench; observe when the index is ready."""
        _rest(servers)
        k = self.options.k[-1]
        print(f"  {side}: load and search, k = {k} …", flush=True)
        with _indexing_observed(servers[side].port, self.data.size) as indexing:
            metrics = self._bench(servers[side], k, BREADTHS[0], EVERYTHING)
        found = {"load duration, s": metrics["load_duration"]}
        if indexing.seconds is not None:
            found["from the last add to the index, s"] = indexing.seconds
        after = {**_serial(metrics), **_concurrent(metrics)}
        return found | {f"after loading, k = {k}: {what}": n for what, n in after.items()}

    def _at_rest(self, k: int) -> dict[str, dict[str, float]]:
        """Search with the lowest ef_search that reaches the recall, or with the greatest."""
        breadths = dict.fromkeys(self.options.sides, BREADTHS[0])
        while True:
            with self._searching(breadths) as servers:
                found = {
                    side: self._bench(server, k, breadths[side], ["search_serial"])
                    for side, server in servers.items()
                }
                if not _raise(breadths, found):
                    for side, server in servers.items():
                        print(f"  {side}: searches at rest, k = {k} …", flush=True)
                        metrics = self._bench(server, k, breadths[side], ["search_concurrent"])
                        found[side] = _serial(found[side]) | _concurrent(metrics)
                    return {side: {"ef_search": breadths[side]} | found[side] for side in found}

    def _bench(
        self, server: Server, k: int, ef_search: int, stages: Sequence[Stage]
    ) -> dict[str, Any]:
        task = Task(
            port=server.port,
            place=str(self.data.place),
            size=self.data.size,
            dimension=self.data.dimension,
            k=k,
            ef_search=ef_search,
            clients=self.options.clients,
            seconds=self.options.seconds,
            stages=stages,
        )
        return run(task, self.directory)

    @contextmanager
    def _serving(self) -> Iterator[dict[str, Server]]:
        with ExitStack() as stack:
            yield {
                side: stack.enter_context(
                    serving(side, self.directory / side / "data", workers=self.options.workers)
                )
                for side in self.options.sides
            }

    @contextmanager
    def _searching(self, breadths: dict[str, int]) -> Iterator[dict[str, Server]]:
        """Run the servers with values of ef_search, which Chroma's reads with its index."""
        with self._serving() as servers:
            for side, server in servers.items():
                configuration: Any = {"hnsw": {"ef_search": breadths[side]}}
                _collection(server.port).modify(configuration=configuration)
        with self._serving() as servers:
            for server in servers.values():
                self._warm(server)
            _rest(servers)
            yield servers

    def _warm(self, server: Server) -> None:
        collection = _collection(server.port)
        queries = pq.read_table(self.data.place / "test.parquet", columns=["emb"])
        for query in queries["emb"].slice(0, WARMING).to_pylist():
            collection.query(query_embeddings=[np.array(query, np.float32)], n_results=10)


def _raise(breadths: dict[str, int], found: dict[str, dict[str, Any]]) -> bool:
    """Raise ef_search where the recall is too low and a greater one is left; return whether."""
    low = [
        side
        for side, metrics in found.items()
        if metrics["recall"] < RECALL and breadths[side] < BREADTHS[-1]
    ]
    for side in low:
        breadths[side] = BREADTHS[BREADTHS.index(breadths[side]) + 1]
    return bool(low)


def _rest(servers: dict[str, Server]) -> None:
    for server in servers.values():
        quiescence.settle(server)


def _collection(port: int) -> chromadb.Collection:
    client = chromadb.HttpClient(host=HOST, port=port)
    return client.get_collection(COLLECTION)


def _serial(metrics: dict[str, Any]) -> dict[str, float]:
    return {
        "recall": metrics["recall"],
        "serial, p50 ms": metrics["serial_latency_p50"] * 1000,
        "serial, p99 ms": metrics["serial_latency_p99"] * 1000,
    }


def _concurrent(metrics: dict[str, Any]) -> dict[str, float]:
    names = {
        "queries/s": ("conc_qps_list", 1),
        "p50 ms": ("conc_latency_p50_list", 1000),
        "p99 ms": ("conc_latency_p99_list", 1000),
    }
    return {
        f"{clients} client{'s' * (clients > 1)}: {what}": metrics[name][number] * factor
        for number, clients in enumerate(metrics["conc_num_list"])
        for what, (name, factor) in names.items()
    }


@dataclass
class Indexing:
    """The seconds from the last add until all was indexed; `None` if the server cannot say."""

    seconds: float | None = None


@contextmanager
def _indexing_observed(port: int, size: int) -> Iterator[Indexing]:
    """Ask for the progress of indexing now and then, until the block ends and all is indexed."""
    found, ended = Indexing(), threading.Event()
    thread = threading.Thread(target=_observe, args=(port, size, found, ended))
    thread.start()
    try:
        yield found
    finally:
        ended.set()
        thread.join()


def _observe(port: int, size: int, found: Indexing, ended: threading.Event) -> None:
    collection = loaded = None
    while True:
        time.sleep(POLL_SECONDS)
        try:
            # VectorDBBench makes the collection.
            collection = collection or _collection(port)
            status = collection.get_indexing_status()
        except chromadb.errors.ChromaError:
            if ended.is_set():
                return  # The server has no such route.
            continue
        if status.total_ops >= size and loaded is None:
            loaded, found.seconds = time.monotonic(), 0.0
        if status.op_indexing_progress < 1:
            found.seconds = time.monotonic() - loaded if loaded else None
        elif ended.is_set():
            return


def goals(ks: list[int], side: str) -> dict[str, Goal]:
    """Return the goals of a side's searches at rest."""
    has_memory = side == "pgchroma with memory"
    return {
        f"at rest, k = {k}: {what}": goal
        for k, (what, goal) in itertools.product(
            ks,
            {
                "recall": Goal("≥", RECALL, absolute=True),
                "serial, p50 ms": Goal("≤", 0.6 if has_memory else 0.9),
                "serial, p99 ms": Goal("≤", 0.6 if has_memory else 0.9),
                "8 clients: queries/s": Goal("≥", 2 if has_memory else 1.2),
                "8 clients: p99 ms": Goal("≤", 0.8),
            }.items(),
        )
    }


def introduction(options: argparse.Namespace, measured: str) -> str:
    """Return a description of the measurement, the machine and the command."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    rounds = f"Medians of {options.rounds} rounds" if options.rounds > 1 else "One round"
    arguments = f' ARGS="{" ".join(sys.argv[1:])}"' if sys.argv[1:] else ""
    paragraphs = [
        "# VectorDBBench",
        f"VectorDBBench {version('vectordb-bench')} with its own Chroma client, on chromadb "
        f"{chromadb.__version__}, loads and searches `chroma run` and `pgchroma run`. "
        f"{rounds} in turns on {os.cpu_count()} cores, which servers and clients "
        f"share, {platform.machine()}, {memory:.0f} GB, Python {platform.python_version()}, "
        f"{time.strftime('%Y-%m-%d')}, {measured}. Made by "
        f"`make bench-vectordbbench{arguments}`.",
        f"The data is clustered, as in [benchmarks.md](benchmarks.md), with {options.dimension} "
        f"dimensions, distances by cosine, and {QUERIES:,} queries that are not among the records; "
        "the nearest records are found by comparing with all. VectorDBBench adds without documents "
        f"in batches of 100 by as many threads as there are cores. `M` is {M} and "
        f"`ef_construction` {EF_CONSTRUCTION}, Chroma's defaults.",
        "Its load duration ends when Chroma has added the last record, and it searches at once. "
        "Chroma indexes while it adds, pgchroma goes on indexing in the background, while it is "
        f"searched: “after loading”, with `ef_search` {BREADTHS[0]}. “At rest” all servers have "
        f"started again and answered {WARMING} queries, and `ef_search` is the lowest of "
        f"{', '.join(map(str, BREADTHS))} at which a side finds {RECALL:g} of the nearest "
        f"records. “Serial” is one search for each query; clients are processes which search for "
        f"{options.seconds} seconds.",
        f"pgchroma has {options.workers} workers. It runs without indexes in memory, and with "
        "them, which is its default where the extra is installed. “Rounds” is the range of "
        "the rounds' own ratios.",
    ]
    return "\n\n".join(paragraphs) + "\n\n"


if __name__ == "__main__":
    main()
