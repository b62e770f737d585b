"""The parts with concurrent work: threads, processes, and a writer beside searches."""

from __future__ import annotations

import itertools
import multiprocessing
import threading
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any

import numpy as np

from scale import dataset
from scale.loading import BATCH
from scale.peers import Peer, open_peer
from scale.session import Measures, Session, timed

CONCURRENCY = 8
SECONDS = 3.0
BESIDE_SECONDS = 10.0
"""How long a writer writes beside the reader."""

BETWEEN_SECONDS = 60.0
"""The longest rest between two writers: indexing the records of one may take minutes."""

AT_REST = 200
"""How many queries set the baseline before the writer begins."""


def concurrency(session: Session, _: int) -> Measures:
    """Count the queries that one thread answers in a second, and several; processes likewise."""
    calls = [session.peer.search(query) for query in session.queries]
    results: Measures = {}
    for count in (1, CONCURRENCY):
        with ThreadPoolExecutor(count) as pool:
            done = list(pool.map(_answer, itertools.repeat(calls, count)))
        results[f"threads: {count}"] = sum(done) / SECONDS
    if session.peer.many_processes:
        for count in (1, CONCURRENCY):
            results[f"processes: {count}"] = _by_processes(session, count)
    return results


def _answer(calls: list[Callable[[], Any]]) -> int:
    """Repeat the calls for some seconds; return how many were made."""
    end = time.perf_counter() + SECONDS
    for number, call in enumerate(itertools.cycle(calls)):
        if time.perf_counter() > end:
            return number
        call()
    raise AssertionError("there are queries")


def _by_processes(session: Session, count: int) -> float:
    spawn = multiprocessing.get_context("spawn")
    barrier = spawn.Barrier(count, timeout=120)
    shares = (session.name, session.directory, session.place)
    with ProcessPoolExecutor(count, spawn, _open, (barrier, *shares)) as pool:
        futures = [pool.submit(_take_part) for _ in range(count)]
        return sum(future.result() for future in futures) / SECONDS


def _open(barrier: threading.Barrier, name: str, directory: Path, place: Path) -> None:
    """Open the peer in a new process, and store it and the barrier for the part."""
    globals().update(_barrier=barrier, _peer=open_peer(name, directory), _place=place)


def _take_part() -> int:
    peer: Peer = globals()["_peer"]
    calls = [peer.search(query) for query in np.load(globals()["_place"] / "queries.npy")]
    timed(calls[:10])
    globals()["_barrier"].wait()
    done = _answer(calls)
    peer.close()
    return done


def ingesting(session: Session, _: int) -> Measures:
    """Search at rest, beside a writing thread, and beside a writing process if the peer can."""
    calls = [session.peer.search(query) for query in session.queries]
    results: Measures = {"at rest time": timed(calls * (AT_REST // len(calls)))[0]}
    writers = {"thread": _writing_thread}
    if session.peer.many_processes:
        writers["process"] = _writing_process
    for name, writer in writers.items():
        with writer(session) as written:
            begin = time.perf_counter()
            times = []
            for call in itertools.cycle(calls):
                if time.perf_counter() > begin + BESIDE_SECONDS:
                    break
                times += timed([call])[0]
            results[f"beside a {name} time"] = times
            results[f"beside a {name} rows/s"] = written() / (time.perf_counter() - begin)
        session.rest(BETWEEN_SECONDS)
    return results


@contextmanager
def _writing_thread(session: Session) -> Any:
    """Have a thread of this process add until the block ends."""
    stop, begun = threading.Event(), threading.Event()
    written = _Counter()
    batches = _batches(session.data, "thread")
    arguments = (session.peer, batches, begun, stop, written)
    thread = threading.Thread(target=_write, args=arguments)
    thread.start()
    begun.wait()
    try:
        yield lambda: written.value
    finally:
        stop.set()
        thread.join()


@contextmanager
def _writing_process(session: Session) -> Any:
    """Have another process add until the block ends."""
    spawn = multiprocessing.get_context("spawn")
    stop, begun = spawn.Event(), spawn.Event()
    written = spawn.Value("q", 0)
    process = spawn.Process(
        target=_write_elsewhere,
        args=(session.name, session.directory, session.place, begun, stop, written),
    )
    process.start()
    while not begun.wait(1):
        if not process.is_alive():
            raise RuntimeError("The writing process could not begin")
    try:
        yield lambda: written.value
    finally:
        stop.set()
        process.join()


def _write_elsewhere(
    name: str, directory: Path, place: Path, begun: Event, stop: Event, written: Any
) -> None:
    peer = open_peer(name, directory)
    _write(peer, _batches(dataset.load(place), "process"), begun, stop, written)
    peer.close()


def _write(peer: Peer, batches: Any, begun: Any, stop: Any, written: Any) -> None:
    """Add batch after batch until `stop` is set."""
    begun.set()
    for batch in batches:
        if stop.is_set():
            return
        peer.add(batch)
        written.value += len(batch["ids"])


class _Counter:
    """A counter for threads, with the interface of a value that processes share."""

    def __init__(self) -> None:
        self.value = 0


def _batches(data: dataset.Dataset, prefix: str) -> Any:
    """Yield new records without end: the data's own under other ids, with other embeddings."""
    for number in itertools.count():
        numbers = (np.arange(BATCH) + number * BATCH) % len(data)
        yield {
            "ids": [f"{prefix}-{number}-{n}" for n in range(BATCH)],
            "embeddings": data.replacements[numbers] * np.float32(1.001 + number / 1_000),
            "documents": [data.documents[n] for n in numbers],
            "metadatas": [data.metadatas[n] for n in numbers],
        }
