"""Queries whose candidates come from memory return what exact search does, but for recall."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import pgchroma
from tests.memory.indexed import (
    COUNT,
    DIMENSION,
    Answers,
    built,
    check_answer,
    clustered,
    fill,
    found,
    remembering,
    sealed,
    watched_answers,
)
from tests.planner.segments import SPACES, compact, context_of, create, forget, seal, watched

QUERIES = clustered(20, seed=7)


@pytest.fixture
def client(url: str, tmp_path: Path) -> Iterator[pgchroma.ClientAPI]:
    with remembering(url, tmp_path / "memory") as direct:
        yield direct


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> Answers:
    return watched_answers(monkeypatch)


def _stored(first: int = 0, count: int = COUNT) -> dict[str, Any]:
    return {str(n): row for n, row in enumerate(clustered(count), first)}


def _ask(collection: pgchroma.Collection, query: Any, **arguments: Any) -> Any:
    arguments = {"n_results": 10, "include": ["distances"], **arguments}
    return collection.query(query_embeddings=[query], **arguments)


@pytest.mark.parametrize("space", SPACES)
def test_answers_are_those_of_exact_search(
    url: str, client: pgchroma.ClientAPI, answers: Answers, space: str
) -> None:
    collection = sealed(url, client, space=space)
    built(client, collection)
    stored = _stored()
    recalls = [check_answer(space, _ask(collection, query), query, stored) for query in QUERIES]
    assert answers.complete == [True] * len(QUERIES)
    assert np.mean(recalls) >= 0.98


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("below", [9, 5, 1])
def test_filtered_answers_are_those_of_exact_search(
    url: str, client: pgchroma.ClientAPI, answers: Answers, space: str, below: int
) -> None:
    collection = sealed(url, client, space=space)
    built(client, collection)
    stored = {id: row for id, row in _stored().items() if int(id) % 10 < below}
    where: Any = {"tenth": {"$lt": below}}
    recalls = [
        check_answer(space, _ask(collection, query, where=where), query, stored)
        for query in QUERIES
    ]
    assert any(answers.complete)
    assert np.mean(recalls) >= 0.98


def test_several_queries_in_one_call_have_the_answers_of_single_ones(
    url: str, client: pgchroma.ClientAPI, answers: Answers
) -> None:
    collection = sealed(url, client)
    built(client, collection)
    fill(collection, clustered(50, seed=3), first=COUNT)
    wheres: list[Any] = [None, {"tenth": {"$lt": 5}}]
    includes: list[Any] = [["distances"], ["distances", "embeddings", "metadatas"]]
    for where in wheres:
        for include in includes:
            together: Any = collection.query(
                query_embeddings=QUERIES[:5], include=include, where=where
            )
            assert answers.complete.pop()
            for n, query in enumerate(QUERIES[:5]):
                alone: Any = _ask(collection, query, include=include, where=where)
                assert answers.complete.pop()
                assert together["ids"][n] == alone["ids"][0]
                assert together["distances"][n] == alone["distances"][0]
                if "embeddings" in include:
                    assert np.array_equal(together["embeddings"][n], alone["embeddings"][0])
                    assert together["metadatas"][n] == alone["metadatas"][0]


@pytest.mark.parametrize("n_results", [1, 100, 333, 334, COUNT, COUNT + 1])
def test_any_number_of_results_is_returned(
    url: str, client: pgchroma.ClientAPI, n_results: int
) -> None:
    collection = sealed(url, client)
    built(client, collection)
    recall = check_answer(
        "l2", _ask(collection, QUERIES[0], n_results=n_results), QUERIES[0], _stored(), n_results
    )
    assert recall >= 0.9


@pytest.mark.parametrize("layout", range(4))
def test_each_part_of_the_log_is_read_once(
    url: str, client: pgchroma.ClientAPI, answers: Answers, layout: int
) -> None:
    """Segments with and without an index in memory, gaps between them, and the tail."""
    rng = np.random.default_rng(layout)
    collection = create(client, space=["l2", "cosine"][layout % 2])
    embeddings, first = clustered(3_500, seed=layout), 0
    for part in np.array_split(np.arange(2_800), rng.integers(2, 5)):
        fill(collection, embeddings[part], first=first)
        first += len(part)
        if rng.random() < 0.8:
            seal(url, collection)
        if rng.random() < 0.5:
            # Positions of segments, of gaps and of the tail become dead.
            ids = [str(n) for n in rng.choice(first, 100, replace=False)]
            collection.delete(ids=ids)
    fill(collection, embeddings[first:], first=first)
    seal(url, collection)
    indexes = built(client, collection)
    proposers: Any = context_of(client).proposers
    kept = [rng.random() < 0.6 for _ in indexes]
    known = proposers.find

    def some(resolved: Any) -> list[Any]:
        pairs = zip(known(resolved), kept, strict=True)
        return [index if keep else None for index, keep in pairs]

    proposers.find = some
    live: Any = collection.get(include=["embeddings"])
    stored = dict(zip(live["ids"], live["embeddings"], strict=True))
    space = ["l2", "cosine"][layout % 2]
    for where in (None, {"tenth": {"$gte": 0}}):
        recalls = [
            check_answer(space, _ask(collection, query, where=where), query, stored)
            for query in QUERIES
        ]
        assert np.mean(recalls) >= 0.98
    assert bool(answers.complete) == any(kept)


def test_written_replaced_and_deleted_records(
    url: str, client: pgchroma.ClientAPI, answers: Answers
) -> None:
    """Against exact search, while records are added, replaced and deleted, and segments merged."""
    rng = np.random.default_rng(5)
    collection = create(client)
    stored: dict[str, Any] = {}
    recalls, fresh = [], 0
    for turn in range(8):
        new = clustered(600, seed=turn)
        fill(collection, new, first=fresh)
        stored |= {str(fresh + n): row for n, row in enumerate(new)}
        fresh += 600
        if turn % 2 == 0:
            compact(url, collection)
            built(client, collection)
        changed = [str(id) for id in rng.choice(list(stored), 100, replace=False)]
        replaced, deleted = changed[:50], changed[50:]
        moved = clustered(50, seed=100 + turn)
        collection.upsert(ids=replaced, embeddings=moved)
        stored |= dict(zip(replaced, moved, strict=True))
        collection.delete(ids=deleted)
        for id in deleted:
            del stored[id]
        queries = [*QUERIES[:4], *moved[:3]]
        recalls += [check_answer("l2", _ask(collection, query), query, stored) for query in queries]
    assert np.mean(recalls) >= 0.98
    assert np.mean(answers.complete) > 0.5


def test_too_few_candidates_that_are_left_are_discarded(
    url: str, client: pgchroma.ClientAPI, answers: Answers
) -> None:
    collection = sealed(url, client)
    (index,) = built(client, collection)
    stored, query = _stored(), QUERIES[0]
    nearest = _ask(collection, query, n_results=60)["ids"][0]
    collection.delete(ids=nearest)
    for id in nearest:
        del stored[id]
    answers.complete.clear()
    assert check_answer("l2", _ask(collection, query), query, stored) >= 0.9
    assert answers.complete == [False]
    # The next query asks for more candidates.
    assert check_answer("l2", _ask(collection, query), query, stored) >= 0.9
    assert answers.complete == [False, True]
    assert index.entries == COUNT


def test_more_and_more_candidates_are_asked_for_until_enough_are_left(
    url: str, client: pgchroma.ClientAPI, answers: Answers
) -> None:
    collection = sealed(url, client)
    built(client, collection)
    stored, query = _stored(), QUERIES[0]
    # A tenth of the records, all about one topic.
    nearest = _ask(collection, query, n_results=200)["ids"][0]
    collection.delete(ids=nearest)
    for id in nearest:
        del stored[id]
    answers.complete.clear()
    for _ in range(20):
        assert check_answer("l2", _ask(collection, query), query, stored) >= 0.9
    assert answers.complete[:3] == [False, False, False]
    # It is tried with fewer now and then: the next queries may be about another topic.
    assert answers.complete[3:].count(True) >= 14


def test_a_selective_filter_is_answered_otherwise(
    url: str, client: pgchroma.ClientAPI, answers: Answers
) -> None:
    collection = sealed(url, client)
    built(client, collection)
    collection.update(ids=["5"], metadatas=[{"rare": True}])
    for _ in range(3):
        assert _ask(collection, QUERIES[0], where={"rare": True})["ids"] == [["5"]]
    # It is remembered that too few candidates match.
    assert answers.complete == [False]


def test_vectors_without_a_direction(
    url: str, client: pgchroma.ClientAPI, answers: Answers
) -> None:
    """They are at distance 1 from every query, and a query of zeros at 1 from all of them."""
    collection = create(client, space="cosine")
    embeddings = clustered()
    embeddings[::100] = 0
    embeddings[1] *= 1e-20
    fill(collection, embeddings)
    seal(url, collection)
    (index,) = built(client, collection)
    assert index.entries == COUNT - COUNT // 100
    forget(client)
    zeros = _ask(collection, np.zeros(DIMENSION), n_results=30)
    assert zeros["distances"] == [[1.0] * 30]
    assert answers.complete == []
    stored = {str(n): row for n, row in enumerate(embeddings) if n != 1}
    query = -embeddings.sum(axis=0)
    for n_results in (10, 100):
        answer = _ask(collection, query, n_results=n_results)
        recall = check_answer("cosine", answer, query, stored, n_results)
        assert recall >= 0.9
    assert all(answers.complete)


@pytest.mark.parametrize("scale", [1e-30, 1e18, 3e38])
@pytest.mark.parametrize("space", SPACES)
def test_queries_beyond_the_range_of_distances(
    url: str, client: pgchroma.ClientAPI, answers: Answers, space: str, scale: float
) -> None:
    collection = sealed(url, client, space=space)
    built(client, collection)
    query = np.full(DIMENSION, scale, np.float32)
    with remembering_nothing(url) as plain:
        expected: Any = _ask(plain.get_collection("papers", embedding_function=None), query)
    answer = _ask(collection, query)
    assert len(answer["ids"][0]) == 10
    if not (space != "cosine" and scale < 1):
        assert answers.complete == []
        assert answer["ids"] == expected["ids"]
        assert np.array_equal(answer["distances"], expected["distances"], equal_nan=True)


def remembering_nothing(url: str) -> pgchroma.ClientAPI:
    settings = pgchroma.Settings(pgchroma_compaction=False)
    return pgchroma.PostgresClient(url, settings)


def test_one_statement_without_a_transaction(
    url: str, client: pgchroma.ClientAPI, answers: Answers
) -> None:
    collection = sealed(url, client)
    built(client, collection)
    _ask(collection, QUERIES[0])
    with watched(client) as seen:
        _ask(collection, QUERIES[0], where={"tenth": {"$lt": 9}})
    (plan,) = seen.plans
    assert "pgchroma.memory_indexes" in plan["Query Text"]
    assert not any("_hnsw_" in name for name in seen.index_names())
    assert answers.complete == [True, True]


def test_recall_is_measured_with_them(
    url: str, client: pgchroma.ClientAPI, answers: Answers
) -> None:
    collection = sealed(url, client)
    built(client, collection)
    measured = collection.recall(sample=30)
    assert measured.recall >= 0.98
    assert answers.complete == [True] * 30


def test_embeddings_that_no_bit_tells_apart_get_no_index(
    url: str, client: pgchroma.ClientAPI, answers: Answers, tmp_path: Path
) -> None:
    collection = create(client)
    noise = np.random.default_rng(1).normal(size=(20_000, 16)).astype(np.float32)
    collection.add(ids=[str(n) for n in range(20_000)], embeddings=noise)
    seal(url, collection)
    proposers: Any = context_of(client).proposers
    assert found(client, collection) == [None]
    while not list((tmp_path / "memory").glob("*.refused")):
        found(client, collection)
    assert found(client, collection) == [None]
    assert not list((tmp_path / "memory").glob("*.index"))
    check_answer(
        "l2", _ask(collection, noise[3]), noise[3], {str(n): noise[n] for n in range(20_000)}
    )
    assert answers.complete == []
    assert proposers is not None


def test_few_entries_and_many_candidates_are_not_worth_it(
    url: str, client: pgchroma.ClientAPI, answers: Answers
) -> None:
    collection = sealed(url, client)
    built(client, collection)
    _ask(collection, QUERIES[0], n_results=250)
    assert answers.complete == []
