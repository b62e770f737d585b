"""Helpers of the tests of indexes in memory: clients, data, and collections that have indexes."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import pgchroma
from pgchroma.memory.builder import Builder
from pgchroma.memory.directory import Directory
from pgchroma.memory.files import FileIndex, SegmentKey
from pgchroma.store.resolved import ResolvedCollection
from pgchroma.store.search.proposed import ProposedQuery
from tests.planner.segments import context_of, create, forget, nearest, quiet, seal

DIMENSION = 32

COUNT = 2_000


def remembering(url: Any, directory: Path, **options: Any) -> pgchroma.ClientAPI:
    """A direct client with indexes in memory, and one connection, that builds no others."""
    options = {"pgchroma_pool_size": 1, **options}
    return quiet(url, pgchroma_memory_index=True, pgchroma_memory_index_path=directory, **options)


def clustered(count: int = COUNT, seed: int = 0, dimension: int = DIMENSION) -> NDArray[Any]:
    """Embeddings near 20 surfaces of eight dimensions."""
    rng = np.random.default_rng(seed)
    shapes = np.random.default_rng(99)
    centres = shapes.normal(size=(20, dimension)) * 2
    directions = shapes.normal(size=(20, 8, dimension))
    which = rng.integers(0, 20, count)
    spread = np.einsum("nk,nkd->nd", rng.normal(size=(count, 8)), directions[which])
    noise = rng.normal(size=(count, dimension)) * 0.1
    made: NDArray[np.float32] = (centres[which] + spread + noise).astype(np.float32)
    return made


def fill(collection: pgchroma.Collection, embeddings: NDArray[Any], first: int = 0) -> None:
    """Add records with the ids 0, 1, … and their last digit as metadata."""
    numbers = range(first, first + len(embeddings))
    collection.add(
        ids=[str(n) for n in numbers],
        embeddings=embeddings,
        metadatas=[{"tenth": n % 10} for n in numbers],
    )


def sealed(
    url: str, client: pgchroma.ClientAPI, name: str = "papers", count: int = COUNT, **hnsw: Any
) -> pgchroma.Collection:
    """A collection of clustered embeddings in one segment."""
    collection = create(client, name, **hnsw)
    fill(collection, clustered(count))
    seal(url, collection)
    return collection


def resolved_of(client: pgchroma.ClientAPI, collection: pgchroma.Collection) -> ResolvedCollection:
    """What the client knows of a collection, looked up now."""
    forget(client)
    collection.get(limit=1)
    return context_of(client)._collections[collection.id]


def found(client: pgchroma.ClientAPI, collection: pgchroma.Collection) -> list[Any]:
    """The index in memory of each segment, as far as there is one now."""
    proposers = context_of(client).proposers
    assert proposers is not None
    return list(proposers.find(resolved_of(client, collection)))


def built(client: pgchroma.ClientAPI, collection: pgchroma.Collection) -> list[FileIndex]:
    """Wait until each segment has an index in memory."""
    until = time.monotonic() + 60
    while time.monotonic() < until:
        indexes = found(client, collection)
        if indexes and None not in indexes:
            return indexes
        time.sleep(0.05)
    raise AssertionError(f"no index in memory: {indexes}")


def key_of(client: pgchroma.ClientAPI, collection: pgchroma.Collection, n: int = 0) -> SegmentKey:
    """The key of a segment."""
    resolved = resolved_of(client, collection)
    segment = resolved.indexes.segments[n]
    generation = resolved.tables.generation
    return SegmentKey(collection.id, generation, segment.first_pos, segment.end_pos)


def builder(url: str, directory: Path, max_bytes: int = 1 << 30) -> Builder:
    """A builder that waits for writers as long as it takes."""
    place = Directory(directory, max_bytes)
    place.prepare()

    def wait(seconds: float) -> bool:
        time.sleep(seconds)
        return False

    return Builder(url, place, wait)


@dataclass
class Answers:
    """Whether each answer of a statement with proposed candidates was complete."""

    complete: list[bool] = field(default_factory=list)


def watched_answers(monkeypatch: pytest.MonkeyPatch) -> Answers:
    """Record the answers of all statements with proposed candidates."""
    seen = Answers()
    judge = ProposedQuery.has_all_matches

    def judged(query: ProposedQuery, rows: Any) -> bool:
        seen.complete.append(judge(query, rows))
        return seen.complete[-1]

    monkeypatch.setattr(ProposedQuery, "has_all_matches", judged)
    return seen


def check_answer(
    space: str,
    answer: Any,
    query: NDArray[Any],
    stored: dict[str, NDArray[Any]],
    wanted: int = 10,
) -> float:
    """Compare the answer to one query with exact search; return its recall.

    Every record exists and is returned once, its distance is exact, and the order is that of the
    distances.
    """
    ids, distances = answer["ids"][0], np.array(answer["distances"][0])
    assert len(set(ids)) == len(ids) == min(wanted, len(stored))
    assert set(ids) <= stored.keys()
    names = list(stored)
    order, exact = nearest(space, np.array(list(stored.values())), query)
    by_name = dict(zip(names, exact, strict=True))
    assert np.allclose(distances, [by_name[id] for id in ids], rtol=1e-3, atol=1e-4)
    assert (np.diff(distances) >= 0).all()
    true = {names[row] for row in order[:wanted]}
    return len(true.intersection(ids)) / max(len(true), 1)
