"""The benchmark over HTTP: Chroma's server and pgchroma's, without and with indexes in memory.

Run by ``make bench-http``, in the environment which has chromadb: its HttpClient talks to all
servers, which differ in nothing but the command that starts them. Every round gives each side a
new directory. All servers run while one is measured, and turns are short, so that a busy minute
hits all. Writes a table to docs/benchmarks-http.md.
"""

from __future__ import annotations

import argparse
import itertools
import math
import multiprocessing
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import chromadb

from comparison import Goal, Results, table
from concurrent_clients import PACE, WRITERS, WRITTEN, concurrency, connect
from revision import revision
from running import COMMANDS, HOST, ROOT, Server, serving
from scale import quiescence
from tables import short
from workload import BATCH, batch, records

ADDED = 10_000
"""How many records the measure of adding adds."""

TURNS, CALLS = 10, 10
"""How many turns a side has in the measure of a read, and how many calls it makes in each."""

SOAKERS = 4
FILTER = {"category": "c3"}
"""A filter that one in ten records matches."""

GOALS = {
    "add, rows/s": Goal("≥", 5),
    "query, p50 ms": Goal("≤", 0.9),
    "get 10 ids, p50 ms": Goal("≤", 0.4),
    "get with filter, p50 ms": Goal("≤", 0.4),
    "query with filter, p50 ms": Goal("≤", 0.3),
    "count, p50 ms": Goal("≤", 0.2),
    "heartbeat, p50 ms": Goal("≤", 2),
    "8 clients: queries/s": Goal("≥", 1.2),
    "8 clients: query, p99 ms": Goal("≤", 0.8),
    "8 clients beside paced writers: growth of p99": Goal("<", 2, absolute=True),
    "8 clients beside unpaced writers: growth of p99": Goal("<", 2, absolute=True),
    "memory of one worker: server, RSS, MB": Goal("≤", 300, absolute=True),
    "memory of one worker: all, PSS, MB": Goal("≤", 300, absolute=True),
}

WITH_MEMORY = GOALS | {
    "query, p50 ms": Goal("≤", 0.6),
    "8 clients: queries/s": Goal("≥", 2),
}


def main() -> None:
    """Run the rounds and write the table."""
    measured = revision()
    os.environ |= {"ANONYMIZED_TELEMETRY": "False", "NO_PROXY": HOST, "no_proxy": HOST}
    options = _options()
    sides: dict[str, str] = {}
    for name in options.sides:
        sides[name if name not in sides else f"{name} again"] = name
    data = records(max(ADDED, *options.sizes))
    rounds: dict[str, list[Results]] = {label: [] for label in sides}
    for number in range(options.rounds):
        print(f"round {number + 1} of {options.rounds} …", flush=True)
        for label, results in run(sides, data, options).items():
            rounds[label].append(results)
    soaks = {}
    for label, name in sides.items() if options.soak else ():
        print(f"soak: {label} …", flush=True)
        soaks[label] = soak(name, data, options.soak)
    text = introduction(options, measured) + table(
        rounds, {"pgchroma": GOALS, "pgchroma with memory": WITH_MEMORY}
    )
    text += soak_table(soaks) if soaks else ""
    options.output.write_text(text, encoding="utf-8")
    print(text)


def _options() -> argparse.Namespace:
    def numbers(text: str) -> list[int]:
        return [int(word) for word in text.split(",")]

    parser = argparse.ArgumentParser(description="Compare two servers over HTTP.")
    add = parser.add_argument
    add("--sides", type=lambda text: text.split(","), default=list(COMMANDS))
    add("--sizes", type=numbers, default="2000,20000", help="sizes of the collections read from")
    add("--clients", type=numbers, default="1,8,32", help="numbers of clients that read")
    add("--rounds", type=int, default=3)
    add("--seconds", type=float, default=4, help="of each part with several clients")
    add("--workers", type=int, default=os.cpu_count(), help="of pgchroma, with several clients")
    add("--soak", type=int, default=20_000, help="requests while memory is watched; 0 for none")
    add("--output", type=Path, default=ROOT / "docs" / "benchmarks-http.md")
    return parser.parse_args()


def run(
    sides: dict[str, str], data: dict[str, Any], options: argparse.Namespace
) -> dict[str, Results]:
    """Measure the sides once, with each number of clients."""
    results: dict[str, Results] = {label: {} for label in sides}
    several = [clients for clients in options.clients if clients > 1]
    with tempfile.TemporaryDirectory(prefix="pgchroma-bench-") as directory:
        if 1 in options.clients:
            with _all_serving(sides, Path(directory), workers=1) as servers:
                _join(results, one_client(servers, data, options.sizes))
        if several:
            with _all_serving(sides, Path(directory), workers=options.workers) as servers:
                for size, clients in itertools.product(options.sizes, several):
                    found = several_clients(servers, data, size, clients, options.seconds)
                    _join(results, found)
    return results


def _join(results: dict[str, Results], found: dict[str, Results]) -> None:
    for label, numbers in found.items():
        results[label] |= numbers


@contextmanager
def _all_serving(
    sides: dict[str, str], directory: Path, *, workers: int
) -> Iterator[dict[str, Server]]:
    with ExitStack() as stack:
        yield {
            label: stack.enter_context(
                serving(name, directory / str(number) / "data", workers=workers)
            )
            for number, (label, name) in enumerate(sides.items())
        }


def one_client(
    servers: dict[str, Server], data: dict[str, Any], sizes: list[int]
) -> dict[str, Results]:
    """Time one client's writes and reads on each side, and weigh the servers then."""
    results: dict[str, Results] = {}
    for label, server in servers.items():
        results[label] = {("add, rows/s", ""): ADDED / fill(server.port, "added", data, ADDED)}
    for size in sizes:
        print(f"  one client, {size:,} records …", flush=True)
        name = f"read-{size}"
        for label, seconds in _fill_all(servers, name, data, size).items():
            if seconds is not None:
                results[label]["from the last add to the index, s", f"{size:,}"] = seconds
        calls = {label: reads(server.port, name, data) for label, server in servers.items()}
        _settle(servers, name, data)
        for operation in next(iter(calls.values())):
            times = _in_turns({label: calls[label][operation] for label in calls}, size)
            for label, median in times.items():
                results[label][f"{operation}, p50 ms", f"{size:,}"] = median * 1000
    for label, server in servers.items():
        for part, megabytes in server.memory().items():
            results[label][f"memory of one worker: {part}, MB", ""] = megabytes
    return results


def _fill_all(
    servers: dict[str, Server], name: str, data: dict[str, Any], size: int
) -> dict[str, float | None]:
    """Make a collection on each side; return the seconds until its index was ready."""
    for server in servers.values():
        fill(server.port, name, data, size)
    return {label: wait_until_indexed(server.port, name) for label, server in servers.items()}


def _settle(servers: dict[str, Server], name: str, data: dict[str, Any]) -> None:
    """Query once, which may build an index in memory, and wait until nothing works any more."""
    for server in servers.values():
        reads(server.port, name, data)["query"](0)
    for server in servers.values():
        quiescence.settle(server)


def fill(port: int, name: str, data: dict[str, Any], count: int) -> float:
    """Create a collection of the first records, and return the seconds that adding them took."""
    collection = connect(port).create_collection(name, embedding_function=None)
    begin = time.perf_counter()
    for first in range(0, count, BATCH):
        collection.add(**batch(data, first, min(BATCH, count - first)))
    return time.perf_counter() - begin


def wait_until_indexed(port: int, name: str) -> float | None:
    """Wait until a collection is indexed; return the seconds, or `None` if the server cannot say.

    Chroma's server has no such route: it indexes records before it acknowledges them.
    """
    collection = connect(port).get_collection(name, embedding_function=None)
    begin = time.perf_counter()
    try:
        while collection.get_indexing_status().op_indexing_progress < 1:
            time.sleep(0.1)
    except chromadb.errors.ChromaError:
        return None
    return time.perf_counter() - begin


def reads(port: int, name: str, data: dict[str, Any]) -> dict[str, Callable[[int], Any]]:
    """Return the reads, each of which begins at the record of the given number."""
    collection = connect(port).get_collection(name, embedding_function=None)
    vectors, ids = data["embeddings"], data["ids"]
    return {
        "query": lambda n: collection.query(query_embeddings=vectors[n], n_results=10),
        "get 10 ids": lambda n: collection.get(ids=ids[n : n + 10]),
        "get with filter": lambda _: collection.get(where=FILTER, limit=100),
        "query with filter": lambda n: collection.query(
            query_embeddings=vectors[n], n_results=10, where=FILTER
        ),
        "count": lambda _: collection.count(),
        "heartbeat": lambda _: connect(port).heartbeat(),
    }


def _in_turns(calls: dict[str, Callable[[int], Any]], size: int) -> dict[str, float]:
    """Return the median time of each side's call, made in turns; the first turn does not count."""
    times: dict[str, list[float]] = {label: [] for label in calls}
    for turn, (label, call) in itertools.product(range(TURNS + 1), calls.items()):
        for number in range(CALLS):
            begin = time.perf_counter()
            call((turn * CALLS + number) * 7_919 % (size - 10))
            times[label].append(time.perf_counter() - begin)
    return {label: statistics.median(found[CALLS:]) for label, found in times.items()}


def several_clients(
    servers: dict[str, Server], data: dict[str, Any], size: int, clients: int, seconds: float
) -> dict[str, Results]:
    """Measure some clients on a new collection of each side, one side after the other."""
    name = f"read-{size}-by-{clients}"
    _fill_all(servers, name, data, size)
    results = {}
    for label, server in servers.items():
        print(f"  {clients} clients, {size:,} records, {label} …", flush=True)
        _settle(servers, name, data)
        shared = (server.port, name, data["embeddings"][: size : size // 100], seconds)
        found = concurrency(shared, clients)
        results[label] = {(what, f"{size:,}"): number for what, number in found.items()}
    return results


def soak(name: str, data: dict[str, Any], requests: int) -> dict[int, dict[str, float]]:
    """Send many small gets from several processes; return memory by the number sent."""
    share = requests // 10 // SOAKERS
    spawn = multiprocessing.get_context("spawn")
    with (
        tempfile.TemporaryDirectory(prefix="pgchroma-bench-") as directory,
        serving(name, Path(directory) / "data", workers=1) as server,
        ProcessPoolExecutor(SOAKERS, spawn) as pool,
    ):
        fill(server.port, "soaked", data, 2_000)
        found = {0: server.memory()}
        for step in range(1, 11):
            ids = data["ids"][:10]
            futures = [pool.submit(gets, server.port, ids, share) for _ in range(SOAKERS)]
            for future in futures:
                future.result()
            found[step * share * SOAKERS] = server.memory()
    return found


def gets(port: int, ids: list[str], count: int) -> None:
    """Get a few records many times."""
    collection = connect(port).get_collection("soaked", embedding_function=None)
    for _ in range(count):
        collection.get(ids=ids)


def introduction(options: argparse.Namespace, measured: str) -> str:
    """Return a description of the measurement, the machine and the command."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    arguments = f' ARGS="{" ".join(sys.argv[1:])}"' if sys.argv[1:] else ""
    paragraphs = [
        "# Benchmark over HTTP",
        f"The official client, chromadb {chromadb.__version__}'s HttpClient, talks to `chroma run` "
        "and to `pgchroma run`. Records have 384 dimensions, documents of some 300 characters and "
        f"four metadata keys. Medians of {options.rounds} rounds in turns on {os.cpu_count()} "
        f"cores, which servers and clients share, {platform.machine()}, {memory:.0f} GB, Python "
        f"{platform.python_version()}, {time.strftime('%Y-%m-%d')}, {measured}. Made by "
        f"`make bench-http{arguments}`.",
        f"One client: {ADDED:,} records are added in batches of {BATCH:,}; the time of a read is "
        f"the median of {TURNS * CALLS} calls, on a collection of the given size whose embeddings "
        "are indexed; the filter matches one record in ten, and a filtered get asks for 100.",
        "Several clients are processes which query a collection of their own, indexed and at rest, "
        f"for {options.seconds:g} seconds: alone, then beside {WRITERS} writers to the same "
        f"collection with batches of {WRITTEN}. Paced writers ask for "
        f"{WRITERS * PACE * WRITTEN:.0f} rows a second together, so that both sides bear the same; "
        "unpaced ones write what they can, and the collection grows under the readers.",
        "pgchroma runs without indexes in memory, and with them, which is its default where the "
        f"extra is installed. It has one worker for one client and {options.workers} for several. "
        "RSS counts memory that processes share once for each, PSS divides it among them. “Rounds” "
        "is the range of the rounds' own ratios.",
    ]
    return "\n\n".join(paragraphs) + "\n\n"


def soak_table(soaks: dict[str, dict[int, dict[str, float]]]) -> str:
    """Lay memory out by the number of requests."""
    columns = {(label, part): None for label, found in soaks.items() for part in found[0]}
    lines = [
        "\n## Memory over many requests\n",
        f"Gets of ten ids, by {SOAKERS} clients of one worker; MB.\n",
        f"| requests | {' | '.join(f'{label}: {part}' for label, part in columns)} |",
        f"|---:|{'---:|' * len(columns)}",
    ]
    for sent in next(iter(soaks.values())):
        sizes = (soaks[label][sent].get(part, math.nan) for label, part in columns)
        lines.append(f"| {sent:,} | {' | '.join(map(short, sizes))} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
