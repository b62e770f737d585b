"""Threads that write to a collection, compact it and read it at the same time."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Event
from typing import Any

import psycopg
import sqlalchemy

import pgchroma
from tests.search.blocks import compact_sparse, small_blocks
from tests.search.rounds import QUIET

__all__ = ("Work", "compact_until", "run_together", "snapshots")

Work = Callable[[Event, Any, int, Counter[int]], None]
"""Works on a collection until the event is set, and counts its rounds under its number."""


def run_together(work: Sequence[Work], rounds: Any, seconds: float) -> None:
    """Let each work for some seconds, and until it has done two rounds; fail if one does."""
    stop, until = Event(), time.monotonic() + seconds
    done: Counter[int] = Counter()
    with ThreadPoolExecutor() as threads:
        running = [
            threads.submit(each, stop, rounds, number, done) for number, each in enumerate(work)
        ]
        # On a busy machine, a round may take seconds.
        while not any(each.done() for each in running) and (
            time.monotonic() < until or min(done[number] for number in range(len(work))) < 2
        ):
            time.sleep(0.1)
        stop.set()
        for each in running:
            each.result()


def compact_until(stop: Event, rounds: Any, number: int, done: Counter[int]) -> None:
    """Compact the sparse vectors of a collection; every fifth time, merge all blocks."""
    with small_blocks(1_000):
        while not stop.is_set():
            compact_sparse(rounds.url, rounds.collection, merges_all=done[number] % 5 == 0)
            done[number] += 1


def snapshots(stop: Event, url: str) -> Iterator[pgchroma.Collection]:
    """Yield the collection in one transaction after another, each of which sees one snapshot."""
    with _repeatable(url) as engine:
        while not stop.is_set():
            with engine.connect() as connection, connection.begin():
                reader = pgchroma.PostgresClient(connection, QUIET)
                yield reader.get_collection("rounds", embedding_function=None)


@contextmanager
def _repeatable(url: str) -> Iterator[sqlalchemy.Engine]:
    engine = sqlalchemy.create_engine(
        "postgresql+psycopg://",
        creator=lambda: psycopg.connect(url),
        isolation_level="REPEATABLE READ",
    )
    try:
        yield engine
    finally:
        engine.dispose()
