"""Clients of a server at the same time: processes that query a collection, and others that add.

Part of the benchmark over HTTP; the processes import this module.
"""

from __future__ import annotations

import itertools
import math
import multiprocessing
import threading
import time
from collections.abc import Callable
from concurrent.futures import FIRST_EXCEPTION, ProcessPoolExecutor, wait
from dataclasses import dataclass
from functools import cache
from typing import Any

import chromadb
import numpy as np

from running import HOST
from workload import DIMENSION

WRITERS = 2
WRITTEN = 100
"""How many records a batch of a writer has."""

PACE = 2.0
"""How many batches a second a writer adds when it is held back."""


@cache
def connect(port: int) -> Any:
    """Return this process's client of a server."""
    return chromadb.HttpClient(host=HOST, port=port)


@dataclass(frozen=True)
class Part:
    """The work of one process in a phase with several clients."""

    port: int
    collection: str
    queries: np.ndarray
    seconds: float
    rates: tuple[float, ...]
    """How many batches a second a writer adds in each phase: none, some, or as many as it can."""
    writer: int | None = None


def concurrency(shared: tuple[int, str, np.ndarray, float], clients: int) -> dict[str, float]:
    """Measure readers alone, beside rate-limited writers, and beside unlimited ones."""
    phases = {"": 0.0, " beside paced writers": PACE, " beside unpaced writers": math.inf}
    parts = [
        Part(*shared, tuple(phases.values()), writer)
        for writer in [None] * clients + list(range(WRITERS))
    ]
    done = _at_once(parts)
    results: dict[str, float] = {}
    alone = 0.0
    for number, phase in enumerate(phases):
        readers, writers = ([p[number] for p in some] for some in (done[:clients], done[clients:]))
        p50, p99 = np.percentile(np.concatenate(readers), [50, 99]) * 1000
        alone = alone or p99
        found = {
            "queries/s": sum(len(times) for times in readers) / parts[0].seconds,
            "query, p50 ms": p50,
            "query, p99 ms": p99,
        }
        if phase:
            found["growth of p99"] = p99 / alone
            rows = WRITTEN * sum(len(times) for times in writers)
            found["rows/s written"] = rows / parts[0].seconds
        results |= {f"{clients} clients{phase}: {what}": value for what, value in found.items()}
    return results


def _at_once(parts: list[Part]) -> list[list[list[float]]]:
    """Run every part in a separate process; all parts begin each phase together."""
    # Dozens of processes would each need seconds to import chromadb.
    forkserver = multiprocessing.get_context("forkserver")
    forkserver.set_forkserver_preload(["chromadb", "numpy"])
    barrier = forkserver.Barrier(len(parts), timeout=300)
    with ProcessPoolExecutor(len(parts), forkserver, _share, (barrier,)) as pool:
        futures = [pool.submit(take_part, part) for part in parts]
        for future in wait(futures, return_when=FIRST_EXCEPTION).done:
            future.result()
        return [future.result() for future in futures]


def _share(barrier: threading.Barrier) -> None:
    """Store the barrier in a global variable for this process's part."""
    globals()["_barrier"] = barrier


def take_part(part: Part) -> list[list[float]]:
    """Do one process's part, and return the times of its calls by phase."""
    barrier: threading.Barrier = globals()["_barrier"]
    times = []
    try:
        collection = connect(part.port).get_collection(part.collection, embedding_function=None)
        for phase, rate in enumerate(part.rates):
            call = _reading(part, collection)
            call()
            if part.writer is not None:
                call = _writing(f"{phase}-{part.writer}", collection)
            barrier.wait()
            own_rate = math.inf if part.writer is None else rate
            times.append(_times(call, own_rate, part.seconds) if own_rate else [])
            barrier.wait()
    except Exception:
        barrier.abort()
        raise
    return times


def _times(call: Callable[[], Any], rate: float, seconds: float) -> list[float]:
    """Time calls made for some seconds, at a limited rate; the late ones do not count."""
    times: list[float] = []
    begin = time.perf_counter()
    while (start := time.perf_counter()) < begin + seconds:
        call()
        end = time.perf_counter()
        times.append(end - start)
        time.sleep(max(0.0, begin + len(times) / rate - end))
    return times


def _reading(part: Part, collection: Any) -> Callable[[], Any]:
    queries = itertools.cycle(part.queries)
    return lambda: collection.query(query_embeddings=next(queries), n_results=10)


def _writing(prefix: str, collection: Any) -> Callable[[], Any]:
    random = np.random.default_rng(list(prefix.encode()))
    numbers = itertools.count()

    def call() -> None:
        number = next(numbers)
        collection.add(
            ids=[f"{prefix}-{number}-{n}" for n in range(WRITTEN)],
            embeddings=random.normal(size=(WRITTEN, DIMENSION)).astype(np.float32),
            metadatas=[{"n": n, "category": "written"} for n in range(WRITTEN)],
            documents=[f"written beside the readers, {number}"] * WRITTEN,
        )

    return call
