"""SQL agrees with the oracle on any search over any records."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from threading import Event
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import pgchroma
from pgchroma import Schema, SparseVector, SparseVectorIndexConfig
from pgchroma.compactor.runner import Compaction
from pgchroma.compactor.settings import CompactionSettings
from pgchroma.model.operations import SearchRecords
from pgchroma.model.search.parsed import parse_search
from tests.oracle import Record, replace_records
from tests.search.blocks import compact_sparse, small_blocks
from tests.search.oracle import search
from tests.sql.backend import SqlFunctionsBackend
from tests.strategies import lists, text, wheres

COORDINATES = st.integers(-6, 6).map(lambda n: n / 2)
VECTORS = st.lists(COORDINATES, min_size=2, max_size=2)
CONSTANTS = st.sampled_from([0.0, 1.0, -1.0, 0.1, 60.0, 1e38, -1e38, 3e38, 1e-38, 1e-45])
TERMS = st.sampled_from([0, 1, 7, 10**9 - 1, 10**9, 2**31, 2**32 - 1])
WEIGHTS = st.sampled_from([0.0, 0.5, 1.0, 2.0, -1.0])
SPARSE = st.dictionaries(TERMS, WEIGHTS, max_size=4).map(
    lambda terms: SparseVector(sorted(terms), [terms[term] for term in sorted(terms)])
)
VALUES = st.sampled_from([True, False, 1, 2, 1.0, 2.0, "x", "y"]) | text | lists

FEW = settings(max_examples=60)
MANY = settings(max_examples=2_000)


@pytest.fixture(scope="module", params=["direct", "sql"])
def collection(module_url: str, request: pytest.FixtureRequest) -> Iterator[pgchroma.Collection]:
    with pgchroma.PostgresClient(
        module_url, pgchroma.Settings(pgchroma_compaction=False)
    ) as client:
        if request.param == "sql":
            client._backend = SqlFunctionsBackend(client._backend, module_url)
        schema = Schema().create_index(SparseVectorIndexConfig(), key="s")
        schema.create_index(SparseVectorIndexConfig(bm25=True), key="w")
        yield client.create_collection(f"searches-{request.param}", schema, embedding_function=None)


@pytest.fixture(scope="module")
def compaction(module_url: str) -> Iterator[Compaction]:
    with Compaction(module_url, CompactionSettings(), Event()) as opened:
        yield opened


@st.composite
def stored_records(draw: st.DrawFn) -> list[Record]:
    """Records, many of which are equally far from a query or have equal metadata."""
    count = draw(st.integers(1, 14))
    metadata = st.dictionaries(st.sampled_from(["g", "n"]), VALUES)
    sparse = st.dictionaries(st.sampled_from(["s", "w"]), SPARSE)
    return [
        Record(f"r{at}", draw(VECTORS), None, None, draw(metadata) | draw(sparse))
        for at in range(count)
    ]


@st.composite
def nearest(draw: st.DrawFn) -> dict[str, Any]:
    """A search by a vector."""
    knn: dict[str, Any] = {"query": draw(VECTORS), "limit": draw(st.integers(0, 20))}
    if draw(st.booleans()):
        knn |= {"query": draw(SPARSE).to_dict(), "key": draw(st.sampled_from(["s", "w"]))}
    if draw(st.booleans()):
        knn["default"] = draw(CONSTANTS)
    if draw(st.booleans()):
        knn["return_rank"] = True
    return {"$knn": knn}


RANKS: st.SearchStrategy[dict[str, Any]] = st.recursive(
    nearest() | CONSTANTS.map(lambda number: {"$val": number}),
    lambda inner: (
        st.tuples(st.sampled_from(["$abs", "$exp", "$log"]), inner).map(lambda pair: dict([pair]))
        | st.builds(
            lambda operator, left, right: {operator: {"left": left, "right": right}},
            st.sampled_from(["$sub", "$div"]),
            inner,
            inner,
        )
        | st.builds(
            lambda operator, operands: {operator: operands},
            st.sampled_from(["$sum", "$mul", "$max", "$min"]),
            st.lists(inner, max_size=3),
        )
    ),
    max_leaves=8,
)

GROUPS = st.builds(
    lambda keys, operator, order, k: {
        "keys": keys,
        "aggregate": {operator: {"keys": order, "k": k}},
    },
    st.lists(st.sampled_from(["g", "n", "none"]), min_size=1, max_size=2, unique=True),
    st.sampled_from(["$min_k", "$max_k"]),
    st.lists(st.sampled_from(["g", "n", "#score"]), min_size=1, max_size=2, unique=True),
    st.integers(1, 3),
)


def _without_sparse(record: Record) -> Record:
    """A filter cannot name a sparse vector."""
    values = record.metadata.items()
    plain = {key: value for key, value in values if not isinstance(value, SparseVector)}
    return replace(record, metadata=plain)


@st.composite
def payloads(draw: st.DrawFn, stored: list[Record]) -> dict[str, Any]:
    """A search as it is sent."""
    payload: dict[str, Any] = {"select": {"keys": ["#score"]}}
    if draw(st.booleans()):
        payload["filter"] = draw(wheres([_without_sparse(record) for record in stored]))
    if draw(st.integers(0, 9)):
        payload["rank"] = draw(RANKS)
        if draw(st.booleans()):
            payload["group_by"] = draw(GROUPS)
    limit = draw(st.none() | st.integers(0, 10))
    payload["limit"] = {"offset": draw(st.integers(0, 3)), "limit": limit}
    return payload


def _check(collection: pgchroma.Collection, stored: list[Record], batch: list[Any]) -> None:
    parsed = tuple(parse_search(payload, f"searches[{at}]") for at, payload in enumerate(batch))
    answers = collection._backend.execute(SearchRecords(collection._ref, parsed))
    for payload, found in zip(batch, answers, strict=True):
        ids, scores = search(stored, payload, bm25=("w",))
        if found.scores == scores:
            assert found.records.ids == ids
            continue
        # Exponential functions and logarithms may differ in the last bit.
        assert any(part in str(payload) for part in ("$exp", "$log", "sparse_vector"))
        assert [score is None for score in found.scores or ()] == [s is None for s in scores]
        near = [np.nan if score is None else score for score in found.scores or ()]
        far = [np.nan if score is None else score for score in scores]
        assert np.allclose(near, far, rtol=1e-5, atol=0, equal_nan=True)


def _store(
    compaction: Compaction,
    collection: pgchroma.Collection,
    stored: list[Record],
    data: st.DataObject,
) -> None:
    """Store records, their sparse vectors in blocks of some vectors, in none, or in part."""
    replace_records(collection, stored)
    if data.draw(st.booleans()):
        with small_blocks(data.draw(st.sampled_from([2, 4, 8]))):
            compact_sparse(compaction, collection)
        again = data.draw(st.lists(st.sampled_from(stored), max_size=4, unique_by=id))
        # An update replaces the vectors, even by equal ones.
        metadatas: Any = [record.metadata or None for record in again]
        if again:
            collection.update([record.id for record in again], metadatas=metadatas)


def _search(compaction: Compaction, collection: pgchroma.Collection, data: st.DataObject) -> None:
    stored = data.draw(stored_records())
    _store(compaction, collection, stored, data)
    for _ in range(3):
        _check(collection, stored, data.draw(st.lists(payloads(stored), min_size=1, max_size=3)))


@pytest.mark.heavy
@FEW
@given(data=st.data())
def test_searches_agree_with_the_oracle(
    compaction: Compaction, collection: pgchroma.Collection, data: st.DataObject
) -> None:
    _search(compaction, collection, data)


@pytest.mark.slow
@pytest.mark.timeout(1_200)
@MANY
@given(data=st.data())
def test_many_searches_agree_with_the_oracle(
    compaction: Compaction, collection: pgchroma.Collection, data: st.DataObject
) -> None:
    _search(compaction, collection, data)
