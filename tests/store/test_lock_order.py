"""Writes of ids that are added and deleted: they take locks in one order, and never deadlock."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest

import pgchroma
from pgchroma.backends import retries
from pgchroma.model.operations import UpsertRecords
from pgchroma.model.records import RecordBatch
from pgchroma.store.running.errors import is_retryable
from tests.server_process import eventually

SCHEMA = "default_tenant__default_database"

WRITES: dict[str, Callable[[Any, list[str]], Any]] = {
    "add": lambda papers, ids: papers.add(ids=ids, embeddings=[[1.0]] * len(ids)),
    "upsert": lambda papers, ids: papers.upsert(ids=ids, embeddings=[[2.0]] * len(ids)),
    "upsert bare": lambda papers, ids: papers._backend.execute(
        UpsertRecords(papers._ref, RecordBatch(ids, documents=list(ids)))
    ),
    "update": lambda papers, ids: papers.update(ids=ids, embeddings=[[3.0]] * len(ids)),
    "update bare": lambda papers, ids: papers.update(ids=ids, metadatas=[{"k": 2}] * len(ids)),
    "delete": lambda papers, ids: papers.delete(ids=ids),
    "delete where": lambda papers, ids: papers.delete(where={"k": {"$ne": 1}}),
    "delete limit": lambda papers, ids: papers.delete(where={"k": {"$ne": 1}}, limit=5),
}


class Sessions:
    """Writers of one collection, each on its own connection."""

    def __init__(self, papers: Any, url: str, threads: ThreadPoolExecutor) -> None:
        self.papers, self.url, self._threads = papers, url, threads
        self._writes: list[Future[Any]] = []

    def start(self, write: str, ids: list[str]) -> Future[Any]:
        """Begin a write, and return when it is done or waits for a lock."""
        before = self.waiting()
        started = self._threads.submit(WRITES[write], self.papers, ids)
        self._writes.append(started)
        eventually(lambda: started.done() or self.waiting() > before)
        return started

    @contextmanager
    def holding(self, id: str, statement: str) -> Iterator[psycopg.Connection[Any]]:
        """Keep every write that reaches an id waiting there."""
        with psycopg.connect(self.url) as blocker:
            blocker.execute(statement.format(f"{SCHEMA}.records_{self.papers.id.hex}"), {"id": id})
            yield blocker
            blocker.rollback()

    def finish(self) -> None:
        for write in self._writes:
            write.result(60)

    def states(self, ids: list[str]) -> dict[str, Any]:
        found = self.papers.get(ids=ids, include=["embeddings", "metadatas"])
        embeddings = found["embeddings"].tolist() if len(found["ids"]) else []
        both = zip(embeddings, found["metadatas"] or [], strict=True)
        return dict(zip(found["ids"], map(str, both), strict=True))

    def waiting(self) -> int:
        with psycopg.connect(self.url, autocommit=True) as connection:
            row = connection.execute(
                "select count(*) from pg_stat_activity "
                "where datname = current_database() and cardinality(pg_blocking_pids(pid)) > 0"
            ).fetchone()
        assert row is not None
        return int(row[0])


LOCK = "select from {} where id = %(id)s for update"
INSERT = "insert into {} (seq, id, created_at, updated_at) values (1000000, %(id)s, now(), now())"


@pytest.fixture
def problems(monkeypatch: pytest.MonkeyPatch) -> list[BaseException]:
    """The errors that PostgreSQL raised, including those of calls that were retried."""
    met: list[BaseException] = []

    def note(error: BaseException) -> bool:
        met.append(error)
        return is_retryable(error)

    monkeypatch.setattr(retries, "is_retryable", note)
    return met


@pytest.fixture
def sessions(url: str) -> Iterator[Sessions]:
    settings = pgchroma.Settings(pgchroma_pool_size=8, pgchroma_compaction=False)
    with pgchroma.PostgresClient(url, settings) as client, ThreadPoolExecutor(8) as threads:
        papers = client.create_collection("papers", embedding_function=None)
        papers.add(ids="seed", embeddings=[0.0], metadatas={"k": 1})
        yield Sessions(papers, url, threads)


CHANGING = [write for write in WRITES if write != "add"]


@pytest.mark.heavy
@pytest.mark.parametrize("first", CHANGING)
@pytest.mark.parametrize("second", CHANGING)
def test_a_record_that_appears_while_a_write_waits(
    sessions: Sessions, problems: list[BaseException], first: str, second: str
) -> None:
    sessions.papers.add(ids="m", embeddings=[0.0])
    with sessions.holding("m", LOCK):
        sessions.start(first, ["a", "m", "z"])
        # There is now a new record both before and after the locked one.
        sessions.start("add", ["a"])
        sessions.start("add", ["z"])
        sessions.start(second, ["z", "m", "a"])
        sessions.start(first, ["z", "a"])
    sessions.finish()
    assert problems == []


@pytest.mark.heavy
@pytest.mark.parametrize("first", ["add", "upsert", "upsert bare"])
@pytest.mark.parametrize("second", list(WRITES))
def test_a_record_that_appears_while_an_insertion_waits(
    sessions: Sessions, problems: list[BaseException], first: str, second: str
) -> None:
    with sessions.holding("m", INSERT):
        sessions.start(first, ["a", "m", "z"])
        sessions.start("add", ["z"])
        sessions.start(second, ["a", "z"])
        sessions.start(second, ["z"])
        sessions.start("upsert", ["z", "a"])
    sessions.finish()
    assert problems == []


@pytest.mark.parametrize(
    ("first", "second"), [("upsert", "upsert"), ("update", "delete"), ("delete", "upsert")]
)
def test_plans_that_are_kept_wait_in_the_same_order(
    sessions: Sessions, problems: list[BaseException], first: str, second: str
) -> None:
    def warm(number: int) -> None:
        for turn in range(16):
            for write in ("upsert", first, second):
                WRITES[write](sessions.papers, [f"{number}-{turn + 1}", f"{number}-{turn}"])

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(warm, range(8)))
    test_a_record_that_appears_while_a_write_waits(sessions, problems, first, second)


@pytest.mark.parametrize("write", [write for write in CHANGING if write != "upsert bare"])
def test_a_batch_that_appears_while_a_write_waits_is_changed_whole_or_not_at_all(
    sessions: Sessions, problems: list[BaseException], write: str
) -> None:
    sessions.papers.add(ids="a", embeddings=[0.0])
    with sessions.holding("a", LOCK) as first:
        waiting = sessions.start(write, ["a", "x", "y"])
        sessions.start("add", ["x", "y"])
        # Another session has locked a part of the batch when the write reaches it.
        with sessions.holding("x", LOCK):
            first.rollback()
            eventually(lambda: waiting.done() or sessions.waiting() > 0)
            states = sessions.states(["x", "y"])
            assert len(states) in {0, 2}, states
            assert len(set(states.values())) <= 1, states
    sessions.finish()
    states = sessions.states(["x", "y"])
    assert len(set(states.values())) <= 1, states
    assert len(states) == (0 if write.startswith("delete") else 2)
    assert problems == []


@pytest.mark.parametrize("write", ["delete", "delete where"])
def test_a_batch_that_is_added_while_it_is_deleted_is_there_whole_or_not_at_all(
    sessions: Sessions, problems: list[BaseException], write: str
) -> None:
    sessions.papers.add(ids=["a", "z"], embeddings=[[0.0]] * 2)
    with sessions.holding("m", INSERT):
        sessions.start("add", ["a", "m", "z"])
        sessions.start(write, ["a", "z"])
    sessions.finish()
    assert len(sessions.states(["a", "z"])) in {0, 2}
    assert problems == []
