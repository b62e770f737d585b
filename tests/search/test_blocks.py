"""Blocks of sparse vectors: searches that read them are exact, whatever happened before."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from threading import Event
from typing import Any

import psycopg
import pytest
import sqlalchemy

import pgchroma
from pgchroma import K, Knn, Search, SparseVector
from pgchroma.compactor import planner, thread
from pgchroma.store import context, resolved
from pgchroma.store.search import sparse, sparse_blocks
from tests.compactor.conftest import compact, indexes
from tests.search.blocks import SCHEMA, compact_sparse, small_blocks
from tests.search.concurrency import compact_until, run_together, snapshots
from tests.search.rounds import QUIET, Rounds, best, sparse_vector
from tests.server_process import eventually


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


@pytest.mark.heavy
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
    ("indexed", "tried"), [(2_000, 2_000), (10, 2_000), (10, 0)], ids=["indexed", "descent", "all"]
)
@pytest.mark.parametrize("has_index", [True, False])
def test_filters_are_complete_however_they_are_executed(
    rounds: Rounds, monkeypatch: pytest.MonkeyPatch, indexed: int, tried: int, has_index: bool
) -> None:
    monkeypatch.setattr(sparse_blocks, "MAX_INDEXED", indexed)
    monkeypatch.setattr(sparse_blocks, "MAX_TRIED", tried)
    rounds.add(1_200)
    rounds.compact()
    if has_index:
        monkeypatch.setattr(planner, "MIN_INDEXED", 0)
        monkeypatch.setattr(resolved, "FRESH_SECONDS", -1.0)
        compact(rounds.url, merges_all=False)
        assert indexes(rounds.url, rounds.collection)
    rounds.update(100)
    rounds.add(50)
    for limit in (1, 30, 2_000):
        for key in "sw":
            rounds.check_one(sparse_vector(rounds.rng, 3), key, limit, {"digit": 3})
            rounds.check_one(sparse_vector(rounds.rng, 3), key, limit, {"digit": 11})


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
        rounds.check_one(sparse_vector(rounds.rng, 3), "s", 20)
    # Compaction removes the vectors, and counts the records again.
    with psycopg.connect(rounds.url) as connection:
        stray = f"select count(*) from {SCHEMA}.sparse_{rounds.collection.id.hex}_0"
        before = connection.execute(stray).fetchall()[0][0]
    rounds.compact(merges_all=True)
    with psycopg.connect(rounds.url) as connection:
        assert connection.execute(stray).fetchall()[0][0] == len(rounds.vectors) < before


@pytest.mark.heavy
def test_a_compactor_may_be_killed_before_any_statement(rounds: Rounds) -> None:
    rounds.add(300)
    for count in (1, 2, 3, 5, 8, 13, 21, 34, 55, 89, 10_000):
        rounds.add(70)
        rounds.update(60)
        rounds.delete(50)
        command = [sys.executable, "-m", "tests.search.kill_worker", rounds.url, str(count)]
        killed = subprocess.run(command, check=False)
        assert killed.returncode == (-signal.SIGKILL if count < 10_000 else 0)
        rounds.assert_consistent()
        rounds.check(3, 1, 20)
    rounds.check(5, 1, 20)


@pytest.mark.heavy
@pytest.mark.parametrize(
    "seconds", [4.0, pytest.param(60.0, marks=pytest.mark.slow)], ids=["short", "long"]
)
def test_readers_are_exact_while_others_write_and_compact(rounds: Rounds, seconds: float) -> None:
    """Each reader compares searches with all records of the same snapshot."""
    rounds.add(200)
    run_together(
        [_write_until, _write_until, compact_until, _read_until, _read_until], rounds, seconds
    )
    rounds.assert_consistent()


def _write_until(stop: Event, rounds: Rounds, number: int, done: Counter[int]) -> None:
    rng = random.Random(number)
    with pgchroma.PostgresClient(rounds.url, QUIET) as client:
        collection = client.get_collection("rounds", embedding_function=None)
        while not stop.is_set():
            ids = rng.sample([str(n) for n in range(300)], rng.choice([1, 5, 40]))
            vectors = [sparse_vector(rng) for _ in ids]
            metadatas: Any = [{"s": v, "w": v, "digit": 0} for v in vectors]
            if rng.random() < 0.3:
                collection.delete(ids=ids)
            else:
                collection.upsert(ids, embeddings=[[1.0]] * len(ids), metadatas=metadatas)
            done[number] += 1


def _read_until(stop: Event, rounds: Rounds, number: int, done: Counter[int]) -> None:
    rng = random.Random(number)
    for collection in snapshots(stop, rounds.url):
        stored = collection.get(include=["metadatas"])
        vectors = dict(zip(stored["ids"], stored["metadatas"] or [], strict=True))
        for key in "sw":
            query = sparse_vector(rng, 5)
            found = collection.search(
                Search(rank=Knn(query, key=key, limit=20), limit=20, select=[K.SCORE.name])
            )
            shown: Any = {id: metadata[key] for id, metadata in vectors.items()}
            expected = [score for score, _ in best(shown, query, 20, has_bm25=key == "w")]
            assert found["scores"] is not None
            assert found["scores"][0] == pytest.approx(expected, 1e-5, 1e-6)
        done[number] += 1


def test_the_compactor_of_a_client_builds_blocks(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(thread, "POLL_SECONDS", 0.05)
    monkeypatch.setattr(thread, "IDLE_SECONDS", 0.5)
    with pgchroma.PostgresClient(url) as client:
        rounds = Rounds(url, client)
        rounds.add(600)
        assert eventually(lambda: _blocks(rounds) == [(600, 0)])
        rounds.delete(30)
        assert eventually(lambda: _blocks(rounds) == [(600, 30)])
        rounds.check(5, 1, 20)
    # Another process finds what one that was killed has left.
    with pgchroma.PostgresClient(url, QUIET) as client:
        again = client.get_collection("rounds", embedding_function=None)
        rounds.collection = again
        rounds.add(700)
    with pgchroma.PostgresClient(url) as client:
        client.get_collection("rounds", embedding_function=None).add("x", embeddings=[1.0])
        assert eventually(lambda: len(_blocks(rounds)) == 2)


def test_a_search_is_planned_once(rounds: Rounds) -> None:
    """Planning it takes as long as executing it, and PostgreSQL reuses a plan only if told to."""
    rounds.add(300)
    engine = sqlalchemy.create_engine(
        "postgresql+psycopg://", creator=lambda: psycopg.connect(rounds.url, autocommit=True)
    )
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        reader = pgchroma.PostgresClient(connection, QUIET)
        collection = reader.get_collection("rounds", embedding_function=None)
        for where in (None, {"digit": 3}):
            for _ in range(4):
                term = rounds.rng.choice([1, 200, 70_000, 10**9])
                rank = Knn(SparseVector([term, 2**31], [1.0, 2.5]), key="s", limit=20)
                collection.search(Search(where=where, rank=rank, limit=20))
        planned = connection.exec_driver_sql(
            "select generic_plans, custom_plans from pg_prepared_statements "
            "where strpos(statement, 'with recursive') > 0"
        ).fetchall()
    engine.dispose()
    assert [tuple(row) for row in planned] == [(4, 0), (4, 0)]


def test_an_index_that_finds_too_many_records_is_not_asked_again(
    rounds: Rounds, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sparse_blocks, "MAX_INDEXED", 50)
    monkeypatch.setattr(planner, "MIN_INDEXED", 0)
    monkeypatch.setattr(resolved, "FRESH_SECONDS", -1.0)
    rounds.add(1_200)
    rounds.compact()
    compact(rounds.url, merges_all=False)
    assert indexes(rounds.url, rounds.collection)
    asked: list[bool] = []
    make = sparse.sparse_leaf

    def recorded(*args: Any, has_index: bool, **kwargs: Any) -> Any:
        asked.append(has_index)
        return make(*args, has_index=has_index, **kwargs)

    monkeypatch.setattr("pgchroma.store.search.searches.sparse_leaf", recorded)

    def asks_index(digit: int) -> bool:
        asked.clear()
        rounds.check_one(sparse_vector(rounds.rng, 3), "s", 10, {"digit": digit})
        return asked[0]

    # 120 records have the digit 3, and none has 11.
    assert [asks_index(digit) for digit in (3, 3, 11, 11, 3)] == [True, False, True, True, False]
    monkeypatch.setattr(context, "BROAD_SECONDS", -1.0)
    assert [asks_index(digit) for digit in (4, 4)] == [True, True]
