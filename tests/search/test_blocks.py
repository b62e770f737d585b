"""Blocks of sparse vectors: searches that read them are exact, whatever happened before."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import psycopg
import pytest

import pgchroma
from pgchroma import K, Knn, Schema, Search, SparseVector, SparseVectorIndexConfig
from pgchroma.compactor import planner
from pgchroma.store.search import sparse_blocks
from tests.search.blocks import SCHEMA, assert_all_consistent, compact_sparse, small_blocks

TERMS = [
    3, 7, 10**9 - 1, 10**9, 10**9 + 1, 2**31, 3 * 10**9, 2**32 - 1, *range(100, 130),
]  # fmt: skip
QUIET = pgchroma.Settings(pgchroma_compaction=False)


def vector(rng: random.Random, most: int = 12) -> SparseVector:
    """A vector with one of few weights for each term, so that many scores are equal."""
    terms = sorted(rng.sample(TERMS, rng.randint(1, most)))
    return SparseVector(terms, [rng.choice([0.5, 1.0, 1.5, 0.1, 2.25]) for _ in terms])


class Rounds:
    """A collection with two keys for the same vectors, one with BM25, and what is stored there."""

    def __init__(self, url: str, client: pgchroma.ClientAPI, *, seed: int = 1) -> None:
        schema = Schema().create_index(SparseVectorIndexConfig(), key="s")
        schema.create_index(SparseVectorIndexConfig(bm25=True), key="w")
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
        with psycopg.connect(self.url) as connection:
            assert_all_consistent(connection, self.collection.id.hex, 2)

    def check(self, count: int, *limits: int) -> None:
        """Compare searches with the scores of all vectors."""
        for _ in range(count):
            key, limit = self.rng.choice("sw"), self.rng.choice(limits)
            digit = self.rng.choice([None, None, 3])
            query = vector(self.rng, 5)
            self.check_one(query, key, limit, None if digit is None else {"digit": digit})

    def check_one(
        self, query: SparseVector, key: str, limit: int, where: dict[str, Any] | None = None
    ) -> None:
        rank = Knn(query, key=key, limit=limit)
        found = self.collection.search(
            Search(where=where, rank=rank, limit=limit, select=[K.SCORE.name])
        )
        expected = self._best(query, key, limit, None if where is None else where["digit"])
        assert found["scores"] is not None
        assert found["scores"][0] == pytest.approx([score for score, _ in expected], 1e-5, 1e-6)
        # Sums of several parts may be rounded otherwise, and then the order differs, too.
        if found["scores"][0] == [score for score, _ in expected]:
            assert found["ids"][0] == [id for _, id in expected]

    def _write(self, write: Any, ids: list[str], **more: Any) -> None:
        written = {id: vector(self.rng) for id in ids}
        metadatas = [{"s": v, "w": v, "digit": int(id) % 10} for id, v in written.items()]
        write(ids, metadatas=metadatas, **more)
        self.vectors |= written

    def _some(self, count: int) -> list[str]:
        return self.rng.sample(list(self.vectors), count)

    def _best(
        self, query: SparseVector, key: str, limit: int, digit: int | None
    ) -> list[tuple[float, str]]:
        """Return the scores and ids that a search has to find."""
        weights = dict(zip(query.indices, query.values, strict=True))
        if key == "w":
            for term, weight in weights.items():
                having = sum(term in v.indices for v in self.vectors.values())
                idf = np.log(1 + (len(self.vectors) - having + 0.5) / (having + 0.5))
                weights[term] = float(np.float32(weight * idf))
        scores = []
        for id, v in self.vectors.items():
            shared = [(t, x) for t, x in zip(v.indices, v.values, strict=True) if t in weights]
            if shared and (digit is None or int(id) % 10 == digit):
                score = 1 - sum(np.float32(x) * np.float32(weights[t]) for t, x in shared)
                scores.append((float(np.float32(score)), int(id), id))
        return [(score, id) for score, _, id in sorted(scores)[:limit]]


@pytest.fixture
def rounds(url: str) -> Iterator[Rounds]:
    with pgchroma.PostgresClient(url, QUIET) as client:
        yield Rounds(url, client)


def _blocks(rounds: Rounds, number: int = 0) -> list[tuple[int, int]]:
    """Return how many vectors each block has, and how many of them were removed."""
    with psycopg.connect(rounds.url) as connection:
        return connection.execute(
            f"select vectors, removed from {SCHEMA}.sparse_{rounds.collection.id.hex}_{number}"
            "_blocks order by block"
        ).fetchall()


def test_searches_are_exact_through_writes_and_compaction(rounds: Rounds) -> None:
    rounds.add(2_500)
    rounds.check(8, 1, 10, 100)
    rounds.compact()
    assert _blocks(rounds) == [(2_500, 0)]
    rounds.check(25, 1, 10, 100)
    for _ in range(3):
        rounds.update(220)
        rounds.delete(50)
        rounds.add(60)
        rounds.check(8, 1, 10, 100)
        rounds.compact()
        rounds.check(8, 1, 10, 100)
    assert sum(removed for _, removed in _blocks(rounds)) > 0
    rounds.compact(merges_all=True)
    assert _blocks(rounds) == [(len(rounds.vectors), 0)]
    rounds.check(15, 1, 10, 100, 5_000)


def test_blocks_are_merged(rounds: Rounds) -> None:
    with small_blocks(64):
        for _ in range(7):
            rounds.add(30)
            rounds.compact()
        assert max(vectors for vectors, _ in _blocks(rounds)) == 64
        assert len(_blocks(rounds)) < 7
        rounds.check(10, 1, 50)
        # A block that loses a fifth of its vectors is built again.
        rounds.delete(100)
        rounds.compact()
        assert all(removed * 5 <= vectors for vectors, removed in _blocks(rounds))
        rounds.check(10, 1, 50)
        rounds.delete(len(rounds.vectors) - 1)
        rounds.compact(merges_all=True)
        assert _blocks(rounds) == [(1, 0)]
        rounds.delete(1)
        rounds.compact(merges_all=True)
        assert _blocks(rounds) == []
        rounds.add(3)
        rounds.check(5, 1, 50)


def test_a_deleted_topic_leaves_the_weights_right(rounds: Rounds) -> None:
    """With the removed vectors still counted, the frequencies of their terms would be far off."""
    rounds.add(600)
    with small_blocks(128):
        rounds.compact()
        topic = [id for id, v in rounds.vectors.items() if 100 in v.indices]
        rounds.collection.delete(ids=topic)
        for id in topic:
            del rounds.vectors[id]
        query = SparseVector([100, 101, 102], [1.0, 1.0, 1.0])
        rounds.check_one(query, "w", 20)
        rounds.compact()
        rounds.check_one(query, "w", 20)


@pytest.mark.parametrize(
    ("gate", "tried"), [(2_000, 2_000), (10, 2_000), (10, 0)], ids=["gate", "ladder", "all"]
)
@pytest.mark.parametrize("has_index", [True, False])
def test_filters_are_complete_however_they_are_executed(
    rounds: Rounds, monkeypatch: pytest.MonkeyPatch, gate: int, tried: int, has_index: bool
) -> None:
    monkeypatch.setattr(sparse_blocks, "MAX_GATE", gate)
    monkeypatch.setattr(sparse_blocks, "MAX_TRIED", tried)
    if has_index:
        monkeypatch.setattr(planner, "MIN_INDEXED", 0)
    rounds.add(1_200)
    rounds.compact()
    rounds.update(100)
    rounds.add(50)
    for limit in (1, 30, 2_000):
        for key in "sw":
            rounds.check_one(vector(rounds.rng, 3), key, limit, {"digit": 3})
            rounds.check_one(vector(rounds.rng, 3), key, limit, {"digit": 11})


def test_weights_that_are_not_plain_are_in_no_block(rounds: Rounds) -> None:
    rounds.add(20)
    odd = {
        "negative": SparseVector([100, 101], [1.0, -1.0]),
        "zero": SparseVector([101], [0.0]),
        "tiny": SparseVector([101], [1e-30]),
        "huge": SparseVector([101], [1e30]),
    }
    rounds.collection.add(
        list(odd), embeddings=[[1.0]] * 4, metadatas=[{"s": v} for v in odd.values()]
    )
    rounds.compact(merges_all=True)
    assert _blocks(rounds) == [(20, 0)]
    for query in (SparseVector([101], [2.0]), SparseVector([101], [-2.0])):
        found = rounds.collection.search(Search(rank=Knn(query, key="s", limit=50), limit=50))
        assert set(odd) <= set(found["ids"][0])
    huge = SparseVector([101, 102], [1e36, 1e36])
    found = rounds.collection.search(
        Search(rank=Knn(huge, key="s", limit=50), limit=50, select=[K.SCORE.name])
    )
    scores = dict(zip(found["ids"][0], (found["scores"] or [[]])[0], strict=True))
    assert scores["huge"] is None
    assert scores["zero"] == 1.0
    rounds.collection.delete(ids=list(odd))
    rounds.compact()


def test_equal_scores_are_in_insertion_order(rounds: Rounds) -> None:
    same = SparseVector([5], [1.0])
    ids = [str(n) for n in range(1_500)]
    rounds.collection.add(ids, embeddings=[[1.0]] * 1_500, metadatas=[{"s": same}] * 1_500)
    compact_sparse(rounds.url, rounds.collection)
    for limit in (1, 10, 700):
        found = rounds.collection.search(Search(rank=Knn(same, key="s", limit=limit), limit=limit))
        assert found["ids"][0] == ids[:limit]
    # 1 minus the score rounds to 1.
    faint = SparseVector([5, 6], [1e-9, 1e-10])
    found = rounds.collection.search(Search(rank=Knn(faint, key="s", limit=7), limit=7))
    assert found["ids"][0] == ids[:7]


def test_a_record_that_was_deleted_in_sql_is_not_found(rounds: Rounds) -> None:
    rounds.add(300)
    rounds.compact()
    rounds.update(30)
    gone = rounds._some(40)
    with psycopg.connect(rounds.url) as connection:
        records = f"{SCHEMA}.records_{rounds.collection.id.hex}"
        connection.execute(f"delete from {records} where id = any(%s)", [gone])
        connection.execute(
            f"update {records} set sparse_0 = null, sparse_1 = null where id = any(%s)",
            [rounds._some(5)],
        )
    found = rounds.collection.get(include=["metadatas"])
    assert found["metadatas"] is not None
    rounds.vectors = {
        id: metadata["s"]  # type: ignore[misc]
        for id, metadata in zip(found["ids"], found["metadatas"], strict=True)
        if metadata and "s" in metadata
    }
    for _ in range(10):
        rounds.check_one(vector(rounds.rng, 3), "s", 20)
    # Compaction removes the vectors, and counts the records again.
    with psycopg.connect(rounds.url) as connection:
        stray = f"select count(*) from {SCHEMA}.sparse_{rounds.collection.id.hex}_0"
        before = connection.execute(stray).fetchall()[0][0]
    rounds.compact(merges_all=True)
    with psycopg.connect(rounds.url) as connection:
        assert connection.execute(stray).fetchall()[0][0] == len(rounds.vectors) < before
