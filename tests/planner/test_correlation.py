"""Queries find the right records, whether the matches are near the query, far or anywhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import psycopg
import pytest
from numpy.typing import NDArray
from psycopg.conninfo import make_conninfo

import pgchroma
from pgchroma import K, Knn, Search
from pgchroma.store.search import planner
from tests.planner.segments import compact, create, quiet, seal

RECORDS = 6_000
DIMENSION = 24
BOUND = 500
WANTED = 10

Ranks = NDArray[np.int64]
"""Rows by how near a query they are."""


@pytest.fixture(autouse=True)
def small_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """A limit: with more matching records, a query may search the index."""
    monkeypatch.setattr(planner, "MIN_EXACT_SCAN", BOUND)
    monkeypatch.setattr(planner, "INDEX_ROW_COST", 0)


@pytest.fixture(scope="module")
def vectors() -> NDArray[np.float32]:
    random = np.random.default_rng(7)
    centres = random.normal(size=(40, DIMENSION))
    rows = centres[random.integers(0, 40, RECORDS)] + 0.7 * random.normal(size=(RECORDS, DIMENSION))
    return rows.astype(np.float32)


@pytest.fixture(scope="module", params=["none", "halfvec"])
def collection(
    request: pytest.FixtureRequest, module_url: str, vectors: NDArray[np.float32]
) -> Iterator[pgchroma.Collection]:
    # As with far more records: indexes are preferred, and scans stop before reading them whole.
    settings = ("enable_sort=off", "enable_seqscan=off", "hnsw.max_scan_tuples=1000")
    options = " ".join(f"-c {setting}" for setting in settings)
    options = make_conninfo(module_url, options=options)
    with quiet(options) as client:
        client.reset()
        made = create(client, ef_search=20, max_neighbors=12, quantization=request.param)
        made.add(ids=[str(row) for row in range(RECORDS)], embeddings=vectors)
        compact(module_url, made, merges_all=True)
        yield made


def _scattered(ranks: Ranks, count: int) -> Ranks:
    return np.random.default_rng(len(ranks)).choice(ranks, count, replace=False)


MATCHING: dict[str, Callable[[Ranks], Ranks]] = {
    "near, below the bound": lambda ranks: ranks[:400],
    "far, below the bound": lambda ranks: ranks[-400:],
    "scattered, below the bound": lambda ranks: _scattered(ranks, 400),
    "near": lambda ranks: ranks[:1_000],
    "not the nearest": lambda ranks: ranks[60:1_200],
    "at some distance": lambda ranks: ranks[300:1_500],
    "in the middle": lambda ranks: ranks[2_500:3_700],
    "far": lambda ranks: ranks[-1_000:],
    "the farthest and a few near": lambda ranks: np.concatenate([ranks[:4], ranks[-1_000:]]),
    "all but the nearest": lambda ranks: ranks[500:],
    "scattered": lambda ranks: _scattered(ranks, 1_000),
    "scattered far off": lambda ranks: _scattered(ranks[3_000:], 1_000),
}


@pytest.mark.heavy
@pytest.mark.parametrize("kind", MATCHING)
def test_the_nearest_of_those_that_match_are_found(
    kind: str, collection: pgchroma.Collection, vectors: NDArray[np.float32]
) -> None:
    random = np.random.default_rng(3)
    recalls = []
    for row in random.integers(0, RECORDS, 8):
        query = vectors[row] + 0.3 * random.normal(size=DIMENSION).astype(np.float32)
        distances = ((vectors - query) ** 2).sum(axis=1)
        rows = MATCHING[kind](np.argsort(distances, kind="stable"))
        expected = {str(row) for row in rows[np.argsort(distances[rows])][:WANTED]}
        arguments: dict[str, Any] = {"query_embeddings": [query], "n_results": WANTED}
        found = collection.query(ids=[str(row) for row in rows], **arguments)["ids"][0]
        assert len(found) == WANTED
        recalls.append(len(expected & set(found)) / WANTED)
    assert np.mean(recalls) >= 0.95, recalls


@pytest.mark.parametrize("place", ["tail", "segment"])
@pytest.mark.parametrize("kind", ["near", "at some distance", "far", "scattered far off"])
def test_farther_matches_elsewhere_hide_none(
    kind: str, place: str, module_url: str, vectors: NDArray[np.float32]
) -> None:
    """An index that returns too few is noticed even if other rows make up the number."""
    options = make_conninfo(module_url, options="-c enable_sort=off -c enable_seqscan=off")
    with quiet(options) as client:
        client.reset()
        made = create(client, ef_search=20, max_neighbors=12)
        made.add(ids=[str(row) for row in range(RECORDS)], embeddings=vectors)
        compact(module_url, made, merges_all=True)
        others = [f"other{number}" for number in range(2 * WANTED)]
        made.add(ids=others, embeddings=vectors[: len(others)] + 50)
        if place == "segment":
            seal(module_url, made)
        query = vectors[17]
        distances = ((vectors - query) ** 2).sum(axis=1)
        rows = MATCHING[kind](np.argsort(distances, kind="stable"))
        expected = {str(row) for row in rows[np.argsort(distances[rows])][:WANTED]}
        ids = [*(str(row) for row in rows), *others]
        queried = made.query(query_embeddings=[query], ids=ids, n_results=WANTED)["ids"][0]
        assert len(expected & set(queried)) >= WANTED - 1
        ranked = Search().rank(Knn(query=query, limit=WANTED)).limit(WANTED).where(K.ID.is_in(ids))
        assert len(expected & set(made.search(ranked)["ids"][0])) >= WANTED - 1


@pytest.mark.parametrize("place", ["tail", "segment"])
def test_farther_matches_elsewhere_hide_none_in_sql(
    place: str, module_url: str, vectors: NDArray[np.float32]
) -> None:
    with quiet(module_url) as client, psycopg.connect(module_url, autocommit=True) as connection:
        client.reset()
        made = create(client, ef_search=20, max_neighbors=12)
        made.add(ids=[str(row) for row in range(RECORDS)], embeddings=vectors)
        compact(module_url, made, merges_all=True)
        others = [f"other{number}" for number in range(2 * WANTED)]
        made.add(ids=others, embeddings=vectors[: len(others)] + 50)
        if place == "segment":
            seal(module_url, made)
        distances = ((vectors - vectors[17]) ** 2).sum(axis=1)
        # More than are read exactly.
        rows = np.argsort(distances, kind="stable")[-2_100:]
        expected = {str(row) for row in rows[:WANTED]}
        found = connection.execute(
            "select id from chroma.query('papers', %s::vector, %s, ids => %s)",
            [str(vectors[17].tolist()), WANTED, [*(str(row) for row in rows), *others]],
        ).fetchall()
        assert len(expected & {id for (id,) in found}) >= WANTED - 1
