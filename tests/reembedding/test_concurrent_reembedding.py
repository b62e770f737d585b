"""Concurrent re-embeddings, and other sessions that delete, write early, or own the tables."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import numpy as np
import psycopg
import pytest
from sqlalchemy import create_engine

import pgchroma
from pgchroma import errors
from pgchroma.compactor.runner import Compaction
from pgchroma.compactor.settings import CompactionSettings
from pgchroma.model.operations import GetReembedding, SwitchEmbeddings
from tests.reembedding.functions import Hashed, vector_of
from tests.server_process import eventually

COUNT = 60


class Interrupted(Hashed):
    """Lets another client act before it embeds."""

    def __init__(self, interrupt: Callable[[], None], seed: int = 1, dimension: int = 8) -> None:
        super().__init__(seed, dimension)
        self.interrupt = interrupt

    def __call__(self, input: Any) -> Any:
        if input != ["a"]:  # the call with "a" only determines the dimension
            self.interrupt()
        return super().__call__(input)


def once(work: Callable[[], Any]) -> Callable[[], None]:
    done = threading.Event()

    def interrupt() -> None:
        if not done.is_set():
            done.set()
            work()

    return interrupt


@pytest.fixture
def client(url: str) -> Any:
    settings = pgchroma.Settings(allow_reset=True, pgchroma_compaction=False)
    with pgchroma.PostgresClient(url, settings) as client:
        yield client


@pytest.fixture
def papers(client: Any) -> Any:
    collection = client.create_collection("papers", embedding_function=Hashed())
    texts = [f"text {n}" for n in range(COUNT)]
    collection.add(ids=[f"id{n}" for n in range(COUNT)], documents=texts)
    return collection


def assert_embedded(collection: Any, function: Hashed) -> None:
    found = collection.get(include=["embeddings", "documents"])
    wanted = [vector_of(t, function.seed, function.dimension) for t in found["documents"]]
    assert np.array_equal(found["embeddings"], np.array(wanted))
    assert collection.count() == len(wanted)


def relations(url: str) -> list[str]:
    with psycopg.connect(url) as connection:
        rows = connection.execute(
            "select relname::text from pg_class where relname ~ '^(records|vectors|spare|counts)_'"
        )
        return [name for (name,) in rows]


def test_what_is_in_use_is_not_taken_out_of_use_again(papers: Any, url: str) -> None:
    papers.reembed(Hashed(seed=2), switch=False)
    backend, collection = papers._backend, papers._ref
    with psycopg.connect(url) as connection:
        row = connection.execute("select generation from pgchroma.reembeddings").fetchone()
        assert row is not None
        (generation,) = row
    for _ in range(3):
        assert backend.execute(SwitchEmbeddings(collection, generation)) == 0
    assert_embedded(papers, Hashed(seed=2))
    assert backend.execute(GetReembedding(collection)).is_previous
    with pytest.raises(errors.NotFoundError, match="no longer has these pending embeddings"):
        backend.execute(SwitchEmbeddings(collection, generation + 1))


def test_two_with_the_same_function_end_with_it(client: Any, papers: Any) -> None:
    function = Hashed(seed=2, dimension=12)

    def overtake() -> None:
        rival = client.get_collection("papers")
        assert rival.reembed(function).is_switched
        rival.upsert(ids=["id3", "new"], documents=["changed", "new"])

    slower = Interrupted(once(overtake), seed=2, dimension=12)
    report = papers.reembed(slower, batch_size=10)
    assert report.is_switched
    papers.add(ids=["later"], documents=["later"])
    assert_embedded(client.get_collection("papers"), function)


def test_embeddings_dropped_concurrently_are_not_filled_any_more(client: Any, papers: Any) -> None:
    def start_another() -> None:
        rival = client.get_collection("papers")
        rival.drop_reembedding()
        rival.reembed(Hashed(seed=3), switch=False)

    with pytest.raises(errors.NotFoundError, match="no longer has these pending embeddings"):
        papers.reembed(Interrupted(once(start_another), seed=2), batch_size=10)
    assert_embedded(papers, Hashed())
    papers.reembed(Hashed(seed=3))
    assert_embedded(papers, Hashed(seed=3))


def test_one_who_went_back_is_not_overruled(client: Any, papers: Any) -> None:
    first = Hashed(seed=2)

    def there_and_back() -> None:
        rival = client.get_collection("papers")
        rival.reembed(first)
        rival.reembed(Hashed())

    with pytest.raises(errors.UniqueConstraintError, match="switched to other embeddings"):
        papers.reembed(Interrupted(once(there_and_back), seed=2), batch_size=10)
    assert_embedded(papers, Hashed())


def test_functions_that_are_not_stored_are_not_taken_for_one(papers: Any) -> None:
    def plain(seed: int) -> Any:
        def function(input: Any) -> Any:
            return [vector_of(text, seed, 8) for text in input]

        return function

    with pytest.warns(DeprecationWarning):
        papers.reembed(plain(2), switch=False)
    with (
        pytest.warns(DeprecationWarning),
        pytest.raises(errors.UniqueConstraintError, match="a function that was not stored"),
    ):
        papers.reembed(plain(3))
    papers.drop_reembedding()
    with pytest.warns(DeprecationWarning):
        assert papers.reembed(plain(3)).embedded == COUNT
    assert_embedded(papers, Hashed(seed=3))


def test_one_who_began_early_and_commits_late_is_embedded(
    client: Any, papers: Any, url: str
) -> None:
    numbers = iter(range(1_000))
    others = client.get_collection("papers")

    def write() -> None:
        others.upsert(ids=["busy"], documents=[f"busy {next(numbers)}"])

    engine = create_engine("postgresql+psycopg://", creator=lambda: psycopg.connect(url))
    with engine.connect() as connection:
        joined = pgchroma.PostgresClient(connection).get_collection("papers")
        joined.upsert(ids=["id0", "late"], documents=["changed late", "late"])
        write()

        def commit_and_write() -> None:
            once_committed()
            if next(numbers) < 4:
                write()

        once_committed = once(connection.commit)
        papers.reembed(Interrupted(commit_and_write, seed=2), batch_size=COUNT + 10)
    engine.dispose()
    assert papers.count() == COUNT + 2
    assert_embedded(papers, Hashed(seed=2))


def test_in_a_callers_transaction(client: Any, papers: Any, url: str) -> None:
    engine = create_engine("postgresql+psycopg://", creator=lambda: psycopg.connect(url))
    with engine.connect() as connection:
        connection.exec_driver_sql("set local lock_timeout = '7s'")
        pgchroma.PostgresClient(connection).get_collection("papers").reembed(Hashed(seed=2))
        assert connection.exec_driver_sql("show lock_timeout").scalar() == "7s"
        connection.rollback()
        assert_embedded(papers, Hashed())
        connection.execution_options(isolation_level="REPEATABLE READ")
        with pytest.raises(errors.InvalidArgumentError, match="not repeatable read"):
            pgchroma.PostgresClient(connection).get_collection("papers").reembed(Hashed(seed=2))
        connection.rollback()
    engine.dispose()
    assert_embedded(papers, Hashed())


@pytest.mark.parametrize("is_switch", [False, True], ids=["start", "switch"])
@pytest.mark.parametrize("deletion", ["delete_collection", "reset"])
def test_a_concurrent_deletion_leaves_nothing(
    client: Any, papers: Any, url: str, deletion: str, is_switch: bool
) -> None:
    if is_switch:
        papers.reembed(Hashed(seed=2), switch=False)
    waiting = "select count(*) from pg_locks where not granted"
    with (
        psycopg.connect(url) as blocker,
        psycopg.connect(url, autocommit=True) as watcher,
        ThreadPoolExecutor() as threads,
    ):
        blocker.execute("select from pgchroma.collections for update")

        def wait_for(count: int) -> None:
            def reached() -> bool:
                row = watcher.execute(waiting).fetchone()
                return row is not None and row[0] >= count

            eventually(reached)

        rival = threads.submit(papers.reembed, Hashed(seed=2))
        wait_for(1)
        arguments = ("papers",) if deletion == "delete_collection" else ()
        deleted = threads.submit(getattr(client, deletion), *arguments)
        wait_for(2)
        blocker.commit()
        deleted.result()
        assert isinstance(rival.exception(), errors.NotFoundError | None)
    assert relations(url) == []
    client.reset()
    client.create_collection("papers")


def test_steady_writers_neither_stop_the_switch_nor_deadlock_with_it(
    client: Any, papers: Any, url: str
) -> None:
    ended = threading.Event()

    def write(number: int) -> None:
        rival = client.get_collection("papers", embedding_function=Hashed())
        turn = 0
        while not ended.is_set():
            ids = [f"{number}-{turn}", f"id{turn % COUNT}"]
            embeddings = [[1.0] * 8] * 2
            turn += 1
            write = rival.add if turn % 2 else rival.upsert
            try:
                write(ids=ids, embeddings=embeddings, documents=ids)
            except errors.InvalidArgumentError as error:
                assert "get it again with get_collection" in str(error)
                rival = client.get_collection("papers")

    with ThreadPoolExecutor() as threads:
        writers = [threads.submit(write, number) for number in range(2)]
        try:
            for seed in (2, 1, 2, 1):
                slow = Interrupted(partial(time.sleep, 0.05), seed=seed)
                assert papers.reembed(slow, sample=0).is_switched
        finally:
            ended.set()
        for writer in writers:
            writer.result()
    client.close()
    with psycopg.connect(url, autocommit=True) as connection:
        found = connection.execute(
            "select deadlocks from pg_stat_database where datname = current_database()"
        ).fetchone()
    assert found == (0,)


def test_others_may_still_read_what_they_could_read(papers: Any, url: str) -> None:
    schema = "default_tenant__default_database"
    asked = f"select count(embedding) from {schema}.papers"
    with psycopg.connect(url) as connection:
        name = f"reader {{of}} {papers.id.hex[:8]}"
        role = f'"{name}"'
        connection.execute(f"create role {role}")
        connection.execute(f"grant usage on schema {schema} to {role}")
        connection.execute(f"grant select on all tables in schema {schema} to {role}")
        connection.commit()
        try:
            papers.reembed(Hashed(seed=2))
            granted = connection.execute(
                "select c.relname ~ '^vectors_' from pg_class as c where relname ~ %s and "
                "has_table_privilege(%s, c.oid, 'select')",
                ("^(vectors|spare)_[0-9a-f]{32}(_[0-9]+)?$", name),
            ).fetchall()
            assert sorted(granted) == [(False,), (True,)]
            connection.execute(f"set role {role}")
            assert connection.execute(asked).fetchone() == (COUNT,)
        finally:
            connection.rollback()
            connection.execute(f"drop owned by {role}")
            connection.execute(f"drop role {role}")


async def test_large_batches_go_in_parts(mode: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for kind in ("_sync", "_async"):
        module = f"pgchroma.client.{kind}.reembedding"
        monkeypatch.setattr(f"{module}.STORED_BYTES_PER_REQUEST", 100)
        monkeypatch.setattr(f"{module}.COMPARED_PER_REQUEST", 90)
    collection = await mode.create_collection("papers", embedding_function=Hashed())
    texts = [f"text {n}" for n in range(25)]
    await collection.add(ids=texts, documents=texts)
    report = await collection.reembed(Hashed(seed=2), n_results=5)
    assert (report.embedded, report.comparison.sample, report.comparison.n_results) == (25, 20, 5)
    found = await collection.get(include=["embeddings"])
    assert np.array_equal(found["embeddings"], [vector_of(text, 2, 8) for text in texts])


def test_a_compactor_that_knows_the_old_table_looks_again(papers: Any, url: str) -> None:
    with Compaction(url, CompactionSettings(0), threading.Event()) as compaction:
        (before,) = compaction.collections()
        papers.reembed(Hashed(seed=2), index_timeout=None)
        assert compaction.compact(before) is False
        assert papers.get_indexing_status().error is None
        (after,) = compaction.collections()
        assert compaction.compact(after)
