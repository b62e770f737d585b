"""chroma.collections: the sizes of collections."""

from __future__ import annotations

import numpy as np
import psycopg
import pytest

import pgchroma
from pgchroma.store import run as execute
from pgchroma.store.layout.names import TABLES
from pgchroma.store.statistics import collection_statistics, stored_collections
from tests.planner.segments import create, quiet, seal
from tests.reembedding.functions import Hashed
from tests.sql.conftest import Run


def test_sizes_are_those_of_the_tables(url: str, run: Run) -> None:
    with quiet(url) as client:
        create(client, "empty")
        papers = create(client)
        vectors = np.random.default_rng(1).normal(size=(30, 4))
        papers.add(ids=[str(n) for n in range(20)], embeddings=vectors[:20])
        seal(url, papers)
        papers.add(ids=[str(n) for n in range(20, 30)], embeddings=vectors[20:])
        papers.delete(ids=["0", "1", "2", "3", "4", "25"])
        (written,) = run("select max(updated_at) from default_tenant__default_database.papers")
    select = (
        "select collection, rows, segments, tail, dead, last_write, bytes > 8192 "
        "from chroma.collections order by collection"
    )
    assert run(select) == [
        ("empty", 0, 0, 0, None, None, True),
        ("papers", 24, 1, 9, 0.25, written[0], True),
    ]


def test_the_view_and_the_statistics_agree(
    url: str, connection: psycopg.Connection[tuple[object, ...]], run: Run
) -> None:
    """They measure in two ways: the view with the caller's rights, and without the parts."""
    schema = pgchroma.Schema().create_index(pgchroma.SparseVectorIndexConfig(), key="terms")
    with quiet(url) as client:
        client.create_collection("sparse", schema=schema, embedding_function=None).add(
            ids="1",
            embeddings=[1.0],
            metadatas={"terms": pgchroma.SparseVector(indices=[1], values=[1.0])},
        )
        papers = create(client)
        vectors = np.random.default_rng(1).normal(size=(30, 4))
        ids = [str(n) for n in range(30)]
        papers.add(ids=ids[:20], embeddings=vectors[:20], documents=ids[:20])
        seal(url, papers)
        papers.add(ids=ids[20:], embeddings=vectors[20:], documents=ids[20:])
        papers.delete(ids=["0", "1", "25"])
        papers.reembed(Hashed(seed=2), switch=False)
    # Indexes have a map of their free space, too.
    run("vacuum")
    names = run("select relname from pg_class where relkind = 'r'")
    assert {name.partition("_")[0] for (name,) in names} >= set(TABLES)
    measured = [
        execute(connection, collection_statistics(stored))
        for stored in execute(connection, stored_collections())
    ]
    assert len(measured) == 2
    assert run(
        "select collection, rows, bytes, segments, tail, coalesce(dead, 0), last_write "
        "from chroma.collections order by collection"
    ) == [
        (
            each.stored.name,
            each.records,
            each.stored.sizes.total,
            len(each.stored.segments),
            each.tail,
            pytest.approx(each.dead_share, rel=1e-6),
            each.last_write,
        )
        for each in measured
    ]
