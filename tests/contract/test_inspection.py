"""Inspection of queries: the arguments it accepts and refuses, in every mode."""

from __future__ import annotations

from typing import Any

import pytest

from pgchroma import IndexingStatus, QueryPlan, Recall, errors
from tests.compactor.conftest import compact

VECTORS = [[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]


@pytest.fixture
async def papers(mode: Any) -> Any:
    collection = await mode.create_collection("papers", embedding_function=None)
    pages = [{"page": number} for number in range(3)]
    await collection.add(ids=["a", "b", "c"], embeddings=VECTORS, metadatas=pages)
    return collection


async def test_what_no_compaction_has_seen_is_not_indexed(mode: Any, papers: Any) -> None:
    status = await papers.get_indexing_status()
    assert isinstance(status, IndexingStatus)
    assert status.num_indexed_ops + status.num_unindexed_ops == status.total_ops == 3
    await papers.delete(ids=["a"])
    compact(mode.unpooled)
    assert await papers.get_indexing_status() == IndexingStatus(4, 0, 4, 1.0, None)
    await papers.update(ids=["b", "nowhere"], metadatas=[{"page": 3}, {"page": 4}])
    await papers.upsert(ids=["b", "c", "d"], embeddings=VECTORS)
    status = await papers.get_indexing_status()
    assert status.num_indexed_ops + status.num_unindexed_ops == status.total_ops == 8
    compact(mode.unpooled)
    assert await papers.get_indexing_status() == IndexingStatus(8, 0, 8, 1.0, None)


async def test_a_query_is_explained(papers: Any) -> None:
    for arguments in (
        {},
        {"n_results": 2, "where": {"page": {"$gt": 0}}, "ids": ["b", "c"]},
        {"where_document": {"$contains": "x"}},
    ):
        plan = await papers.explain(query_embeddings=[[1.0, 0.0], [0.0, 1.0]], **arguments)
        assert isinstance(plan, QueryPlan)
        assert (plan.strategy, plan.segments) == ("exact", ())
        assert plan.execution_ms >= 0
        assert "select" in plan.sql.lower()
        assert plan.plan


async def test_an_explanation_refuses_what_a_query_does(papers: Any) -> None:
    for arguments, kind, message in (
        ({}, ValueError, r"embeddings, documents, images, uris must be provided in explain\."),
        ({"query_embeddings": [1.0, 0.0], "n_results": 0}, TypeError, "cannot be negative, or zer"),
        ({"query_texts": "x"}, ValueError, "You must provide an embedding function"),
        ({"query_embeddings": [1.0]}, errors.InvalidArgumentError, "dimension"),
        (
            {"query_embeddings": [1.0, 0.0], "where": {"$bad": 1}},
            errors.InvalidArgumentError,
            r"where.\$bad",
        ),
    ):
        with pytest.raises(kind, match=message):
            await papers.explain(**arguments)


async def test_recall_is_measured(papers: Any) -> None:
    measured = await papers.recall(sample=2, n_results=3, where={"page": {"$lt": 9}})
    assert isinstance(measured, Recall)
    assert (measured.recall, measured.sample, measured.n_results) == (1.0, 2, 3)
    assert measured.query_ms >= 0
    assert measured.exact_ms >= 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"sample": 0}, "sample: expected an int from 1 to 1,000, got 0"),
        ({"sample": 1_001}, "sample: expected an int from 1 to 1,000, got 1001"),
        ({"sample": 1.5}, "sample: expected an int from 1 to 1,000, got 1.5"),
        ({"sample": True}, "sample: expected an int from 1 to 1,000, got True"),
        ({"n_results": 0}, "n_results: expected an int of at least 1, got 0"),
        ({"n_results": "3"}, "n_results: expected an int of at least 1, got '3'"),
        ({"where": {"page": {"$gt": float("nan")}}}, "not a finite number"),
    ],
)
async def test_a_measurement_out_of_bounds_is_refused(
    papers: Any, arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(errors.InvalidArgumentError, match=message):
        await papers.recall(**arguments)


async def test_a_collection_that_is_gone_is_not_found(mode: Any, papers: Any) -> None:
    await mode.delete_collection("papers")
    for question in (
        papers.get_indexing_status(),
        papers.explain(query_embeddings=[1.0, 0.0]),
        papers.recall(),
    ):
        with pytest.raises(errors.NotFoundError, match="does not exist"):
            await question
