"""Each fault is found by its name, and those that can be mended safely are gone after --fix."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import psycopg
import pytest

import pgchroma
from pgchroma.doctor.checks import compaction, sessions, vacuum, versions
from pgchroma.doctor.findings import Severity
from pgchroma.doctor.fixes import apply_fixes
from tests.doctor.conftest import QUIET, RECORDS, Broken, embeddings, found
from tests.server_process import eventually

Plant = Callable[[Broken], object]


def _hnsw(broken: Broken) -> str:
    (name,) = broken.execute("select index_name from pgchroma.segments")[0]
    return str(name)


def _drop_index(broken: Broken) -> None:
    broken.execute(f"drop index {{schema}}.{_hnsw(broken)}")


def _leave_invalid(broken: Broken) -> None:
    broken.execute("create index vectors_{key}_hnsw_999 on {schema}.vectors_{key} (seq)")
    broken.execute(
        "update pg_index set indisvalid = false "
        "where indexrelid = '{schema}.vectors_{key}_hnsw_999'::regclass"
    )


def _lose_copy_entry(broken: Broken) -> None:
    broken.execute('delete from {schema}."~catalog" where id = %s', broken.id)


def _orphan(broken: Broken) -> None:
    broken.execute(
        "insert into {schema}.vectors_{key} (pos, seq, embedding) select 100000 + n, n, "
        "(select embedding from {schema}.vectors_{key} limit 1) from generate_series(1, 3) as n"
    )


def _write_sparse(broken: Broken) -> None:
    schema = pgchroma.Schema().create_index(pgchroma.SparseVectorIndexConfig(), key="terms")
    with pgchroma.PostgresClient(broken.url, QUIET) as client:
        sparse = client.create_collection("sparse", schema=schema, embedding_function=None)
        terms: list[Any] = [
            {"terms": pgchroma.SparseVector(indices=[n % 7], values=[1.0])} for n in range(1_000)
        ]
        sparse.add(ids=[str(n) for n in range(1_000)], embeddings=[[1.0]] * 1_000, metadatas=terms)


def _add(papers: pgchroma.Collection) -> None:
    papers.add(ids=[f"new{n}" for n in range(150)], embeddings=embeddings(150, seed=1))


def _delete(papers: pgchroma.Collection) -> None:
    papers.delete(ids=[f"id{n}" for n in range(RECORDS // 2)])


FIXED: dict[str, Plant] = {
    "missing-view": lambda b: b.execute("drop view {schema}.papers"),
    "discarded-schema": lambda b: b.execute(
        'create schema "pgchroma:discarded:1"; create table "pgchroma:discarded:1".t (n int)'
    ),
    "catalog-objects": lambda b: b.execute(
        "drop view chroma.collections; drop trigger copy_collection on pgchroma.segments; "
        "alter table pgchroma.collections disable trigger forget_collections"
    ),
    "catalog-copy": _lose_copy_entry,
    "orphan-vectors": _orphan,
    "wrong-count": lambda b: b.execute("insert into {schema}.counts_{key} values (-1, 7, 0)"),
    "unmerged-counts": lambda b: b.execute(
        "insert into {schema}.counts_{key} select -n, 0, 0 from generate_series(1, 700) as n"
    ),
    "sequence-behind": lambda b: b.execute("select setval('{schema}.log_{key}', 1)"),
    "sparse-changes": _write_sparse,
    "invalid-index": _leave_invalid,
    "missing-index": _drop_index,
    "unfinished-build": lambda b: b.execute("update pgchroma.segments set is_ready = false"),
    "unindexed-tail": lambda b: b.papers(_add),
    "dead-entries": lambda b: b.papers(_delete),
    "unknown-index": lambda b: b.execute("delete from pgchroma.segments"),
    "compaction-error": lambda b: b.execute(
        "update pgchroma.collections set index_error = 'No space left' where id = %s", b.id
    ),
}
"""What breaks something that --fix mends, by the name of the check."""

NOT_FIXED: dict[str, Plant] = {
    "missing-schema": lambda b: b.execute("alter schema {schema} rename to elsewhere"),
    "unlisted-schema": lambda b: b.execute("alter schema {schema} rename to elsewhere"),
    "missing-table": lambda b: b.execute("drop table {schema}.counts_{key}"),
    "leftover-tables": lambda b: b.execute(
        "create table {schema}.records_" + "a" * 32 + " (seq bigint)"
    ),
    "dangling-records": lambda b: b.execute(
        "delete from {schema}.vectors_{key} where pos = (select min(pos) from {schema}.vectors_{key})"
    ),
    "duplicate-index": lambda b: b.execute("create index again on {schema}.records_{key} (id)"),
    "autovacuum": lambda b: b.execute(
        "alter table {schema}.records_{key} set (autovacuum_enabled = off)"
    ),
    "pgvector-version": lambda b: b.execute(
        "update pg_extension set extversion = '0.8.0' where extname = 'vector'"
    ),
    "extension-behind": lambda b: b.execute(
        "update pg_extension set extversion = '0.8.4' where extname = 'vector'"
    ),
    "catalog-tables": lambda b: b.execute("drop table pgchroma.segments"),
    "catalog-revision": lambda b: b.execute(
        "update pgchroma.alembic_version set version_num = '0001'"
    ),
    "layout-version": lambda b: b.execute("update pgchroma.collections set layout_version = 1"),
}
"""What breaks something that only its owner can mend."""


@pytest.mark.parametrize("name", FIXED)
def test_a_fault_is_found_and_mended(name: str, broken: Broken) -> None:
    assert name not in found(broken.url)
    FIXED[name](broken)
    before = found(broken.url)
    faults = before[name]
    assert all(fault.severity is not Severity.INFO for fault in faults)
    assert all(fault.fix and fault.what and fault.cost and fault.command for fault in faults)
    outcomes = apply_fixes(broken.url, QUIET, [f for faults in before.values() for f in faults])
    assert [outcome for outcome in outcomes if outcome.obstacle] == []
    after = found(broken.url)
    assert name not in after
    assert not {"check-failed", "not-checked"} & after.keys()
    broken.papers(_still_works)


def _still_works(papers: pgchroma.Collection) -> None:
    answer = papers.query(query_embeddings=embeddings(1, seed=9), n_results=5)
    assert len(answer["ids"][0]) == 5
    assert papers.count() == len(papers.get(include=[])["ids"])


@pytest.mark.parametrize("name", NOT_FIXED)
def test_a_fault_is_found(name: str, broken: Broken) -> None:
    assert name not in found(broken.url)
    NOT_FIXED[name](broken)
    faults = found(broken.url)[name]
    assert all(fault.severity is not Severity.INFO and fault.fix is None for fault in faults)
    assert all(fault.what and fault.cost and fault.command for fault in faults)
