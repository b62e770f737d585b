"""Searches over segments, a tail and dead entries return as many records as match."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import pgchroma
from pgchroma import K, Knn, Rrf, Search
from pgchroma.store.search import planner
from tests.planner.segments import SPACES, compact, create, nearest, quiet, seal

DIMENSION = 8
COUNT = 400


@pytest.fixture(autouse=True)
def small_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """A limit: with more matching records, a search may use the index."""
    monkeypatch.setattr(planner, "MIN_EXACT_SCAN", 20)
    monkeypatch.setattr(planner, "INDEX_ROW_COST", 0)


@pytest.fixture
def client(url: str) -> Iterator[pgchroma.ClientAPI]:
    with quiet(url, pgchroma_pool_size=1) as direct:
        yield direct


class Stored:
    """A collection with two segments, a tail, and entries of records that were changed."""

    def __init__(self, client: pgchroma.ClientAPI, url: str, space: str) -> None:
        self.random = np.random.default_rng(5)
        self.vectors: dict[str, Any] = {}
        self.collection = create(client, space=space)
        self.write(0, COUNT)
        compact(url, self.collection)
        self.write(COUNT, 80)
        seal(url, self.collection)
        self.write(COUNT + 80, 30)
        self.write(0, 40)
        gone = [f"id{n}" for n in range(40, 90)]
        self.collection.delete(ids=gone)
        for id in gone:
            del self.vectors[id]

    def write(self, first: int, count: int) -> None:
        """Add or replace records."""
        ids = [f"id{n}" for n in range(first, first + count)]
        vectors = self.random.normal(size=(count, DIMENSION)).astype(np.float32)
        metadatas: Any = [{"k": n % 10} for n in range(first, first + count)]
        self.collection.upsert(ids=ids, embeddings=vectors, metadatas=metadatas)
        self.vectors |= dict(zip(ids, vectors, strict=True))

    def query(self) -> Any:
        return self.random.normal(size=DIMENSION).astype(np.float32)

    def expected(self, space: str, query: Any, below: int) -> tuple[list[str], Any]:
        """Return the matching ids, nearest first, and the distances to all records."""
        ids = list(self.vectors)
        which = [at for at, id in enumerate(ids) if int(id[2:]) % 10 < below]
        order, distances = nearest(space, np.array(list(self.vectors.values())), query, which)
        return [ids[at] for at in order], dict(zip(ids, distances, strict=True))


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("below", [10, 5, 1])
def test_as_many_are_found_as_match(
    client: pgchroma.ClientAPI, url: str, space: str, below: int
) -> None:
    stored = Stored(client, url, space)
    where = None if below == 10 else K("k") < below
    recalls = []
    for limit in (1, 10, 30, 200):
        query = stored.query()
        expected, distances = stored.expected(space, query, below)
        search = Search(where=where, rank=Knn(query, limit=limit), select=["#score"])
        found = stored.collection.search(search)
        got = found["ids"][0]
        assert len(set(got)) == len(got) == min(limit, len(expected))
        assert set(got) <= set(expected)
        scores = found["scores"][0]
        assert np.allclose(scores, [distances[id] for id in got], rtol=1e-5, atol=1e-5)
        assert scores == sorted(scores)
        recalls.append(len(set(got) & set(expected[:limit])) / len(got))
    assert np.mean(recalls) > 0.95


@pytest.mark.parametrize("below", [10, 5])
def test_a_fusion_of_searches_agrees_with_each_of_them(
    client: pgchroma.ClientAPI, url: str, below: int
) -> None:
    stored = Stored(client, url, "l2")
    where = None if below == 10 else K("k") < below
    for _ in range(5):
        queries = [stored.query(), stored.query()]
        # Each list may miss what an index misses, but both ways of asking miss the same.
        lists = [
            stored.collection.search(Search(where=where, rank=Knn(query, limit=20)))["ids"][0]
            for query in queries
        ]
        ranks = [Knn(query, limit=20, default=100, return_rank=True) for query in queries]
        fused = stored.collection.search(Search(where=where, rank=Rrf(ranks)))["ids"][0]
        assert set(fused) == set(lists[0]) | set(lists[1])
        score = {id: sum(1 / (60 + (each.index(id) if id in each else 100)) for each in lists)
                 for id in fused}  # fmt: skip
        gained = [score[id] for id in fused]
        assert np.allclose(gained, sorted(gained, reverse=True), rtol=1e-5)
