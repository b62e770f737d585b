"""Queries use the segments' indexes, in every form of a query and of an index."""

from __future__ import annotations

import json
import uuid
from typing import Any

import numpy as np
import psycopg
import pytest
from numpy.typing import NDArray

import pgchroma
from pgchroma import Knn, Search
from pgchroma.model.entities import DatabaseRef
from pgchroma.store.layout.segments import Segment, candidates
from pgchroma.store.layout.tables import CollectionTables
from pgchroma.store.resolved import ReadyIndexes, ResolvedCollection
from pgchroma.store.search import planner
from tests.planner.segments import (
    QUANTIZATIONS,
    SPACES,
    compact,
    create,
    nodes,
    watched,
)

ROWS, TAIL, DIMENSION = 4_000, 7, 32
CONDITIONS: tuple[dict[str, Any], ...] = (
    {},
    {"where": {"k": {"$gte": 1}}},
    {"where": {"k": {"$lt": 0}}},
)


@pytest.fixture
def small_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """A gate that opens at a size that tests have."""
    monkeypatch.setattr(planner, "MIN_EXACT_SCAN", 50)
    monkeypatch.setattr(planner, "INDEX_ROW_COST", 1)


def vectors(rows: int, seed: int = 3) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(size=(rows, DIMENSION)).astype(np.float32)


def filled(
    client: pgchroma.ClientAPI, url: str, **hnsw: Any
) -> tuple[pgchroma.Collection, NDArray[np.float32]]:
    """A collection with a segment, and a tail that has no index."""
    collection = create(client, **hnsw)
    stored = vectors(ROWS + TAIL)
    for first, last in ((0, ROWS), (ROWS, ROWS + TAIL)):
        collection.add(
            ids=[f"id{n}" for n in range(first, last)],
            embeddings=stored[first:last],
            metadatas=[{"k": n} for n in range(first, last)],
        )
        if first == 0:
            compact(url, collection)
    return collection, stored


@pytest.mark.parametrize(
    ("ef_search", "entries", "is_restricted", "expected"),
    [
        (100, [30_000], False, 100),
        (100, [30_001], False, 125),
        (100, [1_000, 40_000, 1_000], False, 125),
        (100, [20_000] * 3, False, 100),
        (8, [40_000], False, 10),
        (900, [40_000], False, 1_000),
        (100, [40_000], True, 100),
    ],
)
def test_a_search_of_a_large_segment_keeps_more_candidates(
    ef_search: int, entries: list[int], is_restricted: bool, expected: int
) -> None:
    ends = np.cumsum([1, *entries]).tolist()
    segments = tuple(
        Segment(first, end, f"index{first}", count, "none")
        for first, end, count in zip(ends, ends[1:], entries, strict=False)
    )
    resolved = ResolvedCollection(
        DatabaseRef("tenant", "database"),
        CollectionTables("schema", uuid.uuid4()),
        "l2",
        DIMENSION,
        indexes=ReadyIndexes(segments, ef_search=ef_search),
    )
    plan = planner.plan_nearest(vectors(1), 5, resolved, is_restricted=is_restricted)
    assert (plan.strategy, plan.ef_search) == ("index", expected)


@pytest.mark.heavy
@pytest.mark.usefixtures("small_bound")
@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("quantization", QUANTIZATIONS)
def test_every_form_of_a_query_searches_the_segment_and_reads_the_tail(
    client: pgchroma.ClientAPI, url: str, space: str, quantization: Any
) -> None:
    collection, stored = filled(client, url, space=space, quantization=quantization)
    for count in (1, 3):
        for arguments in CONDITIONS:
            plan = collection.explain(
                query_embeddings=stored[:count] + 0.01, n_results=5, **arguments
            )
            if arguments == CONDITIONS[2]:
                assert (plan.strategy, plan.matches, plan.segments) == ("exact", 0, ())
                assert plan.rows_read <= ROWS + TAIL
                continue
            assert plan.strategy == "index", arguments
            (segment,) = plan.segments
            wanted = candidates(quantization, 5, 100)
            wanted = max(wanted, 4 * 5) if arguments else wanted
            # The record that does not match is skipped.
            assert wanted * count <= segment.rows_read <= (wanted + 1) * count
            assert plan.tail_rows == TAIL
            assert plan.settings["hnsw.ef_search"] == "100"
            # The rows counted to choose the plan, then each row of an index and its record.
            assert plan.matches == (None if not arguments else 283)
            most = (plan.matches or 0) + 1 + 2 * (wanted + TAIL + 6) * count
            assert plan.rows_read <= most, arguments
            _check_scans(json.loads(plan.plan)[0]["Plan"], segment.index_name)
    _check_what_ran(client, collection, stored, space)


@pytest.mark.usefixtures("small_bound")
def test_tables_that_were_never_analyzed_are_searched_too(
    client: pgchroma.ClientAPI, url: str, connection: psycopg.Connection[Any]
) -> None:
    collection, stored = filled(client, url, space="cosine")
    for table in ("records", "vectors"):
        for column in ("pos", "seq"):
            _clear(connection, "attribute", f"{table}_{collection.id.hex}", column, "false")
        _clear(connection, "relation", f"{table}_{collection.id.hex}")
    (segment,) = collection.explain(query_embeddings=stored[:1], n_results=5).segments
    _clear(connection, "relation", segment.index_name)
    for count in (1, 3):
        for arguments in CONDITIONS[:2]:
            plan = collection.explain(query_embeddings=stored[:count], n_results=5, **arguments)
            assert (plan.strategy, plan.tail_rows) == ("index", TAIL)
            # With a filter PostgreSQL takes the tail for a third of the log, and scans all of it.
            assert plan.rows_read < (ROWS if not arguments else 4 * ROWS)


@pytest.mark.parametrize("n_results", [10, 100, 400])
def test_records_that_were_found_are_looked_up_one_by_one(
    client: pgchroma.ClientAPI, url: str, n_results: int
) -> None:
    # They are short: reading them all would cost less, if pages were on a disk.
    collection, stored = filled(client, url)
    query = stored[5]
    ranked = Search().rank(Knn(query=query, limit=n_results)).limit(n_results)
    with watched(client, "set auto_explain.log_nested_statements = on") as seen:
        for turn in range(12):
            seen.plans.clear()
            found = collection.query(query_embeddings=query, n_results=n_results)["ids"][0]
            assert len(found) == n_results
            assert _records_read(seen.plans) <= n_results
            seen.plans.clear()
            assert collection.search(ranked)["ids"][0] == found
            assert _records_read(seen.plans) <= 2 * n_results, "those of the search, then the page"
            if turn == 0:
                seen.plans.clear()
                assert _ids_in_sql(client, query, n_results) == found
                assert _records_read(seen.plans) <= 3 * n_results
        assert seen.is_generic


def _ids_in_sql(client: Any, query: NDArray[np.float32], n_results: int) -> list[str]:
    with client._backend._source._pool.connection() as connection:
        rows = connection.execute(
            "select id from chroma.query('papers', %s::vector, %s)",
            [str(query.tolist()), n_results],
        ).fetchall()
    return [id for (id,) in rows]


def _records_read(plans: list[dict[str, Any]]) -> int:
    read = [
        node
        for plan in plans
        for node in nodes(plan["Plan"])
        if node.get("Relation Name", "").startswith("records_")
    ]
    rows: list[float] = [
        node["Actual Rows"] + node.get("Rows Removed by Filter", 0) for node in read
    ]
    loops: list[int] = [node["Actual Loops"] for node in read]
    return round(sum(n * times for n, times in zip(rows, loops, strict=True)))


def _clear(connection: psycopg.Connection[Any], what: str, *names: str) -> None:
    marks = ", ".join(["%s"] * (len(names) + 1))
    connection.execute(
        f"select pg_clear_{what}_stats({marks})",
        ["default_tenant__default_database", *names],
    )


def _check_scans(plan: dict[str, Any], index_name: str) -> None:
    """The log is read by the segment's index, by ranges of positions, and not otherwise."""
    scans = [n for n in nodes(plan) if n.get("Relation Name", "").startswith("vectors_")]
    for scan in (scan for scan in scans if scan["Actual Loops"]):
        assert scan["Node Type"] in ("Index Scan", "Bitmap Heap Scan"), scan
        if scan.get("Index Name") == index_name:
            assert "Index Cond" not in scan
            assert "Order By" in scan


def _check_what_ran(
    client: pgchroma.ClientAPI, collection: pgchroma.Collection, stored: Any, space: str
) -> None:
    """Prepared statements have the same plans, those for all parameters too."""
    (segment,) = collection.explain(query_embeddings=stored[:1], n_results=5).segments
    for mode in ("auto", "force_generic_plan"):
        with watched(client, f"set plan_cache_mode = {mode}") as seen:
            for count in (1, 3):
                for arguments in CONDITIONS[:2]:
                    for turn in range(12 if mode == "auto" else 2):
                        seen.plans.clear()
                        found = collection.query(
                            query_embeddings=stored[turn : turn + count], n_results=5, **arguments
                        )
                        assert len(seen.plans) == 1, "a query is one statement"
                        assert segment.index_name in seen.index_names()
                        _check_scans(seen.plans[0]["Plan"], segment.index_name)
                        assert all(len(ids) == 5 for ids in found["ids"])
                        if space != "ip" and (turn or not arguments):
                            first = [ids[0] for ids in found["ids"]]
                            assert first == [f"id{n}" for n in range(turn, turn + count)]
                    assert seen.is_generic or mode == "auto" or count > 1
