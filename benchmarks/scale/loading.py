"""The parts that fill a collection: with all records, or with some in batches of another size."""

from __future__ import annotations

import time

from scale.dataset import Dataset
from scale.session import Measures, Session
from scale.sizes import forget_peak, peak

BATCH = 1_000
LOADED = 10_000
"""How many records are loaded at a time where not all are added."""

MAX_IN_BATCHES = 20_000
"""How many records are added to compare batches' sizes."""


def load(session: Session, _: int) -> Measures:
    """Add all records, then wait until they are indexed, or index them."""
    peer, data = session.peer, session.data
    results: Measures = {}
    if (limit := peer.limit(data)) is not None:
        results["limit rows/s"] = len(data) / limit
    peer.create(data.dimension)
    _read(data)
    added = min(peer.most_added or len(data), len(data))
    before = forget_peak()
    begin = time.perf_counter()
    _add(session, added, BATCH)
    ingested = time.perf_counter()
    results["rows/s"] = added / (ingested - begin)
    results["client, MB"] = peak() - before
    for first in range(added, len(data), LOADED):
        peer.load_rest(data.batch(first, LOADED))
    loaded = time.perf_counter()
    peer.build_index()
    peer.wait_until_indexed()
    end = time.perf_counter()
    results["index s"] = round(end - loaded, 3)
    if peer.most_added is None:
        results["indexed s"] = end - begin
        results["ingest s"] = ingested - begin
    session.settle()
    return results


def batches(session: Session, size: int) -> Measures:
    """Add some records to a new collection, in batches of a size; 0 means the biggest."""
    session.peer.create(session.data.dimension)
    _read(session.data)
    count = min(len(session.data), MAX_IN_BATCHES)
    size = size or session.peer.biggest_batch
    begin = time.perf_counter()
    _add(session, count, size)
    return {"rows/s": count / (time.perf_counter() - begin), "batch": min(size, count)}


def _read(data: Dataset) -> None:
    """Read the records into memory before a time is taken."""
    data.batch(0, len(data))


def _add(session: Session, count: int, size: int) -> None:
    for first in range(0, count, size):
        session.peer.add(session.data.batch(first, min(size, count - first)))
