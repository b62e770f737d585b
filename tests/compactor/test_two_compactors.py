"""Concurrent writers, readers and two compactors, compared with what each writer has written."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from threading import Event, Lock
from typing import Any

import numpy as np
import psycopg
import pytest

import pgchroma
from pgchroma import errors
from pgchroma.compactor import passes
from pgchroma.compactor.runner import Compaction
from pgchroma.compactor.session import BuildInterruptedError
from pgchroma.compactor.settings import CompactionSettings
from pgchroma.store import resolved
from pgchroma.store.search import planner
from tests.compactor.conftest import (
    DIMENSION,
    EAGER,
    QUIET,
    as_numbered,
    assert_at_rest,
    assert_right,
    compact,
    filled,
    more,
    searching,
)

WRITERS = 10
MOST = 1_000_000


class Truth:
    """The records that are committed, and those that may be, at every moment."""

    def __init__(self) -> None:
        self._lock = Lock()
        self.records: dict[str, np.ndarray] = {}
        self.ever: dict[str, list[np.ndarray]] = {}
        self.touched: list[str] = []
        self.in_doubt: set[str] = set()
        self.bounds = [(0, 0)]

    @contextmanager
    def changing(
        self, written: dict[str, np.ndarray], deleted: tuple[str, ...] = ()
    ) -> Iterator[None]:
        """Records are in doubt inside the context, and committed after it."""
        with self._lock:
            new = len(written.keys() - self.records.keys())
            for id, row in written.items():
                self.ever.setdefault(id, []).append(row)
            self.touched += [*written, *deleted]
            self.in_doubt.update(written, deleted)
            self._move(-len(deleted), new)
        yield
        with self._lock:
            self.records.update(written)
            for id in deleted:
                del self.records[id]
            self.in_doubt.difference_update(written, deleted)
            self._move(new, -len(deleted))

    def _move(self, low: int, high: int) -> None:
        self.bounds.append((self.bounds[-1][0] + low, self.bounds[-1][1] + high))

    def peek(self) -> Callable[[], tuple[dict[str, np.ndarray], int, int]]:
        """Start an observation; return a function that returns what has been certain since then."""
        with self._lock:
            known = {id: row for id, row in self.records.items() if id not in self.in_doubt}
            touched, bounds = len(self.touched), len(self.bounds)

        def since() -> tuple[dict[str, np.ndarray], int, int]:
            with self._lock:
                for id in self.touched[touched:]:
                    known.pop(id, None)
                seen = self.bounds[bounds - 1 :]
            return known, min(low for low, _ in seen), max(high for _, high in seen)

        return since


class Writer:
    """Writes its own records with every operation."""

    def __init__(self, number: int, collection: pgchroma.Collection, truth: Truth) -> None:
        self.number, self.collection, self.truth = number, collection, truth
        self.chance = random.Random(number)
        self.random = np.random.default_rng(number)
        self.mine: set[str] = set()
        self.made = 0

    def work(self, turns: int) -> None:
        ways = [self.add, self.upsert, self.update, self.delete, self.delete_by_filter]
        self.add()
        for _ in range(turns):
            self.chance.choice(ways)()

    def _rows(self, ids: list[str]) -> dict[str, np.ndarray]:
        rows = self.random.standard_normal((len(ids), DIMENSION)).astype(np.float32)
        return dict(zip(ids, rows, strict=True))

    def _new(self, count: int) -> list[str]:
        self.made += count
        return [f"{self.number}-{n}" for n in range(self.made - count, self.made)]

    def _some(self, count: int) -> list[str]:
        return self.chance.sample(sorted(self.mine), min(count, len(self.mine)))

    def _write(self, how: Callable[..., Any], ids: list[str], **more: Any) -> None:
        if ids:
            rows = self._rows(ids)
            with self.truth.changing(rows):
                how(ids=ids, embeddings=list(rows.values()), **more)
            self.mine |= rows.keys()

    def _metadatas(self, count: int) -> list[dict[str, Any]]:
        kinds = ["even" if self.number % 2 == 0 else "odd"] * count
        return [{"kind": kind, "lot": self.chance.randrange(8)} for kind in kinds]

    def add(self) -> None:
        self._write(self.collection.add, self._new(40), metadatas=self._metadatas(40))

    def upsert(self) -> None:
        ids = self._new(20) + self._some(20)
        self._write(self.collection.upsert, ids, metadatas=self._metadatas(len(ids)))

    def update(self) -> None:
        self._write(self.collection.update, self._some(25))

    def delete(self) -> None:
        ids = self._some(15)
        if ids:
            with self.truth.changing({}, tuple(ids)):
                self.collection.delete(ids=ids)
            self.mine -= set(ids)

    def delete_by_filter(self) -> None:
        ids = self._some(10)
        if ids:
            with self.truth.changing({}, tuple(ids)):
                self.collection.delete(ids=ids, where={"lot": {"$gte": 0}})
            self.mine -= set(ids)


def _check(collection: pgchroma.Collection, truth: Truth, chance: np.random.Generator) -> None:
    query = chance.standard_normal(DIMENSION).astype(np.float32)
    since = truth.peek()
    count = collection.count()
    _, low, high = since()
    assert low <= count <= high

    since = truth.peek()
    found = _query(collection, query, MOST)
    known, *_ = since()
    assert known.keys() <= found.keys(), "nothing committed is missing"
    _assert_existed(found, query, truth)
    for id, row in known.items():
        assert found[id] == pytest.approx(float(((row - query) ** 2).sum()), rel=1e-4, abs=1e-5)

    _assert_existed(_query(collection, query, 10), query, truth)
    since = truth.peek()
    found = _query(collection, query, 10, where={"kind": "odd"})
    known, *_ = since()
    assert len(found) == 10 or sum(int(id.split("-")[0]) % 2 for id in known) < 10
    assert all(int(id.split("-")[0]) % 2 for id in found)
    _assert_existed(found, query, truth)


def _query(
    collection: pgchroma.Collection, query: np.ndarray, wanted: int, **more: Any
) -> dict[str, float]:
    answer = collection.query(query_embeddings=[query], n_results=wanted, **more)
    assert answer["distances"] is not None
    (ids,), (distances,) = answer["ids"], answer["distances"]
    assert len(ids) == len(set(ids))
    assert distances == sorted(distances)
    return dict(zip(ids, distances, strict=True))


def _assert_existed(found: dict[str, float], query: np.ndarray, truth: Truth) -> None:
    for id, distance in found.items():
        possible = [float(((row - query) ** 2).sum()) for row in list(truth.ever[id])]
        assert any(distance == pytest.approx(each, rel=1e-4, abs=1e-5) for each in possible)


def _keep_compacting(url: str, stop: Event, memory: int) -> int:
    done = 0
    settings = CompactionSettings(segment_bytes=0, memory=memory)
    with Compaction(url, settings, stop) as working:
        while not stop.is_set():
            try:
                for each in working.collections():
                    done += working.compact(each, is_idle=done % 2 == 0)
            except BuildInterruptedError:
                continue
            stop.wait(0.02)
    return done


def _keep_changing(client: pgchroma.ClientAPI, collection: pgchroma.Collection, stop: Event) -> int:
    turn = 0
    while not stop.is_set():
        turn += 1
        neighbors = 8 if turn % 10 == 0 else 16
        collection.modify(
            name=f"papers-{turn}", configuration={"hnsw": {"max_neighbors": neighbors}}
        )
        passing = client.create_collection(
            f"passing-{turn}", configuration=EAGER, embedding_function=None
        )
        more(passing, 150)
        client.delete_collection(f"passing-{turn}")
        with pytest.raises(errors.NotFoundError):
            passing.count()
        stop.wait(0.05)
    return turn


def _all_at_once(url: str, turns: int) -> None:
    truth, stop = Truth(), Event()
    with (
        pgchroma.PostgresClient(searching(url), QUIET) as client,
        pgchroma.PostgresClient(searching(url), QUIET) as reading,
        ThreadPoolExecutor(WRITERS + 4) as pool,
    ):
        configuration: Any = {"hnsw": {**EAGER["hnsw"], "ef_search": 10}}
        collection = client.create_collection(
            "papers", configuration=configuration, embedding_function=None
        )
        reader = reading.get_collection("papers", embedding_function=None)
        writers = [Writer(number, collection, truth) for number in range(WRITERS)]
        written = [pool.submit(writer.work, turns) for writer in writers]
        others: list[Future[Any]] = [
            pool.submit(_keep_compacting, url, stop, memory) for memory in (64 << 20, 1 << 20)
        ]
        others.append(pool.submit(_keep_changing, client, collection, stop))
        chance = np.random.default_rng(7)
        try:
            while not all(each.done() for each in written):
                _check(reader, truth, chance)
            for each in written:
                each.result()
        finally:
            stop.set()
        for each in others:
            each.result()
        collection.modify(configuration={"hnsw": {"ef_search": 100}})
        assert_right(collection, truth.records)
        compact(url)
        assert_at_rest(url, collection)
        assert_right(collection, truth.records)
        _check(collection, truth, chance)
        with psycopg.connect(url) as plain:
            left = plain.execute(
                "select relname::text from pg_class where relname ~ '^(records|vectors|counts)_' "
                "and relname !~ %s",
                [collection.id.hex],
            ).fetchall()
        assert left == []


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make filters that match a few hundred records use indexes."""
    monkeypatch.setattr(planner, "MIN_EXACT_SCAN", 50)


@pytest.mark.heavy
@pytest.mark.usefixtures("narrow")
@pytest.mark.parametrize("fresh_seconds", [-1.0, 1.0])
def test_nothing_is_lost_doubled_or_made_up(
    url: str, monkeypatch: pytest.MonkeyPatch, fresh_seconds: float
) -> None:
    # Cached information about indexes may be stale, which makes searches slower but never wrong.
    monkeypatch.setattr(resolved, "FRESH_SECONDS", fresh_seconds)
    _all_at_once(url, 40)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.usefixtures("narrow")
def test_nothing_is_lost_doubled_or_made_up_for_longer(url: str) -> None:
    _all_at_once(url, 150)


def test_two_compactors_share_the_work(
    url: str, client: pgchroma.ClientAPI, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [f"papers-{number}" for number in range(6)]
    collections = [filled(client, name, 150) for name in names]
    built: list[str] = []
    lock, create = Lock(), passes.create_index

    def counted(collection: Any, statement: Any, name: str, *rest: Any) -> Any:
        with lock:
            built.append(name)
        return create(collection, statement, name, *rest)

    monkeypatch.setattr(passes, "create_index", counted)

    def work() -> None:
        with Compaction(url, CompactionSettings(segment_bytes=0), Event()) as working:
            for each in working.collections():
                while not working.compact(each, merges_all=True):
                    pass

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(built) == len(set(built)) == len(names)
    for collection in collections:
        assert_at_rest(url, collection)
        assert_right(collection, as_numbered((0, 150)))
