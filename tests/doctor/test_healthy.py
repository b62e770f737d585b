"""Nothing is found in databases that are in use, however they are used."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import psycopg
import pytest

import pgchroma
from pgchroma.doctor.fixes import apply_fixes
from tests.compactor.conftest import EAGER, compact
from tests.doctor.conftest import QUIET, Broken, embeddings, found
from tests.reembedding.functions import Hashed

NOTHING = {"durability"}
"""The tests' server is not made for data that matters."""


def test_collections_of_all_kinds_are_healthy(url: str) -> None:
    schema = (
        pgchroma.Schema()
        .create_index(pgchroma.SparseVectorIndexConfig(), key="terms")
        .create_index(pgchroma.IntInvertedIndexConfig(), key="100% year")
    )
    with pgchroma.PostgresClient(url, QUIET) as client:
        keyed = client.create_collection("keyed", schema=schema, embedding_function=None)
        keyed.add(
            ids=["a"],
            embeddings=[[1.0]],
            metadatas=[{"terms": pgchroma.SparseVector(indices=[1], values=[1.0]), "100% year": 3}],
        )
        words: Any = {"text": {"language": "english"}}
        client.create_collection("words", configuration=words, embedding_function=None).add(
            ids=["a"], documents=["plum cake"], embeddings=[[1.0]]
        )
        client.create_collection("records_are_not_tables", embedding_function=None)
        client.create_collection("long" * 40, embedding_function=None)
        hashed = client.create_collection("hashed", embedding_function=Hashed())
        hashed.add(ids=["a", "b"], documents=["a", "b"])
        hashed.reembed(Hashed(seed=2, dimension=12))
        hashed.add(ids=["c"], documents=["c"])
    assert found(url).keys() == NOTHING
    compact(url)
    assert found(url).keys() == NOTHING


def test_an_extension_outside_the_search_path_changes_nothing(elsewhere_url: str) -> None:
    with pgchroma.PostgresClient(elsewhere_url, QUIET) as client:
        papers = client.create_collection("papers", configuration=EAGER, embedding_function=None)
        papers.add(ids=[str(n) for n in range(150)], embeddings=embeddings(150))
    with psycopg.connect(elsewhere_url, autocommit=True) as connection:
        connection.execute("drop view default_tenant__default_database.papers")
        connection.execute("drop view chroma.collections")
    findings = found(elsewhere_url)
    assert {"missing-view", "catalog-objects", "unindexed-tail"} <= findings.keys()
    faults = [fault for faults in findings.values() for fault in faults]
    assert [outcome.obstacle for outcome in apply_fixes(elsewhere_url, QUIET, faults)] == [None] * 3
    assert found(elsewhere_url).keys() == NOTHING


@pytest.mark.heavy
def test_writers_and_compactors_cause_no_findings_and_survive_repairs(broken: Broken) -> None:
    stop = threading.Event()
    failures: list[BaseException] = []

    def repeat(work: Callable[[pgchroma.ClientAPI, int], object]) -> None:
        try:
            with pgchroma.PostgresClient(broken.url, QUIET) as client:
                n = 0
                while not stop.is_set():
                    work(client, n)
                    n += 1
        except BaseException as error:
            failures.append(error)

    def write(client: pgchroma.ClientAPI, n: int) -> None:
        papers = client.get_collection("papers", embedding_function=None)
        ids = [f"id{(n * 7 + each) % 300}" for each in range(20)]
        papers.upsert(ids=ids, embeddings=embeddings(20, seed=n))
        papers.delete(ids=ids[:5])

    def create(client: pgchroma.ClientAPI, n: int) -> None:
        made = client.create_collection(f"short{n}", embedding_function=None)
        made.add(ids=["a"], embeddings=[[1.0]])
        client.delete_collection(f"short{n}")

    def seal(_: pgchroma.ClientAPI, n: int) -> None:
        compact(broken.url, names=("papers",), merges_all=n % 3 == 0)

    threads = [threading.Thread(target=repeat, args=(work,)) for work in (write, create, seal)]
    for thread in threads:
        thread.start()
    try:
        # Work of the compactor may be due at any moment. Nothing else may be.
        due = {"unindexed-tail", "dead-entries", "orphan-vectors", "not-compacted", *NOTHING}
        for _ in range(12):
            findings = found(broken.url)
            assert findings.keys() <= due, findings
            apply_fixes(broken.url, QUIET, [f for faults in findings.values() for f in faults])
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert failures == []
    compact(broken.url)
    assert found(broken.url).keys() == NOTHING
    papers = broken.execute("select count(*) from {schema}.records_{key}")
    broken.papers(lambda collection: _count(collection, papers[0][0]))


def _count(collection: pgchroma.Collection, records: int) -> None:
    assert collection.count() == records
