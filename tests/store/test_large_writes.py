"""Large batches, whose embeddings are sent in parts."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import psycopg
import pytest
import sqlalchemy as sa

import pgchroma
from pgchroma.store.encoding.vectors import pack_vectors
from pgchroma.store.records import vector_parts


def in_parts(patch: pytest.MonkeyPatch, size: int = 1) -> None:
    """Send the embeddings of every batch in parts, of some bytes or of one embedding."""
    patch.setattr(vector_parts, "MAX_BYTES", 0)
    patch.setattr(vector_parts, "PART_BYTES", size)


def test_a_large_batch_is_stored_like_a_small_one(client: pgchroma.ClientAPI) -> None:
    collection = client.create_collection("large", embedding_function=None)
    rows = np.random.default_rng(5).random((300, 7_500), np.float32)
    assert rows.nbytes > vector_parts.MAX_BYTES
    ids = [f"{n:03}" for n in range(300)][::-1]
    collection.add(ids=ids[:10], embeddings=rows[:10], documents=ids[:10])
    # The ten that exist stay.
    collection.add(ids=ids, embeddings=rows + 1, documents=[f"text {id}" for id in ids])
    expected = rows + 1
    expected[:10] = rows[:10]
    _check(collection, ids, expected, [*ids[:10], *(f"text {id}" for id in ids[10:])])
    new = [f"new {id}" for id in ids[200:]]
    collection.upsert(ids=ids[:200] + new, embeddings=rows - 1, documents=["changed"] * 300)
    expected[:200] = rows[:200] - 1
    texts = ["changed"] * 200 + [f"text {id}" for id in ids[200:]] + ["changed"] * 100
    _check(collection, ids + new, np.concatenate([expected, rows[200:] - 1]), texts)
    collection.update(ids=[f"missing {id}" for id in ids[:100]] + ids[:200], embeddings=rows * 2)
    expected[:200] = rows[100:] * 2
    _check(collection, ids + new, np.concatenate([expected, rows[200:] - 1]), texts)


def test_a_write_that_fails_between_parts_changes_nothing(
    client: pgchroma.ClientAPI, monkeypatch: pytest.MonkeyPatch
) -> None:
    collection = client.create_collection("large", embedding_function=None)
    collection.add(ids=["a"], embeddings=[[1.0, 2.0]])
    in_parts(monkeypatch)
    parts = iter(range(10))

    def failing(*arguments: Any) -> Any:
        if next(parts) == 2:
            raise MemoryError
        return pack_vectors(*arguments)

    monkeypatch.setattr(vector_parts, "pack_vectors", failing)
    with pytest.raises(MemoryError):
        collection.upsert(ids=["a", "b", "c"], embeddings=[[3.0, 4.0]] * 3)
    _check(collection, ["a"], np.array([[1.0, 2.0]]), None)
    collection.upsert(ids=["a", "b", "c"], embeddings=[[3.0, 4.0]] * 3)
    _check(collection, ["a", "b", "c"], np.array([[3.0, 4.0]] * 3), None)


def test_a_large_batch_is_a_part_of_the_callers_transaction(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_parts(monkeypatch)
    engine = sa.create_engine("postgresql+psycopg://", creator=lambda: psycopg.connect(url))
    with pgchroma.PostgresClient(url) as client:
        client.create_collection("large", embedding_function=None)
        with engine.connect() as connection, pgchroma.PostgresClient(connection) as inside:
            collection = inside.get_collection("large", embedding_function=None)
            collection.add(ids=["a", "b"], embeddings=[[1.0], [2.0]])
            assert collection.count() == 2
            connection.rollback()
        assert client.get_collection("large", embedding_function=None).count() == 0
    engine.dispose()


def test_concurrent_large_batches_of_the_same_ids_do_not_deadlock(
    client: pgchroma.ClientAPI, monkeypatch: pytest.MonkeyPatch
) -> None:
    collection = client.create_collection("large", embedding_function=None)
    collection.add(ids=["0"], embeddings=[[0.0, 0.0]])
    in_parts(monkeypatch)
    errors: list[BaseException] = []

    def write(number: int) -> None:
        ids = [str(n) for n in np.random.default_rng(number).permutation(12)]
        try:
            for call in (collection.add, collection.upsert, collection.update) * 3:
                call(ids=ids, embeddings=[[float(number), float(id)] for id in ids])
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    found = collection.get(include=["embeddings"])
    assert found["embeddings"] is not None
    # Each write is atomic, so all embeddings are those of the last one.
    assert len({row[0] for row in found["embeddings"].tolist()}) == 1
    assert [row[1] for row in found["embeddings"].tolist()] == [float(id) for id in found["ids"]]


def _check(
    collection: pgchroma.Collection, ids: list[str], rows: Any, documents: list[str] | None
) -> None:
    found = collection.get(include=["embeddings", "documents"])
    assert found["ids"] == ids
    assert found["embeddings"] is not None
    assert (found["embeddings"] == rows.astype(np.float32)).all()
    if documents is not None:
        assert found["documents"] == documents
