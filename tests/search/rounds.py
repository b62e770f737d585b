"""A collection of sparse vectors that is written to and compacted, and what it has to find."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

import numpy as np
import psycopg
import pytest

import pgchroma
from pgchroma import (
    IntInvertedIndexConfig,
    K,
    Knn,
    Schema,
    Search,
    SparseVector,
    SparseVectorIndexConfig,
)
from tests.search.blocks import assert_all_consistent, compact_sparse

__all__ = ("QUIET", "Rounds", "best", "sparse_vector")

TERMS = [
    3, 7, 10**9 - 1, 10**9, 10**9 + 1, 2**31, 3 * 10**9, 2**32 - 1, *range(100, 130),
]  # fmt: skip
QUIET = pgchroma.Settings(pgchroma_compaction=False)


def sparse_vector(rng: random.Random, most: int = 12) -> SparseVector:
    """A vector with one of few weights for each term, so that many scores are equal."""
    terms = sorted(rng.sample(TERMS, rng.randint(1, most)))
    return SparseVector(terms, [rng.choice([0.5, 1.0, 1.5, 0.1, 2.25]) for _ in terms])


class Rounds:
    """A collection with two keys for the same vectors, one with BM25, and what is stored there."""

    def __init__(self, url: str, client: pgchroma.ClientAPI, *, seed: int = 1) -> None:
        schema = Schema().create_index(SparseVectorIndexConfig(), key="s")
        schema.create_index(SparseVectorIndexConfig(bm25=True), key="w")
        schema.create_index(IntInvertedIndexConfig(), key="digit")
        self.url = url
        self.rng = random.Random(seed)
        self.collection = client.create_collection("rounds", schema, embedding_function=None)
        self.vectors: dict[str, SparseVector] = {}

    def add(self, count: int) -> None:
        first = max((int(id) for id in self.vectors), default=-1) + 1
        ids = [str(n) for n in range(first, first + count)]
        self._write(self.collection.add, ids, embeddings=[[1.0]] * count)

    def update(self, count: int) -> None:
        self._write(self.collection.update, self._some(count))

    def delete(self, count: int) -> None:
        ids = self._some(count)
        self.collection.delete(ids=ids)
        for id in ids:
            del self.vectors[id]

    def compact(self, *, merges_all: bool = False) -> None:
        compact_sparse(self.url, self.collection, merges_all=merges_all)
        self.assert_consistent()

    def assert_consistent(self) -> None:
        """Assert that the tables of both keys agree with each other."""
        with psycopg.connect(self.url) as connection:
            assert_all_consistent(connection, self.collection.id.hex, 2)

    def check(self, count: int, *limits: int) -> None:
        """Compare searches with the scores of all vectors."""
        for _ in range(count):
            key, limit = self.rng.choice("sw"), self.rng.choice(limits)
            digit = self.rng.choice([None, None, 3])
            query = sparse_vector(self.rng, 5)
            self.check_one(query, key, limit, None if digit is None else {"digit": digit})

    def check_one(
        self, query: SparseVector, key: str, limit: int, where: dict[str, Any] | None = None
    ) -> None:
        rank = Knn(query, key=key, limit=limit)
        found = self.collection.search(
            Search(where=where, rank=rank, limit=limit, select=[K.SCORE.name])
        )
        digit = None if where is None else where["digit"]
        expected = best(self.vectors, query, limit, has_bm25=key == "w", digit=digit)
        assert found["scores"] is not None
        assert found["scores"][0] == pytest.approx([score for score, _ in expected], 1e-5, 1e-6)
        # Sums of several parts may be rounded otherwise, and then the order differs, too.
        if found["scores"][0] == [score for score, _ in expected]:
            assert found["ids"][0] == [id for _, id in expected]

    def _write(self, write: Any, ids: list[str], **more: Any) -> None:
        written = {id: sparse_vector(self.rng) for id in ids}
        metadatas = [{"s": v, "w": v, "digit": int(id) % 10} for id, v in written.items()]
        write(ids, metadatas=metadatas, **more)
        self.vectors |= written

    def _some(self, count: int) -> list[str]:
        return self.rng.sample(list(self.vectors), count)


def best(
    vectors: Mapping[str, SparseVector],
    query: SparseVector,
    limit: int,
    *,
    has_bm25: bool,
    digit: int | None = None,
) -> list[tuple[float, str]]:
    """Return the scores and ids that a search has to find; ids are in the order of insertion."""
    weights = dict(zip(query.indices, query.values, strict=True))
    if has_bm25:
        for term, weight in weights.items():
            having = sum(term in v.indices for v in vectors.values())
            idf = np.log(1 + (len(vectors) - having + 0.5) / (having + 0.5))
            weights[term] = float(np.float32(weight * idf))
    scores = []
    for order, (id, v) in enumerate(vectors.items()):
        shared = [(t, x) for t, x in zip(v.indices, v.values, strict=True) if t in weights]
        if shared and (digit is None or int(id) % 10 == digit):
            score = 1 - sum(np.float32(x) * np.float32(weights[t]) for t, x in shared)
            scores.append((float(np.float32(score)), order, id))
    return [(score, id) for score, _, id in sorted(scores)[:limit]]
