"""Reads, writes, killed clients and index builds during a re-embedding."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from threading import Event
from typing import Any

import numpy as np
import psycopg
import pytest

import pgchroma
from pgchroma import errors
from pgchroma.compactor import once
from pgchroma.compactor.runner import Compaction
from pgchroma.compactor.settings import CompactionSettings
from pgchroma.store.reembedding import switch
from tests.reembedding.functions import Hashed, vector_of
from tests.server_process import eventually

COUNT = 400


def _client(url: str, **options: Any) -> pgchroma.ClientAPI:
    return pgchroma.PostgresClient(url, pgchroma.Settings(allow_reset=True, **options))


def _filled(
    client: pgchroma.ClientAPI, function: Hashed, count: int = COUNT, **hnsw: Any
) -> pgchroma.Collection:
    configuration: Any = {"hnsw": hnsw}
    collection = client.create_collection(
        "papers", embedding_function=function, configuration=configuration
    )
    texts = [f"text {n}" for n in range(count)]
    collection.add(ids=[f"id{n}" for n in range(count)], documents=texts)
    return collection


def _assert_right(collection: pgchroma.Collection, function: Hashed) -> None:
    found: Any = collection.get(include=["embeddings", "documents"])
    wanted = [vector_of(t, function.seed, function.dimension) for t in found["documents"]]
    assert np.array_equal(found["embeddings"], np.array(wanted))
    assert collection.count() == len(found["ids"])


class _Slow(Hashed):
    """Embeds slowly, as a provider does."""

    def __call__(self, input: Any) -> Any:
        time.sleep(0.01)
        return super().__call__(input)


class _Others:
    """Two writers and a reader, which get the collection again when an error requires it.

    Attributes:
        written: The last text written, by id.
    """

    def __init__(self, url: str) -> None:
        self.written: dict[str, str] = {}
        self._url = url
        self._ended = threading.Event()
        self._pool = ThreadPoolExecutor(3)

    def __enter__(self) -> _Others:
        works: list[Any] = [partial(self._write, number) for number in range(2)]
        self._running = [self._pool.submit(self._go_on, work) for work in [*works, self._read]]
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._pool.shutdown()
        for each in self._running:
            each.result()

    def _go_on(self, work: Callable[[pgchroma.Collection], None]) -> None:
        with _client(self._url, pgchroma_compaction=False) as client:
            papers = client.get_collection("papers")
            while not self._ended.is_set():
                try:
                    work(papers)
                except errors.InvalidArgumentError as error:
                    assert "get it again with get_collection" in str(error)
                    papers = client.get_collection("papers")

    def _write(self, number: int, papers: pgchroma.Collection) -> None:
        id = f"id{random.randrange(COUNT // 2) * 2 + number}"
        text = f"{number} at {time.monotonic()}"
        papers.upsert(ids=[id], documents=[text])
        self.written[id] = text
        time.sleep(random.random() * 0.02)

    def _read(self, papers: pgchroma.Collection) -> None:
        found = papers.query(query_texts=["text 1"], n_results=COUNT)
        assert len(found["ids"][0]) == COUNT, "no record is ever missing"


def test_readers_and_writers_go_on(url: str) -> None:
    with _client(url, pgchroma_compaction=False) as client:
        collection = _filled(client, Hashed())
        with _Others(url) as others:
            report = collection.reembed(_Slow(seed=2, dimension=12), batch_size=20, sample=5)
            time.sleep(0.1)
        assert report.embedded >= COUNT
        _assert_right(collection, Hashed(seed=2, dimension=12))
        found = collection.get(ids=sorted(others.written))
        assert dict(zip(found["ids"], found["documents"] or [], strict=True)) == others.written


KILLED = """
import sys
import pgchroma
from tests.reembedding.test_writes_during_reembedding import _Slow

settings = pgchroma.Settings(pgchroma_compaction=False)
with pgchroma.PostgresClient(sys.argv[1], settings) as client:
    papers = client.get_collection("papers")
    print("begun", flush=True)
    papers.reembed(_Slow(seed=int(sys.argv[2]), dimension=12), batch_size=20, sample=3)
"""


@pytest.mark.heavy
def test_a_kill_loses_nothing(url: str) -> None:
    chance = random.Random(3)
    with _client(url, pgchroma_compaction=False) as client:
        collection = _filled(client, Hashed(dimension=12))
        for turn in range(6):
            command = [sys.executable, "-c", KILLED, url, "2"]
            with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
                assert process.stdout is not None
                process.stdout.readline()
                time.sleep(chance.random() * 0.4)
                process.send_signal(signal.SIGKILL)
            papers = client.get_collection("papers")
            known: Any = papers.configuration_json["embedding_function"]
            _assert_right(papers, Hashed.build_from_config(known["config"]))
            text = f"turn {turn}"
            papers.upsert(ids=[f"id{turn}", f"new{turn}"], documents=[text, text])
        status = collection.get_reembedding()
        assert status is not None
        function = Hashed(seed=2, dimension=12)
        report = client.get_collection("papers").reembed(function)
        assert report.embedded == (0 if status.is_previous else status.total - status.embedded)
        _assert_right(client.get_collection("papers"), function)


@pytest.mark.heavy
def test_the_index_is_there_before_it_is_used(url: str) -> None:
    with _client(url, pgchroma_segment_bytes=0) as client:
        collection = _filled(client, Hashed(), 2_000, sync_threshold=50, batch_size=10)
        eventually(lambda: collection.get_indexing_status().num_unindexed_ops == 0)
        new = Hashed(seed=2, dimension=12)
        collection.reembed(new)
        assert collection.get_indexing_status().num_unindexed_ops == 0
        # PostgreSQL sorts segments as small as the provisional ones rather than search them.
        explain = partial(collection.explain, query_texts="text 1", n_results=3)
        eventually(lambda: explain().strategy == "index")
        assert collection.recall(sample=50).recall > 0.95
        collection.add(ids="later", documents="later")
        _assert_right(collection, new)
        old = _indexes(url)
        collection.drop_reembedding()
        assert _indexes(url) < old
        collection.add(ids="last", documents="last")
        eventually(lambda: _dead_segments(url) == 0)
        assert collection.recall(sample=50).recall > 0.95


def test_a_compaction_of_embeddings_that_were_replaced_ends(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(once, "RETRY_SECONDS", 0.05)
    with _client(url, pgchroma_compaction=False) as client:
        collection = _filled(client, Hashed())
        with Compaction(url, CompactionSettings(segment_bytes=0), Event()) as compaction:
            (before,) = compaction.collections({collection.id})
            collection.reembed(Hashed(seed=2, dimension=12))
            for each in compaction.collections({collection.id}):
                assert once._compact(compaction, each, wait=True)
            collection.drop_reembedding()
            assert once._compact(compaction, before, wait=True)
        _assert_right(collection, Hashed(seed=2, dimension=12))


def test_a_switch_does_not_wait_long_for_readers(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(switch, "LOCK_TIMEOUT", "20ms")
    monkeypatch.setattr("pgchroma.client._sync.reembedding.MAX_ATTEMPTS", 3)
    with _client(url, pgchroma_compaction=False) as client, psycopg.connect(url) as reader:
        collection = _filled(client, Hashed())
        schema = reader.execute("select schema_name from pgchroma.databases").fetchone()
        assert schema is not None
        reader.execute(f"select * from {schema[0]}.papers")
        with pytest.raises(errors.DeadlineExceededError, match="nothing was changed"):
            collection.reembed(Hashed(seed=2))
        _assert_right(collection, Hashed())
        reader.rollback()
        assert collection.reembed(Hashed(seed=2)).embedded == 0
        _assert_right(collection, Hashed(seed=2))


def test_a_tenants_role_owns_all_of_it(url: str) -> None:
    with _client(url, pgchroma_role_per_tenant="permissive", pgchroma_segment_bytes=0) as client:
        collection = _filled(client, Hashed(), sync_threshold=50, batch_size=10)
        collection.reembed(Hashed(seed=2, dimension=12))
        _assert_right(collection, Hashed(seed=2, dimension=12))
        with psycopg.connect(url) as connection:
            owners = connection.execute(
                "select distinct pg_get_userbyid(relowner) from pg_class"
                " where relname ~ '^(records|vectors|spare|counts)_' and relkind = 'r'"
            ).fetchall()
        assert len(owners) == 1
        assert owners[0][0].startswith("pgchroma:")
        collection.drop_reembedding()
        client.delete_collection("papers")


def _indexes(url: str) -> int:
    with psycopg.connect(url) as connection:
        row = connection.execute(
            "select count(*) from pg_class where relkind = 'i' and relname ~ '^vectors_.*_hnsw_'"
        ).fetchone()
    assert row is not None
    return int(row[0])


def _dead_segments(url: str) -> int:
    with psycopg.connect(url) as connection:
        row = connection.execute(
            "select count(*) from pgchroma.segments as s join pgchroma.collections as c"
            " on c.id = s.collection_id where s.generation <> c.generation"
        ).fetchone()
    assert row is not None
    return int(row[0])
