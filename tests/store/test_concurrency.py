"""Many concurrent writers, in threads and in processes: nothing lost, nothing doubled."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest

import pgchroma
from pgchroma import errors

WRITERS = 6


def _together(works: list[Callable[[], Any]]) -> list[Any]:
    barrier = threading.Barrier(len(works))

    def start(work: Callable[[], Any]) -> Any:
        barrier.wait()
        return work()

    with ThreadPoolExecutor(len(works)) as pool:
        return list(pool.map(start, works))


def test_first_writers_agree_on_one_dimension(client: pgchroma.ClientAPI) -> None:
    for round_number in range(10):
        collection = client.create_collection(f"race-{round_number}")

        def write(number: int, collection: pgchroma.Collection = collection) -> bool:
            try:
                collection.add(ids=str(number), embeddings=[1.0] * (2 + number % 2))
            except errors.InvalidArgumentError:
                return False
            return True

        wrote = _together([lambda n=n: write(n) for n in range(WRITERS)])  # type: ignore[misc]
        assert sum(wrote) == collection.count() == WRITERS // 2
        found = client.get_collection(f"race-{round_number}").get(include=["embeddings"])
        assert len(found["ids"]) == WRITERS // 2


def test_collections_of_one_name_are_made_once(client: pgchroma.ClientAPI) -> None:
    made = _together([lambda: client.get_or_create_collection("papers").id] * WRITERS)
    assert len(set(made)) == 1

    def create() -> bool:
        try:
            client.create_collection("drafts")
        except errors.UniqueConstraintError:
            return False
        return True

    assert sum(_together([create] * WRITERS)) == 1


def test_overlapping_upserts_in_any_order_neither_fail_nor_lose(
    client: pgchroma.ClientAPI, connection: psycopg.Connection[Any]
) -> None:
    collection = client.create_collection("papers")
    ids = [f"id{n}" for n in range(40)]

    def work(writer: int) -> None:
        shuffled = random.Random(writer)
        for turn in range(15):
            mine = shuffled.sample(ids, 25)
            value = float(writer * 100 + turn)
            collection.upsert(
                ids=mine,
                embeddings=[[value, 0.0]] * len(mine),
                metadatas=[{f"w{writer}": turn}] * len(mine),
            )
            if turn % 5 == 4:
                collection.delete(ids=mine[:3])

    _together([lambda n=n: work(n) for n in range(WRITERS)])  # type: ignore[misc]
    got = collection.get(include=["embeddings", "metadatas"])
    assert len(got["ids"]) == collection.count()
    assert got["embeddings"] is not None
    embeddings = dict(zip(got["ids"], got["embeddings"][:, 0].tolist(), strict=True))
    # Each record is found once, and where it is.
    for probe in (0.0, 514.0):
        found = collection.query(query_embeddings=[probe, 0.0], n_results=1000)
        assert sorted(found["ids"][0]) == sorted(got["ids"])
        assert found["distances"] is not None
        for id, distance in zip(found["ids"][0], found["distances"][0], strict=True):
            assert distance == (embeddings[id] - probe) ** 2
    schema, key = "default_tenant__default_database", collection.id.hex
    missing, left_over = connection.execute(
        f"select count(*) filter (where v.pos is null), count(*) filter (where r.pos is null) "
        f"from {schema}.records_{key} as r full join {schema}.vectors_{key} as v on v.pos = r.pos"
    ).fetchone() or (None, None)
    assert (missing, left_over) == (0, 0)


def test_writers_of_records_that_are_there_leave_no_vectors_behind(
    client: pgchroma.ClientAPI, connection: psycopg.Connection[Any]
) -> None:
    collection = client.create_collection("papers")
    ids = [f"id{n}" for n in range(20)]
    collection.add(ids=ids, embeddings=[[0.0]] * 20)

    def work(writer: int) -> None:
        for turn in range(20):
            collection.update(ids=ids, embeddings=[[float(writer * turn)]] * 20)
            collection.upsert(ids=ids[::-1], embeddings=[[float(turn)]] * 20)

    _together([lambda n=n: work(n) for n in range(WRITERS)])  # type: ignore[misc]
    rows = connection.execute(
        f"select count(*) from default_tenant__default_database.vectors_{collection.id.hex}"
    ).fetchone()
    assert rows == (20,)


def test_get_or_create_copes_with_concurrent_deletion(client: pgchroma.ClientAPI) -> None:
    stop = threading.Event()

    def delete() -> None:
        while not stop.is_set():
            try:
                client.delete_collection("papers")
            except errors.NotFoundError:
                continue

    deleter = threading.Thread(target=delete)
    deleter.start()
    try:
        for _ in range(100):
            client.get_or_create_collection("papers")
    finally:
        stop.set()
        deleter.join()


def test_a_record_left_behind_in_vectors_is_never_found(
    client: pgchroma.ClientAPI, connection: psycopg.Connection[Any]
) -> None:
    collection = client.create_collection("papers")
    collection.add(ids=["a", "b", "c"], embeddings=[[1.0], [2.0], [3.0]])
    # An older row without a record, whatever left it there.
    connection.execute(
        f"insert into default_tenant__default_database.vectors_{collection.id.hex} "
        "(pos, seq, embedding) values (1000, 1, '[0]'), (1001, 77, '[0]')"
    )
    found = collection.query(query_embeddings=[0.0], n_results=2)
    assert found["ids"] == [["a", "b"]]
    assert len(collection.query(query_embeddings=[0.0], n_results=10)["ids"][0]) == 3


def test_renames_deletes_and_writes_at_once_end_clean(client: pgchroma.ClientAPI) -> None:
    collection = client.create_collection("papers")
    stop = time.monotonic() + 2

    def write() -> None:
        while time.monotonic() < stop:
            try:
                collection.upsert(ids=["a", "b"], embeddings=[[1.0], [2.0]])
                collection.query(query_embeddings=[1.0])
            except errors.NotFoundError:
                return

    def rename() -> None:
        for number in range(30):
            collection.modify(name=f"papers-{number}")
        client.delete_collection("papers-29")

    _together([write, write, rename])
    assert client.count_collections() == 0


def test_readers_see_batches_whole(client: pgchroma.ClientAPI) -> None:
    collection = client.create_collection("papers")
    collection.add(ids="seed", embeddings=[0.0])
    stop = threading.Event()
    seen: set[int] = set()

    def read() -> None:
        while not stop.is_set():
            seen.add(collection.count() - 1)

    reader = threading.Thread(target=read)
    reader.start()
    for turn in range(20):
        collection.add(ids=[f"{turn}-{n}" for n in range(50)], embeddings=[[1.0]] * 50)
    stop.set()
    reader.join()
    assert all(count % 50 == 0 for count in seen)


def test_a_server_that_is_not_there_is_told_at_once() -> None:
    begin = time.monotonic()
    with pytest.raises(errors.UnavailableError, match="cannot be reached"):
        pgchroma.PostgresClient("postgresql://nobody@127.0.0.1:1/nothing")
    assert time.monotonic() - begin < 10
