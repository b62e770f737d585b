"""A client must get a collection again after another client has re-embedded it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import httpx
import numpy as np
import psycopg
import pytest

import pgchroma
from pgchroma import errors
from pgchroma.embeddings.lancedb.adapters import chroma_function
from pgchroma.model.operations import AddRecords
from pgchroma.model.records import RecordBatch
from pgchroma.records import Record, Vector
from tests.conftest import client_modes
from tests.reembedding.functions import Hashed, vector_of
from tests.server_process import eventually
from tests.typed.letters import Letters, done

LETTERS = Letters.create()

TEXTS = [f"text {n}" for n in range(20)]

WRITES: dict[str, dict[str, Any]] = {
    "add": {"ids": ["new"], "documents": ["new"]},
    "upsert": {"ids": ["text 1"], "documents": ["changed"]},
    "update": {"ids": ["text 1"], "documents": ["changed"]},
}
QUERIES: dict[str, dict[str, Any]] = {
    "query": {"query_texts": ["text 1"]},
    "explain": {"query_texts": ["text 1"]},
}
GIVEN: dict[str, dict[str, Any]] = {
    "add": {"ids": ["new"], "embeddings": [[1.0] * 8]},
    "query": {"query_embeddings": [[1.0] * 8]},
}


async def refused(held: Any, calls: dict[str, dict[str, Any]]) -> None:
    for method, arguments in calls.items():
        with pytest.raises(errors.InvalidArgumentError, match="get it again with get_collection"):
            await getattr(held, method)(**arguments)


@client_modes
async def test_writes_and_queries_of_who_holds_it_are_refused(mode: Any) -> None:
    held = await mode.create_collection("papers", embedding_function=Hashed())
    await held.add(ids=TEXTS, documents=TEXTS)
    # Both have used it, so that both have cached its tables.
    other = mode.beside()
    rival = other.get_collection("papers", embedding_function=Hashed())
    assert rival.count() == await held.count() == 20
    assert rival.reembed(Hashed(seed=2), index_timeout=None).is_switched
    for calls in (WRITES, QUERIES, GIVEN):
        await refused(held, calls)
    # Calls that do not use embeddings still work.
    await held.update(ids=["text 1"], metadatas=[{"k": 1}])
    assert (await held.get(where={"k": 1}))["ids"] == ["text 1"]
    assert await held.count() == 20
    await held.delete(ids=["text 19"])
    await held.modify(metadata={"a": 1})
    # Changing its metadata does not bring the function along.
    await refused(held, {**WRITES, **QUERIES})
    again = await mode.get_collection("papers", embedding_function=Hashed(seed=2))
    for method, arguments in WRITES.items():
        await getattr(again, method)(**arguments)
    found = await again.get(include=["embeddings", "documents"])
    wanted = [vector_of(text, 2, 8) for text in found["documents"]]
    assert np.array_equal(found["embeddings"], np.array(wanted))
    # The client that re-embedded it, and then switches back to the old function, is up to date.
    rival.upsert(ids=["rival"], documents=["rival"])
    assert rival.reembed(Hashed(), index_timeout=None).is_switched
    await refused(again, {**WRITES, **QUERIES})
    await held.upsert(ids=["text 2"], documents=["back"])
    other.close()


@client_modes
async def test_an_empty_collection_that_got_another_function_refuses_the_old(mode: Any) -> None:
    held = await mode.create_collection("papers", embedding_function=Hashed())
    other = mode.beside()
    rival = other.get_collection("papers", embedding_function=Hashed())
    assert rival.reembed(Hashed(seed=2), index_timeout=None).is_switched
    await refused(held, {"add": WRITES["add"], "upsert": WRITES["upsert"]})
    again = await mode.get_collection("papers", embedding_function=Hashed(seed=2))
    await again.add(ids=TEXTS, documents=TEXTS)
    await refused(held, {**WRITES, **QUERIES})
    rival.upsert(ids=["rival"], documents=["rival"])
    assert await again.count() == 21
    assert rival.reembed(Hashed(seed=3), index_timeout=None).is_switched
    await mode.delete_collection("papers")
    other.close()


async def test_the_client_that_reembeds_it_may_go_on(mode: Any) -> None:
    collection = await mode.create_collection("papers", embedding_function=Hashed())
    await collection.add(ids=TEXTS, documents=TEXTS)
    for seed in (2, 1, 2):
        await collection.reembed(Hashed(seed=seed), index_timeout=None)
        await collection.upsert(ids=[f"after {seed}"], documents=["after"])
        found = await collection.query(query_texts=["after"], n_results=1)
        assert found["distances"] == [[0.0]]


def test_a_reembedding_that_failed_does_not_bring_a_holder_up_to_date(url: str) -> None:
    with pgchroma.PostgresClient(url) as client:
        held = client.create_collection("papers", embedding_function=Hashed())
        held.add(ids=TEXTS, documents=TEXTS)
        rival = client.get_collection("papers", embedding_function=Hashed())
        rival.reembed(Hashed(seed=2), index_timeout=None)
        with pytest.raises(errors.UniqueConstraintError):
            held.reembed(Hashed(seed=3), index_timeout=None)
        with pytest.raises(errors.InvalidArgumentError, match="get it again"):
            held.upsert(ids=["1"], documents=["1"])
        with pytest.raises(errors.InvalidArgumentError, match="get it again"):
            held.query(query_texts=["1"])


class Article(Record):
    text: str = LETTERS.SourceField()
    vector: Vector(3) = LETTERS.VectorField()  # type: ignore[valid-type]


@client_modes
async def test_who_holds_a_typed_table_is_told_too(mode: Any) -> None:
    table = await mode.create_table("articles", Article)
    await done(table.add([{"text": "aab"}]))
    other = mode.beside()
    backwards = chroma_function(Letters.create(letters="cba"))
    rival = other.get_collection("articles", embedding_function=None)
    assert rival.reembed(backwards, index_timeout=None).is_switched
    with pytest.raises(errors.InvalidArgumentError, match="get it again"):
        await done(table.add([{"text": "abc"}]))
    with pytest.raises(errors.InvalidArgumentError, match="get it again"):
        await done(table.search("abc").to_list())
    other.close()


def test_who_tells_no_generation_goes_on_as_before(served: str, emptied: str) -> None:
    with pgchroma.HttpClient(emptied) as client:
        held = client.create_collection("papers", embedding_function=Hashed())
        held.add(ids=TEXTS, documents=TEXTS)
        client.get_collection("papers", embedding_function=Hashed()).reembed(
            Hashed(seed=2), index_timeout=None
        )
        path = f"{served}/api/v2/tenants/default_tenant/databases/default_database/collections"
        for method, body in (
            ("add", {"ids": ["x"], "embeddings": [[1.0] * 8]}),
            ("upsert", {"ids": ["x"], "embeddings": [[1.0] * 8]}),
            ("query", {"query_embeddings": [[1.0] * 8]}),
        ):
            answer = httpx.post(f"{path}/{held.id}/{method}", json=body)
            assert answer.is_success, answer.text
            stale = httpx.post(f"{path}/{held.id}/{method}", json={**body, "generation": 1})
            assert stale.status_code == 400


def test_first_embeddings_of_who_tells_no_generation_go_where_the_others_go(url: str) -> None:
    with pgchroma.PostgresClient(url) as client:
        held = client.create_collection("papers", embedding_function=Hashed())
        rival = client.get_collection("papers", embedding_function=Hashed())
        rival.reembed(Hashed(seed=2), index_timeout=None)
        batch = RecordBatch(["1"], np.ones((1, 8), np.float32))
        held._backend.execute(AddRecords(replace(held._ref, generation=None), batch))
        rival.add(ids=["2"], documents=["2"])
        assert rival.count() == 2
        assert held._ref.generation == 1 != rival._ref.generation


def test_who_looks_before_the_function_is_set_and_writes_after_it(url: str) -> None:
    with (
        pgchroma.PostgresClient(url) as client,
        psycopg.connect(url) as blocker,
        ThreadPoolExecutor() as threads,
    ):
        held = client.create_collection("papers", embedding_function=Hashed())
        function = '{"type": "legacy"}'
        blocker.execute(
            "update pgchroma.collections set generation = 1000, configuration = "
            "jsonb_set(configuration, '{embedding_function}', %s::jsonb)",
            [function],
        )
        early = threads.submit(held.add, ids=["1"], documents=["1"])
        batch = RecordBatch(["2"], np.ones((1, 8), np.float32))
        plain = AddRecords(replace(held._ref, generation=None), batch)
        late = threads.submit(held._backend.execute, plain)
        eventually(lambda: waiting(url) == 2)
        blocker.commit()
        assert late.result(30) is None
        assert isinstance(early.exception(30), errors.InvalidArgumentError)
        assert held.get()["ids"] == ["2"]


def waiting(url: str) -> int:
    with psycopg.connect(url) as connection:
        row = connection.execute(
            "select count(*) from pg_stat_activity "
            "where datname = current_database() and cardinality(pg_blocking_pids(pid)) > 0"
        ).fetchone()
    return 0 if row is None else int(row[0])
