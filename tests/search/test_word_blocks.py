"""The blocks of a full-text index: searches by words are exact, whatever happened before."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from threading import Event

import psycopg
import pytest

import pgchroma
from pgchroma import K, Search, Text
from pgchroma.compactor import thread
from pgchroma.store.search import sparse_blocks
from tests.compactor.conftest import compact, indexes
from tests.search.blocks import SCHEMA, small_blocks
from tests.search.concurrency import compact_until, run_together, snapshots
from tests.search.rounds import QUIET
from tests.search.word_rounds import WordRounds, best_documents, document
from tests.server_process import eventually


@pytest.fixture
def rounds(url: str) -> Iterator[WordRounds]:
    with pgchroma.PostgresClient(url, QUIET) as client:
        yield WordRounds(url, client)


def _count(rounds: WordRounds, table: str) -> int:
    name = f"{SCHEMA}.sparse_{rounds.collection.id.hex}_0{table}"
    with psycopg.connect(rounds.url) as connection:
        return int(connection.execute(f"select count(*) from {name}").fetchall()[0][0])


def test_searches_are_exact_through_writes_and_compaction(rounds: WordRounds) -> None:
    rounds.add(400)
    rounds.check(10, 1, 10, 100)
    rounds.compact()
    assert (_count(rounds, ""), _count(rounds, "_blocks"), _count(rounds, "_changes")) == (
        400, 1, 0,
    )  # fmt: skip
    rounds.check(20, 1, 10, 100)
    for _ in range(2):
        rounds.update(60)
        rounds.upsert(30)
        rounds.touch(50)
        rounds.delete(40)
        rounds.add(60)
        rounds.assert_consistent()
        rounds.check(10, 1, 10, 100)
        rounds.compact()
        rounds.check(10, 1, 10, 100)
    rounds.compact(merges_all=True)
    rounds.check(10, 1, 10, 100)


def test_an_update_of_metadata_leaves_the_vector(rounds: WordRounds) -> None:
    rounds.add(20)
    rounds.compact(merges_all=True)
    rounds.touch(20)
    assert _count(rounds, "_changes") == 0
    rounds.check(5, 1, 10)


def test_small_blocks_are_merged(rounds: WordRounds) -> None:
    with small_blocks(8):
        rounds.add(30)
        rounds.compact()
        for _ in range(4):
            rounds.delete(3)
            rounds.update(5)
            rounds.add(7)
            rounds.compact()
            rounds.check(3, 1, 10)
        rounds.compact(merges_all=True)
        rounds.check(5, 1, 10)
    assert _count(rounds, "_blocks") == -(-len(rounds.documents) // 8)


def test_long_documents_are_in_several_blocks(
    rounds: WordRounds, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("sparse", "state"):
        monkeypatch.setattr(f"pgchroma.compactor.{module}.MAX_BLOCK_BYTES", 3_000)
    rounds.add(200)
    while _count(rounds, "_changes"):
        rounds.compact(merges_all=True)
    assert _count(rounds, "_blocks") > 2
    assert _count(rounds, "_changes") == 0
    rounds.check(5, 1, 50)


def test_the_vectors_have_the_weights_of_documents_without_one(rounds: WordRounds) -> None:
    """The same scores, to the last bit, before and after compaction."""
    rounds.add(300)
    searches = [
        Search(rank=Text(document(rounds.rng, 6), limit=50), limit=50, select=[K.SCORE.name])
        for _ in range(10)
    ]
    before = rounds.collection.search(searches)
    rounds.compact(merges_all=True)
    assert rounds.collection.search(searches) == before


def test_the_beginning_of_a_very_long_document_is_searched(rounds: WordRounds) -> None:
    text = " ".join(f"{number:x}" for number in range(10_000, 60_000))
    rare = [chr(code) for code in range(0x20000, 0x2A000)] * 2
    # Each pair is three words, of up to nine bytes.
    pairs = " ".join(f"{a}-{b}" for a, b in zip(rare, rare[7::3] * 3, strict=False))
    rounds.collection.add(
        ids=["long", "many", "dense"],
        documents=[text, "w1 " * 1_000, pairs],
        embeddings=[[1.0]] * 3,
    )
    for _ in range(2):
        for word, id in ((f"{10_000:x}", "long"), ("w1", "many"), (rare[0], "dense")):
            found = rounds.collection.search(Search(rank=Text(word)))
            assert found["ids"] == [[id]]
        assert rounds.collection.get(where_document={"$matches": f"{10_001:x}"})["ids"] == ["long"]
        rounds.compact(merges_all=True)


def test_a_document_that_was_deleted_in_sql_is_not_found(rounds: WordRounds) -> None:
    rounds.add(60)
    rounds.compact(merges_all=True)
    rounds.add(60)
    gone = rounds._some(50)
    with psycopg.connect(rounds.url) as connection:
        records = f"{SCHEMA}.records_{rounds.collection.id.hex}"
        connection.execute(f"delete from {records} where id = any(%s)", [gone])
    found = rounds.collection.search(Search(rank=Text("w1 w2 w3", limit=120), limit=120))
    words = {"w1", "w2", "w3"}
    expected = {id for id, text in rounds.documents.items() if words & set(text.split())}
    assert set(found["ids"][0]) == expected - set(gone)
    rounds.documents = {id: text for id, text in rounds.documents.items() if id not in gone}
    with pgchroma.PostgresClient(rounds.url, QUIET):
        compact(rounds.url, merges_all=True)
    rounds.assert_consistent()
    rounds.check(5, 1, 50)


@pytest.mark.parametrize("max_indexed", [0, 2_000])
@pytest.mark.parametrize("is_indexed", [False, True])
def test_filters_by_words_are_complete(
    rounds: WordRounds, monkeypatch: pytest.MonkeyPatch, max_indexed: int, is_indexed: bool
) -> None:
    monkeypatch.setattr(sparse_blocks, "MAX_INDEXED", max_indexed)
    monkeypatch.setattr("pgchroma.compactor.planner.MIN_INDEXED", 1 if is_indexed else 10**9)
    rounds.add(300)
    compact(rounds.url)
    assert any("_by_lexe" in name for name in indexes(rounds.url, rounds.collection)) is is_indexed
    rounds.add(50)
    for wanted, query in (("w1", "w2 w3"), ("w1 or w2", "w1 w5"), ("-w4", "w9"), ("w1*", "w2")):
        where = {"#document": {"$matches": wanted}}
        ids = rounds.collection.get(where_document={"$matches": wanted})["ids"]
        assert 0 < len(ids) < 350
        found = rounds.collection.search(
            Search(where=where, rank=Text(query, limit=40), limit=40, select=[K.SCORE.name])
        )
        ranked = best_documents(rounds.documents, query, 10_000)
        expected = [score for score, id in ranked if id in set(ids)][:40]
        assert found["scores"] is not None
        assert found["scores"][0] == pytest.approx(expected, 1e-5, 1e-6)


@pytest.mark.heavy
def test_a_compactor_may_be_killed_before_any_statement(rounds: WordRounds) -> None:
    rounds.add(300)
    for count in (1, 2, 3, 4, 5, 6, 8, 13, 21, 34, 55, 10_000):
        rounds.add(70)
        rounds.update(60)
        rounds.delete(50)
        command = [sys.executable, "-m", "tests.search.kill_worker", rounds.url, str(count)]
        killed = subprocess.run(command, check=False)
        assert killed.returncode == (-signal.SIGKILL if count < 10_000 else 0)
        rounds.assert_consistent()
        rounds.check(3, 1, 20)


@pytest.mark.parametrize(
    "seconds", [4.0, pytest.param(60.0, marks=pytest.mark.slow)], ids=["short", "long"]
)
def test_readers_are_exact_while_others_write_and_compact(
    rounds: WordRounds, seconds: float
) -> None:
    """Each reader compares searches with all documents of the same snapshot."""
    rounds.add(200)
    run_together([_write_until, _write_until, compact_until, _read_until], rounds, seconds)
    rounds.assert_consistent()


def _write_until(stop: Event, rounds: WordRounds, number: int, done: Counter[int]) -> None:
    rng = random.Random(number)
    with pgchroma.PostgresClient(rounds.url, QUIET) as client:
        collection = client.get_collection("rounds", embedding_function=None)
        while not stop.is_set():
            ids = rng.sample([str(n) for n in range(300)], rng.choice([1, 5, 40]))
            if rng.random() < 0.3:
                collection.delete(ids=ids)
            else:
                documents = [document(rng) for _ in ids]
                collection.upsert(ids, embeddings=[[1.0]] * len(ids), documents=documents)
            done[number] += 1


def _read_until(stop: Event, rounds: WordRounds, number: int, done: Counter[int]) -> None:
    rng = random.Random(number)
    for collection in snapshots(stop, rounds.url):
        stored = collection.get(include=["documents"])
        documents = dict(zip(stored["ids"], stored["documents"] or [], strict=True))
        query = document(rng, 5)
        found = collection.search(
            Search(rank=Text(query, limit=20), limit=20, select=[K.SCORE.name])
        )
        expected = [score for score, _ in best_documents(documents, query, 20)]
        assert found["scores"] is not None
        assert found["scores"][0] == pytest.approx(expected, 1e-5, 1e-6)
        done[number] += 1


def test_the_compactor_of_a_client_builds_blocks(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(thread, "POLL_SECONDS", 0.05)
    monkeypatch.setattr(thread, "IDLE_SECONDS", 0.5)
    with pgchroma.PostgresClient(url) as client:
        rounds = WordRounds(url, client)
        rounds.add(600)
        assert eventually(lambda: _count(rounds, "_blocks") == 1)
        assert eventually(lambda: _count(rounds, "_changes") == 0)
        rounds.check(5, 1, 20)
