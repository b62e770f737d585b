"""`explain` and `recall` report the truth, and refuse the arguments that a query refuses."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import psycopg
import pytest
from numpy.typing import NDArray
from psycopg.conninfo import make_conninfo

import pgchroma
from pgchroma import Schema, errors
from tests.planner.segments import compact, create, nearest, quiet

ROWS, DIMENSION = 1_500, 12


@pytest.fixture
def client(url: str) -> Iterator[pgchroma.ClientAPI]:
    """A client whose PostgreSQL prefers indexes even if a sequential scan is cheaper."""
    options = make_conninfo(url, options="-c enable_sort=off -c enable_seqscan=off")
    with quiet(options, pgchroma_pool_size=1) as direct:
        yield direct


def _filled(
    client: pgchroma.ClientAPI, url: str, rows: int, **hnsw: Any
) -> tuple[pgchroma.Collection, NDArray[np.float32]]:
    collection = create(client, **hnsw)
    vectors = np.random.default_rng(23).normal(size=(rows, DIMENSION)).astype(np.float32)
    collection.add(
        ids=[f"id{n}" for n in range(rows)],
        embeddings=vectors,
        metadatas=[{"k": n} for n in range(rows)],
    )
    compact(url, collection)
    return collection, vectors


def test_a_measured_recall_is_that_computed_by_hand(client: pgchroma.ClientAPI, url: str) -> None:
    # So few neighbours that an index misses some.
    hnsw = {"ef_search": 1, "max_neighbors": 2, "ef_construction": 4}
    collection, vectors = _filled(client, url, 1_000, **hnsw)
    measured = collection.recall(sample=1_000, n_results=10)
    found = collection.query(query_embeddings=vectors, n_results=10, include=[])["ids"]
    hits = 0
    for vector, ids in zip(vectors, found, strict=True):
        order, _ = nearest("l2", vectors, vector)
        hits += len({f"id{n}" for n in order[:10]} & set(ids))
    assert measured.sample == 1_000
    assert measured.recall == pytest.approx(hits / 10_000, abs=0.01)
    assert 0.1 < measured.recall < 0.999
    # A query that searches more candidates finds more.
    collection.modify(configuration={"hnsw": {"ef_search": 400}})
    assert collection.recall(sample=200, n_results=10).recall > measured.recall
    # An exact search misses no record.
    assert collection.recall(sample=20, n_results=900).recall == 1
    assert collection.recall(sample=20, where={"k": {"$lt": 50}}).recall == 1


def test_recall_of_nothing_is_whole(client: pgchroma.ClientAPI, url: str) -> None:
    empty = create(client, "empty")
    assert empty.recall().sample == 0
    assert empty.recall().recall == 1
    collection, _ = _filled(client, url, 50)
    assert collection.recall(where={"k": -1}).recall == 1
    assert collection.recall(sample=1_000).sample == 50


def test_modifying_ef_search_holds_for_the_next_query(client: pgchroma.ClientAPI, url: str) -> None:
    collection, vectors = _filled(client, url, ROWS)
    for wanted in (7, 250, 100):
        collection.modify(configuration={"hnsw": {"ef_search": wanted}})
        plan = collection.explain(query_embeddings=vectors[:1], n_results=5)
        assert plan.settings["hnsw.ef_search"] == str(wanted)
    collection.modify(configuration={"hnsw": {"ef_search": 5_000}})
    plan = collection.explain(query_embeddings=vectors[:1], n_results=5)
    assert plan.settings["hnsw.ef_search"] == "1000"
    plan = collection.explain(query_embeddings=vectors[:1], n_results=120)
    assert plan.settings["hnsw.ef_search"] == "1000"
    # Another handle of the same client knows it too.
    client.get_collection("papers", embedding_function=None).modify(
        configuration={"hnsw": {"ef_search": 33}}
    )
    plan = collection.explain(query_embeddings=vectors[:1], n_results=5)
    assert plan.settings["hnsw.ef_search"] == "33"


def test_an_explanation_counts_what_was_read(client: pgchroma.ClientAPI, url: str) -> None:
    collection, vectors = _filled(client, url, ROWS)
    plain = collection.explain(query_embeddings=vectors[:1], n_results=10)
    (segment,) = plain.segments
    assert (plain.strategy, plain.matches, plain.tail_rows) == ("index", None, 0)
    assert (segment.first_pos, segment.rows_read, plain.rows_read) == (1, 10, 20)
    assert segment.end_pos > ROWS
    assert segment.index_name in plain.plan
    filtered = collection.explain(query_embeddings=vectors[:2], n_results=10, where={"k": 3})
    assert (filtered.strategy, filtered.matches, filtered.segments) == ("exact", 1, ())
    wide = collection.explain(query_embeddings=vectors[:1], n_results=ROWS)
    assert (wide.strategy, wide.segments, wide.tail_rows) == ("exact", (), 0)
    assert wide.rows_read >= ROWS
    collection.add(ids=["new", "newer"], embeddings=vectors[:2], metadatas=[{"k": 0}, {"k": 1}])
    later = collection.explain(query_embeddings=vectors[:3], n_results=10)
    assert (later.tail_rows, later.segments[0].rows_read) == (2, 30)


def test_an_explanation_shows_the_run_that_an_embedding_without_a_record_costs(
    client: pgchroma.ClientAPI, url: str
) -> None:
    collection, vectors = _filled(client, url, ROWS)
    assert collection.explain(query_embeddings=vectors[:1], n_results=10).again is None
    with psycopg.connect(url, autocommit=True) as plain:
        plain.execute(
            f"insert into default_tenant__default_database.vectors_{collection.id.hex} "
            "select 10000000, 1, embedding from "
            f"default_tenant__default_database.vectors_{collection.id.hex} where pos = 1"
        )
    plan = collection.explain(query_embeddings=vectors[:1], n_results=10)
    assert plan.strategy == "index"
    assert plan.again is not None
    assert (plan.again.strategy, plan.again.again) == ("exact", None)
    assert plan.again.plan != plan.plan


def test_what_a_query_refuses_is_refused(client: pgchroma.ClientAPI, url: str) -> None:
    schema = Schema()
    schema.delete_index(config=pgchroma.StringInvertedIndexConfig(), key="secret")
    collection = client.create_collection("closed", schema=schema, embedding_function=None)
    asked: Any = {"where": {"secret": "x"}}
    for turn in range(2):
        for question in (
            lambda: collection.query(query_embeddings=[[1.0]], **asked),
            lambda: collection.explain(query_embeddings=[[1.0]], **asked),
            lambda: collection.recall(**asked),
        ):
            with pytest.raises(errors.InvalidArgumentError, match="indexing is disabled"):
                question()
        if turn == 0:
            collection.add(ids="a", embeddings=[[1.0]], metadatas=[{"secret": "x"}])
    for question in (
        lambda: collection.query(query_embeddings=[[1.0, 2.0]]),
        lambda: collection.explain(query_embeddings=[[1.0, 2.0]]),
    ):
        with pytest.raises(errors.InvalidArgumentError, match="dimension of 1, got 2"):
            question()


def test_an_explanation_prints_in_a_few_lines(client: pgchroma.ClientAPI, url: str) -> None:
    collection = create(client)
    vectors = np.random.default_rng(4).normal(size=(600, 8)).astype(np.float32)
    collection.add(ids=[f"id{n}" for n in range(600)], embeddings=vectors)
    compact(url, collection)
    for arguments in ({"n_results": 5}, {"n_results": 600}, {"where": {"k": 1}}):
        plan = collection.explain(query_embeddings=vectors[0], **arguments)
        lines = str(plan).splitlines()
        assert lines[0].startswith(f"{plan.strategy}: ")
        assert 2 <= len(lines) < 12
        assert max(map(len, lines)) < 200
        assert len(repr(plan)) < 1_500
        assert plan.sql.startswith(("select", "with"))
        assert "Plan" in plan.plan
