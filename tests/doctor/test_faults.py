"""Each fault is found by its name, and those that can be mended safely are gone after --fix."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

import pgchroma
from pgchroma.doctor.checks import compaction, sessions, vacuum, versions
from pgchroma.doctor.findings import Severity
from pgchroma.doctor.fixes import apply_fixes
from tests.doctor.conftest import QUIET, RECORDS, SCHEMA, Broken, embeddings, found
from tests.postgres import Postgres
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


def _set_pgvector(broken: Broken, version: str) -> None:
    broken.execute("update pg_extension set extversion = %s where extname = 'vector'", version)


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
        "drop view chroma.collections; drop function chroma.search; "
        "drop trigger copy_collection on pgchroma.segments; "
        "alter table pgchroma.collections disable trigger forget_collections"
    ),
    "catalog-copy": _lose_copy_entry,
    "orphan-vectors": _orphan,
    "wrong-count": lambda b: b.execute("insert into {schema}.counts_{key} values (-9999, 7, 0)"),
    "unmerged-counts": lambda b: b.execute(
        "insert into {schema}.counts_{key} select -n, 0, 0 from generate_series(1, 700) as n"
    ),
    "sequence-behind": lambda b: b.execute("select setval('{schema}.log_{key}', 1)"),
    "sparse-changes": _write_sparse,
    "invalid-index": _leave_invalid,
    "compaction-error": lambda b: b.execute(
        "update pgchroma.collections set index_error = 'No space left' where id = %s", b.id
    ),
}
"""What breaks something that --fix mends, by the name of the check. All are in one database."""

FIXED_BY_COMPACTION: dict[str, Plant] = {
    "missing-index": _drop_index,
    "unfinished-build": lambda b: b.execute("update pgchroma.segments set is_ready = false"),
    "unindexed-tail": lambda b: b.papers(_add),
    "dead-entries": lambda b: b.papers(_delete),
    "unknown-index": lambda b: b.execute("delete from pgchroma.segments"),
}
"""What breaks the index, each in a database of its own."""

NOT_FIXED: dict[tuple[str, ...], list[Plant]] = {
    ("missing-schema", "unlisted-schema"): [
        lambda b: b.execute("alter schema {schema} rename to elsewhere")
    ],
    ("missing-table",): [lambda b: b.execute("drop table {schema}.counts_{key}")],
    (
        "autovacuum",
        "dangling-records",
        "duplicate-index",
        "extension-behind",
        "leftover-tables",
    ): [
        lambda b: b.execute("alter table {schema}.records_{key} set (autovacuum_enabled = off)"),
        lambda b: b.execute(
            "delete from {schema}.vectors_{key} "
            "where pos = (select min(pos) from {schema}.vectors_{key})"
        ),
        lambda b: b.execute("create index again on {schema}.records_{key} (id)"),
        lambda b: _set_pgvector(b, "0.8.4"),
        lambda b: b.execute("create table {schema}.records_" + "a" * 32 + " (seq bigint)"),
    ],
    ("pgvector-version", "layout-version"): [
        lambda b: _set_pgvector(b, "0.7.4"),
        lambda b: b.execute("update pgchroma.collections set layout_version = 1"),
    ],
    ("pgvector-bugs",): [lambda b: _set_pgvector(b, "0.8.3")],
    ("catalog-tables",): [lambda b: b.execute("drop table pgchroma.segments cascade")],
}
"""What breaks something that only its owner can mend. Faults of one entry are in one database."""


def test_an_unbroken_database_has_none_of_the_faults(url: str) -> None:
    # The tests' server is not made for data that matters.
    assert set(found(url)) == {"durability"}


def test_faults_are_found_and_mended_together(broken: Broken) -> None:
    for plant in FIXED.values():
        plant(broken)
    _assert_found_and_mended(broken, *FIXED)


@pytest.mark.parametrize("name", FIXED_BY_COMPACTION)
def test_a_broken_index_is_found_and_mended(name: str, broken: Broken) -> None:
    FIXED_BY_COMPACTION[name](broken)
    _assert_found_and_mended(broken, name)


def _assert_found_and_mended(broken: Broken, *names: str) -> None:
    before = found(broken.url)
    assert set(names) <= before.keys()
    for fault in [fault for name in names for fault in before[name]]:
        assert fault.severity is not Severity.INFO
        assert fault.fix and fault.what and fault.cost and fault.command
    outcomes = apply_fixes(broken.url, QUIET, [f for faults in before.values() for f in faults])
    assert [outcome for outcome in outcomes if outcome.obstacle] == []
    assert found(broken.url).keys() == {"durability"}
    broken.papers(_still_works)


def _still_works(papers: pgchroma.Collection) -> None:
    answer = papers.query(query_embeddings=embeddings(1, seed=9), n_results=5)
    assert len(answer["ids"][0]) == 5
    assert papers.count() == len(papers.get(include=[])["ids"])


@pytest.mark.parametrize("names", NOT_FIXED, ids=" ".join)
def test_faults_are_found(names: tuple[str, ...], broken: Broken) -> None:
    for plant in NOT_FIXED[names]:
        plant(broken)
    findings = found(broken.url)
    for fault in [fault for name in names for fault in findings[name]]:
        assert fault.severity is not Severity.INFO
        assert fault.what and fault.cost and fault.command
        assert fault.fix is None


def test_embeddings_that_a_record_may_have_lost_are_kept(broken: Broken) -> None:
    broken.execute("update {schema}.records_{key} set pos = 77777 where id = 'id3'")
    findings = found(broken.url)
    (dangling,) = findings["dangling-records"]
    assert broken.connection.execute(dangling.command.encode()).fetchall() == [("id3",)]
    assert [fault.fix for fault in findings["orphan-vectors"]] == [None]


def test_tables_of_an_earlier_reembedding_are_found(broken: Broken) -> None:
    broken.execute("create table {schema}.vectors_{key}_77 (like {schema}.vectors_{key})")
    broken.execute("create table {schema}.spare_{key}_78 (like {schema}.vectors_{key})")
    faults = found(broken.url)["leftover-tables"]
    assert [fault.command for fault in faults] == [
        f'drop table "{SCHEMA}"."spare_{broken.key}_78"',
        f'drop table "{SCHEMA}"."vectors_{broken.key}_77"',
    ]
    for fault in faults:
        broken.connection.execute(fault.command.encode())
    assert "leftover-tables" not in found(broken.url)


def test_a_table_in_the_place_of_a_view_stays(broken: Broken) -> None:
    broken.execute("drop view {schema}.papers; create table {schema}.papers (n int)")
    (fault,) = found(broken.url)["missing-view"]
    assert fault.fix is None
    assert fault.command.startswith("alter table")


def test_embeddings_of_a_running_reembedding_are_no_leftovers(broken: Broken) -> None:
    broken.execute("create table {schema}.spare_{key}_78 (like {schema}.vectors_{key})")
    broken.execute(
        "insert into pgchroma.reembeddings (collection_id, generation, configuration, dimension, "
        "created_at) select id, 78, configuration, dimension, now() - interval '3 days' "
        "from pgchroma.collections where id = %s",
        broken.id,
    )
    findings = found(broken.url)
    assert "leftover-tables" not in findings
    (pending,) = findings["pending-embeddings"]
    assert pending.severity is Severity.INFO
    assert pending.figures == {"days": 3}


def test_a_newer_layout_is_found(broken: Broken) -> None:
    broken.execute("update pgchroma.collections set layout_version = 99")
    (fault,) = found(broken.url)["layout-version"]
    assert fault.command == "pip install --upgrade pgchroma"


def test_a_newer_catalog_that_this_version_works_with_is_examined(broken: Broken) -> None:
    broken.execute("update pgchroma.alembic_version set version_num = '9999'")
    broken.execute("drop view {schema}.papers")
    findings = found(broken.url)
    assert [fault.severity for fault in findings["catalog-revision"]] == [Severity.INFO]
    assert "missing-view" in findings
    assert "not-checked" not in findings


def test_objects_of_a_newer_catalog_are_not_replaced_by_older_ones(broken: Broken) -> None:
    _lose_copy_entry(broken)
    broken.execute("update pgchroma.alembic_version set version_num = '9999'")
    broken.execute("drop function chroma.search")
    findings = found(broken.url)
    assert "catalog-objects" not in findings
    (outcome,) = apply_fixes(broken.url, QUIET, findings["catalog-copy"])
    assert "newer than this code's" in (outcome.obstacle or "")


def test_missing_functions_are_named(broken: Broken) -> None:
    broken.execute("drop function chroma.search; drop function chroma._rounded")
    (fault,) = found(broken.url)["catalog-objects"]
    assert fault.what == "views or functions are missing: search, _rounded"


@pytest.mark.parametrize("revision", ["0001", "9999", None])
def test_another_revision_of_the_catalog_stops_the_checks_that_need_it(
    revision: str | None, broken: Broken
) -> None:
    broken.execute("delete from pgchroma.alembic_version")
    broken.execute("comment on table pgchroma.alembic_version is null")
    if revision is not None:
        broken.execute("insert into pgchroma.alembic_version values (%s)", revision)
    findings = found(broken.url)
    assert [fault.severity for fault in findings["catalog-revision"]] == [Severity.ERROR]
    assert len(findings["not-checked"]) == 1
    assert "check-failed" not in findings


def test_a_database_without_a_catalog_says_so(empty_url: str) -> None:
    findings = found(empty_url)
    assert findings["catalog-revision"][0].command == "pgchroma migrate"
    assert findings["pgvector-version"][0].severity is Severity.ERROR
    assert "trigrams" in findings
    assert "check-failed" not in findings


def test_versions_that_cannot_be_planted(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(versions, "MIN_POSTGRES", 990_000)
    monkeypatch.setattr(vacuum, "MAX_AGE", 0)
    findings = found(url)
    assert findings["postgres-version"][0].severity is Severity.ERROR
    assert findings["wraparound"][0].severity is Severity.WARNING


def test_what_no_compactor_has_seen_is_found(
    broken: Broken, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("MIN_PENDING", "MANY_PENDING"):
        monkeypatch.setattr(compaction, name, 50)
    assert "not-compacted" not in found(broken.url)
    broken.papers(_add)
    findings = found(broken.url)["not-compacted"]
    assert [(fault.severity, fault.figures["operations"]) for fault in findings] == [
        (Severity.WARNING, 150)
    ]
    apply_fixes(broken.url, QUIET, findings)
    assert "not-compacted" not in found(broken.url)


def test_statistics_are_found_and_updated(broken: Broken, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vacuum, "MIN_ANALYZED_ROWS", 100)
    monkeypatch.setattr(vacuum, "MIN_DEAD_ROWS", 50)
    with pgchroma.PostgresClient(broken.url, QUIET) as client:
        letters = client.create_collection("letters", embedding_function=None)
        letters.add(ids=[str(n) for n in range(150)], embeddings=[[1.0]] * 150)
        letters.delete(ids=[str(n) for n in range(100)])
        letters.add(ids=[str(n) for n in range(60)], embeddings=[[1.0]] * 60)

    def seen() -> bool:
        return {"never-analyzed", "dead-rows"} <= found(broken.url, names=["letters"]).keys()

    # A session reports its statistics when it ends.
    eventually(seen)
    findings = found(broken.url, names=["letters"])
    apply_fixes(broken.url, QUIET, findings["never-analyzed"])
    left = found(broken.url, names=["letters"])
    assert "never-analyzed" not in left
    for fault in left["dead-rows"]:
        broken.connection.execute(fault.command.encode())
    assert "dead-rows" not in found(broken.url, names=["letters"])


def test_sessions_that_hold_up_others_are_found(
    broken: Broken, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sessions, "LONG_SECONDS", 0)
    monkeypatch.setattr(sessions, "BLOCKED_SECONDS", 0)
    with psycopg.connect(broken.url) as holder, psycopg.connect(broken.url) as waiter:
        pids = [session.info.backend_pid for session in (holder, waiter)]
        holder.execute(f"lock table {SCHEMA}.papers in access exclusive mode".encode())
        waiting = threading.Thread(
            target=waiter.execute, args=(f"select 1 from {SCHEMA}.papers".encode(),)
        )
        waiting.start()
        try:
            eventually(lambda: "blocked-session" in found(broken.url, names=["empty"]))
            findings = found(broken.url, names=["empty"])
        finally:
            holder.rollback()
            waiting.join()
    subjects = {fault.subject for fault in findings["long-transaction"]}
    assert f"process {pids[0]}" in subjects
    (blocked,) = findings["blocked-session"]
    assert blocked.subject == f"process {pids[1]}"
    assert blocked.command == f"select pg_terminate_backend({pids[0]})"


def test_a_database_of_another_encoding_is_found(server: Postgres) -> None:
    with psycopg.connect(server.conninfo, autocommit=True) as connection:
        connection.execute(
            "create database ascii template template0 encoding 'SQL_ASCII' locale 'C'"
        )
        try:
            findings = found(make_conninfo(server.conninfo, dbname="ascii"))
        finally:
            connection.execute("drop database ascii with (force)")
    assert "encoding 'UTF8'" in findings["encoding"][0].command
