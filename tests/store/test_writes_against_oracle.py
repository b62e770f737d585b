"""Any sequence of writes results in the oracle's state, and in no vector row without a record."""

from __future__ import annotations

from itertools import product
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

import pgchroma
from pgchroma import Schema, Search, SparseVector, SparseVectorIndexConfig, Text
from pgchroma.model.entities import DatabaseRef
from pgchroma.model.operations import AddRecords, CollectionRef, UpdateRecords, UpsertRecords
from pgchroma.model.records import RecordBatch
from tests.oracle import Record, Store
from tests.search.blocks import (
    assert_all_consistent,
    assert_words_consistent,
    compact_sparse,
    small_blocks,
)
from tests.sql.backend import SqlFunctionsBackend
from tests.store.test_large_writes import in_parts

IDS = st.sampled_from(["a", "b", "c", "d", "é", "Z"])
SPARSE = st.dictionaries(
    st.sampled_from([0, 7, 10**9, 2**31, 2**32 - 1]), st.sampled_from([0.0, 1.0, -0.5, 0.1])
).map(lambda terms: SparseVector(sorted(terms), [terms[term] for term in sorted(terms)]))
VALUES = st.none() | st.integers(0, 3) | st.sampled_from(["x", 1.5, True]) | SPARSE


@st.composite
def batches(draw: st.DrawFn, *, embedded: bool, removals: bool) -> list[Record]:
    """Records of a write; ids may repeat, as they may for a server's."""
    vectors = st.lists(st.integers(-9, 9).map(float), min_size=2, max_size=2)
    metadata = st.dictionaries(st.sampled_from("xyz"), VALUES, max_size=2)
    found = draw(st.lists(IDS, min_size=1, max_size=5))
    return [
        Record(
            id,
            draw(vectors if embedded else st.none() | vectors),
            draw(st.none() | st.sampled_from(["one", "two", ""])),
            draw(st.none() | st.just("uri")),
            {k: v for k, v in draw(metadata).items() if removals or v is not None},
        )
        for id in found
    ]


def parse(found: list[Record], *, removals: bool) -> RecordBatch:
    """Create the batch with these records."""
    return RecordBatch.parse(
        [record.id for record in found],
        [record.embedding for record in found],
        [record.metadata or None for record in found],
        [record.document for record in found],
        [record.uri for record in found],
        removals=removals,
    )


INDEXES = {
    "no index": ("", False),
    "one index": ("x", False),
    "two indexes": ("xy", False),
    "text": ("", True),
    "an index and text": ("x", True),
}

WAYS = ("direct", "parts", "sql")
"""How the writes are executed: by the handlers, with the embeddings in parts, or by functions."""


@pytest.mark.heavy
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("indexes", INDEXES)
def test_writes_agree_with_the_oracle(url: str, indexes: str, way: str) -> None:  # noqa: C901
    """The oracle of writes; the sparse vectors of some keys and of documents have tables."""
    keys, has_text = INDEXES[indexes]
    schema = _schema(keys)
    configuration: Any = {"text": {"language": "simple"}} if has_text else {}
    with (
        pgchroma.PostgresClient(url, pgchroma.Settings(pgchroma_compaction=False)) as client,
        psycopg.connect(url, autocommit=True) as connection,
        pytest.MonkeyPatch.context() as patch,
    ):
        if way == "parts":
            in_parts(patch)
        elif way == "sql":
            client._backend = SqlFunctionsBackend(client._backend, url)

        class Writes(RuleBasedStateMachine):
            def __init__(self) -> None:
                super().__init__()
                self.collection = client.get_or_create_collection("writes")
                client.delete_collection("writes")
                self.collection = client.create_collection("writes", schema, configuration)
                scope = DatabaseRef("default_tenant", "default_database")
                self.ref = CollectionRef(scope, self.collection.id)
                self.store = Store()

            @rule(found=batches(embedded=True, removals=False))
            def add(self, found: list[Record]) -> None:
                client._backend.execute(AddRecords(self.ref, parse(found, removals=False)))
                self.store.add(found)

            @rule(found=batches(embedded=True, removals=True))
            def upsert(self, found: list[Record]) -> None:
                client._backend.execute(UpsertRecords(self.ref, parse(found, removals=True)))
                self.store.upsert(found)

            @rule(found=batches(embedded=False, removals=True))
            def update(self, found: list[Record]) -> None:
                client._backend.execute(UpdateRecords(self.ref, parse(found, removals=True)))
                self.store.update(found)

            @rule(ids=st.lists(IDS, min_size=1, max_size=3, unique=True))
            def delete(self, ids: list[str]) -> None:
                assert self.collection.delete(ids=ids) == {"deleted": self.store.delete(ids)}

            @invariant()
            def records_are_the_oracles(self) -> None:
                got = self.collection.get(include=["embeddings", "documents", "metadatas", "uris"])
                expected = list(self.store.records.values())
                assert got["ids"] == [record.id for record in expected]
                assert got["documents"] == [record.document for record in expected]
                assert got["uris"] == [record.uri for record in expected]
                assert got["metadatas"] == [_shown(record) for record in expected]
                assert (got["embeddings"] if expected else None) is None or _rows(
                    got["embeddings"]
                ) == [record.embedding for record in expected]

            @invariant()
            def every_vector_is_a_records(self) -> None:
                assert _count_orphans(connection, self.collection) == 0

            @invariant()
            def every_sparse_vector_is_in_its_place(self) -> None:
                assert_all_consistent(connection, self.collection.id.hex, len(keys))

            @invariant()
            def words_are_found(self) -> None:
                if has_text:
                    assert_words_consistent(connection, self.collection.id.hex, len(keys))
                    _assert_found(self.collection, "one", self.store)

            @rule(merges_all=st.booleans())
            def compact(self, merges_all: bool) -> None:
                with small_blocks():
                    compact_sparse(url, self.collection, merges_all=merges_all)

        run_state_machine_as_test(
            Writes,
            settings=settings(
                max_examples=15,
                stateful_step_count=15,
                deadline=None,
                suppress_health_check=list(HealthCheck),
            ),
        )


def _schema(keys: str) -> Schema:
    schema = Schema()
    for key in keys:
        schema.create_index(SparseVectorIndexConfig(), key=key)
    return schema


def _assert_found(collection: pgchroma.Collection, word: str, store: Store) -> None:
    found = collection.search(Search(rank=Text(word, limit=9)))
    records = store.records.values()
    assert sorted(found["ids"][0]) == sorted(r.id for r in records if r.document == word)


def _count_orphans(connection: psycopg.Connection[Any], collection: pgchroma.Collection) -> int:
    """Count the embeddings that belong to no record."""
    tables = f"default_tenant__default_database.{{}}_{collection.id.hex}"
    exists = connection.execute("select to_regclass(%s)", [tables.format("vectors")]).fetchone()
    if exists == (None,):
        return 0
    orphans = connection.execute(
        f"select count(*) from {tables.format('vectors')} as v where not exists "
        f"(select from {tables.format('records')} as r where r.pos = v.pos and r.seq = v.seq)"
    ).fetchall()
    return int(orphans[0][0])


def _shown(record: Record) -> dict[str, Any] | None:
    return record.metadata or ({} if record.uri is not None else None)


def _rows(matrix: Any) -> list[list[float] | None]:
    return [row.tolist() for row in matrix]


@pytest.mark.slow
def test_writes_agree_with_the_oracle_at_length(url: str) -> None:
    for _ in range(7):
        for indexes, way in product(INDEXES, WAYS):
            test_writes_agree_with_the_oracle(url, indexes, way)
