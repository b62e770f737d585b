"""The parts that change a collection."""

from __future__ import annotations

import time

import numpy as np

from scale.loading import BATCH
from scale.reading import searched
from scale.session import Measures, Session, timed
from scale.sizes import disk

ROUNDS = 10
"""How often a tenth of all records is changed."""

SAMPLE = 2_000
"""How many live records are searched for by their own embedding."""


def upsert(session: Session, turn: int) -> Measures:
    """Replace the embeddings of a batch of records."""
    count = min(BATCH, len(session.data))
    numbers = (np.arange(count) + turn * count) % len(session.data)
    embeddings = session.data.replacements[numbers]
    ids = [session.data.ids[n] for n in numbers]
    times, _ = timed([lambda: session.peer.upsert(ids, embeddings)])
    session.live[numbers] = embeddings
    return {"rows/s": count / times[0]}


def churn(session: Session, _: int) -> Measures:
    """Change every record's embedding, a tenth at a time; then search for the current ones."""
    begin = time.perf_counter()
    for number in range(ROUNDS):
        _change(session, np.arange(number, len(session.data), ROUNDS), again=number % 2 == 0)
    seconds = time.perf_counter() - begin
    session.settle()
    sizes = disk(session.directory)
    return {
        "rows/s": len(session.data) / seconds,
        "bytes": sizes["without WAL"],
        **searched(session, 0),
        **_reach(session),
    }


def _change(session: Session, numbers: np.ndarray, *, again: bool) -> None:
    """Change the embeddings of records: by deleting and adding them again, or by upserting."""
    data = session.data
    for first in range(0, len(numbers), BATCH):
        part = numbers[first : first + BATCH]
        ids = [data.ids[n] for n in part]
        # Offset by half the data, so that no record gets the embedding that an upsert gave it.
        embeddings = data.replacements[(part + len(data) // 2) % len(data)]
        if again:
            session.peer.delete(ids)
            session.peer.add(
                {
                    "ids": ids,
                    "embeddings": embeddings,
                    "documents": [data.documents[n] for n in part],
                    "metadatas": [data.metadatas[n] for n in part],
                }
            )
        else:
            session.peer.upsert(ids, embeddings)
        session.live[part] = embeddings


def _reach(session: Session) -> Measures:
    """Search for live records by their own embeddings; count those not returned first."""
    live, ids = session.live, session.data.ids
    count = min(SAMPLE, len(ids))
    numbers = np.random.default_rng(16).choice(len(ids), count, replace=False)
    _, found = timed(session.peer.search(live[n]) for n in numbers)
    places = {id: n for n, id in enumerate(ids)}
    missed = [
        n
        for n, got in zip(numbers, found, strict=True)
        # Another record may have the same embedding.
        if not got or not np.array_equal(live[places[got[0]]], live[n])
    ]
    return {"sample": count, "unreachable": len(missed)}
