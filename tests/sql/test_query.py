"""chroma.query finds what the API finds, in the same indexes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import psycopg
import pytest
from numpy.typing import NDArray

import pgchroma
from pgchroma.store.search import planner
from tests.planner.segments import QUANTIZATIONS, SPACES, create, nearest, quiet, seal
from tests.sql.backend import SqlFunctionsBackend
from tests.sql.conftest import Run

HEAVY = pytest.mark.heavy

DIMENSION = 8
SIZE = 1_500


@pytest.fixture
def client(url: str) -> Iterator[pgchroma.ClientAPI]:
    with quiet(url) as client:
        yield client


def _fill(client: pgchroma.ClientAPI, url: str, **hnsw: Any) -> pgchroma.Collection:
    """A collection with two segments, a tail, a zero vector, and records that were changed."""
    vectors = _vectors()
    papers = create(client, **hnsw)
    for first in range(0, SIZE, 500):
        _add(papers, vectors, range(first, first + 500))
        if first < SIZE - 500:
            seal(url, papers)
    papers.update(ids=["7", "1200"], embeddings=vectors[[7, 1200]])
    papers.delete(ids=["3", "600"])
    return papers


def _vectors() -> NDArray[np.float32]:
    random = np.random.default_rng(5)
    vectors = random.normal(size=(SIZE, DIMENSION)).astype(np.float32)
    vectors[11] = 0
    return vectors


def _add(papers: pgchroma.Collection, vectors: NDArray[np.float32], rows: range) -> None:
    papers.add(
        ids=[str(row) for row in rows],
        embeddings=vectors[rows.start : rows.stop],
        metadatas=[{"tenth": row % 10, "rare": row % 300 == 0} for row in rows],
    )


@contextmanager
def _in_sql(papers: pgchroma.Collection, url: str) -> Iterator[pgchroma.Collection]:
    backend = SqlFunctionsBackend(papers._backend, url)
    papers._backend = backend
    yield papers
    backend.close_own()


@pytest.mark.parametrize(
    "quantization",
    [each if each == "none" else pytest.param(each, marks=HEAVY) for each in QUANTIZATIONS],
)
@pytest.mark.parametrize("space", SPACES)
def test_the_same_records_are_found_as_by_the_api(
    client: pgchroma.ClientAPI, url: str, space: str, quantization: str
) -> None:
    papers = _fill(client, url, space=space, quantization=quantization)
    queries = np.random.default_rng(6).normal(size=(5, DIMENSION)).astype(np.float32)
    filters: list[Any] = [
        {},
        {"where": {"tenth": 3}},
        {"where": {"rare": True}},
        {"ids": ["5", "9"]},
    ]
    asked = [
        {"query_embeddings": queries, "n_results": n, "include": ["distances"], **filter}
        for n in (1, 20)
        for filter in filters
    ]
    expected = [papers.query(**each) for each in asked]
    with _in_sql(papers, url) as in_sql:
        for each, found in zip(asked, expected, strict=True):
            got = in_sql.query(**each)
            assert got["ids"] == found["ids"]
            assert got["distances"] == found["distances"]


@pytest.mark.parametrize("space", SPACES)
def test_filters_above_the_exact_limit_are_searched_and_complete(
    client: pgchroma.ClientAPI, url: str, space: str
) -> None:
    papers = _fill(client, url, space=space)
    vectors = _vectors()
    live = [row for row in range(SIZE) if str(row) not in ("3", "600")]
    with psycopg.connect(url, autocommit=True) as connection, _in_sql(papers, url) as in_sql:
        _lower_the_limit(connection)
        searches: list[tuple[Any, list[int]]] = [
            ({"tenth": {"$lt": 8}}, [row for row in live if row % 10 < 8]),
            ({"tenth": 3}, [row for row in live if row % 10 == 3]),
        ]
        for where, matching in searches:
            order, _ = nearest(space, vectors, vectors[20], matching)
            found = in_sql.query(query_embeddings=vectors[20], n_results=10, where=where)["ids"][0]
            assert found == [str(row) for row in order[:10]]


def _lower_the_limit(connection: psycopg.Connection[Any]) -> None:
    """Have the function search with filters that match more than 100 records."""
    (text,) = connection.execute(
        "select pg_get_functiondef('chroma._plan'::regproc)"
    ).fetchone() or ("",)
    start = text.index("exact_limit := ")
    assert str(planner.MIN_EXACT_SCAN) in text[start:].splitlines()[1]
    lowered = text[:start] + "exact_limit := 100" + text[text.index(";", start) :]
    connection.execute(lowered.encode())


@pytest.mark.parametrize("quantization", ["none", "halfvec", "bit"])
def test_all_records_are_asked_for_by_the_greatest_number(
    client: pgchroma.ClientAPI, url: str, run: Run, quantization: str
) -> None:
    papers = _fill(client, url, quantization=quantization)
    count, most = papers.count(), 2**31 - 1
    query = "[1,2,3,4,5,6,7,8]"
    assert run(f"select count(*) from chroma.query('papers', '{query}', {most})") == [(count,)]
    where = '{"tenth": {"$gte": 5}}'
    filtered = f"chroma.query('papers', '{query}', {most}, \"where\" => '{where}')"
    assert run(f"select count(*) from {filtered}") == [(SIZE // 2,)]
    knn = f'{{"$knn": {{"query": {query}, "limit": {most}}}}}'
    search = f'{{"rank": {knn}, "limit": {{"limit": {most}}}}}'
    assert run(f"select count(*) from chroma.search('papers', '{search}')") == [(count,)]


def test_indexes_are_used(
    client: pgchroma.ClientAPI, url: str, connection: psycopg.Connection[Any], run: Run
) -> None:
    _fill(client, url)
    run("load 'auto_explain'")
    run("set auto_explain.log_min_duration = 0")
    run("set auto_explain.log_nested_statements = on")
    run("set client_min_messages = log")
    # Of as few embeddings, PostgreSQL would rather read and sort all.
    run("set enable_seqscan = off")
    run("set enable_sort = off")
    plans: list[str] = []
    connection.add_notice_handler(lambda notice: plans.append(notice.message_primary or ""))
    run("select id from chroma.query('papers', '[1,2,3,4,5,6,7,8]', 5)")
    assert len(set(re.findall(r"_hnsw_\d+", "".join(plans)))) == 2


def test_settings_of_the_session_are_restored(
    client: pgchroma.ClientAPI, url: str, run: Run
) -> None:
    _fill(client, url, space="cosine")
    run("set hnsw.ef_search = 77")
    run("set enable_sort = on")
    run("begin")
    run("select id from chroma.query('papers', '[1,2,3,4,5,6,7,8]', 5)")
    names = ("hnsw.ef_search", "hnsw.iterative_scan", "enable_sort", "jit")
    assert [run(f"show {name}")[0][0] for name in names[:3]] == ["77", "off", "on"]
    run("rollback")
    assert run("show hnsw.ef_search") == [("77",)]


def test_a_query_joins_the_applications_tables(
    client: pgchroma.ClientAPI, url: str, run: Run
) -> None:
    create(client).add(ids=["a", "b"], embeddings=[[1.0, 0.0], [0.0, 1.0]])
    run("create table prices (paper text, price int)")
    run("insert into prices values ('a', 5), ('b', 7)")
    found = run(
        "select q.n, f.id, p.price "
        "from (values (1, '[1,0]'::vector), (2, '[0,1]')) as q (n, embedding) "
        "cross join lateral chroma.query('papers', q.embedding, 1) as f "
        "join prices as p on p.paper = f.id order by q.n"
    )
    assert found == [(1, "a", 5), (2, "b", 7)]


def test_a_query_of_an_empty_collection_finds_nothing(client: pgchroma.ClientAPI, run: Run) -> None:
    create(client)
    assert run("select id from chroma.query('papers', '[1]')") == []
    assert run("select id from chroma.get('papers')") == []
    assert run("select chroma.count('papers')") == [(0,)]
