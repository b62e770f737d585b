"""pg_trgm: reported when it is missing, used once it is installed; and the SQL for review."""

from __future__ import annotations

import logging
import re
import subprocess
import time
from collections.abc import Callable

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

import pgchroma
from pgchroma.compactor import planner
from pgchroma.compactor import thread as compactor
from pgchroma.embedded.host import binaries
from tests.administration.conftest import QUIET, command
from tests.compactor.conftest import compact

MISSING = "run: create extension pg_trgm"


def _shape(url: str) -> str:
    """All there is in a database, as pg_dump writes it."""
    dump = [str(binaries() / "pg_dump"), "--exclude-schema=pg_*", f"--dbname={url}"]
    text = subprocess.run(dump, capture_output=True, text=True, check=True).stdout
    # What differs from dump to dump, and times and random ids in rows.
    text = re.sub(r"^\\(un)?restrict .*$", "", text, flags=re.MULTILINE)
    return re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d[.\d]*\+00", "<time>", text)


@pytest.mark.heavy
def test_the_sql_for_review_is_what_migrate_runs(url: str, empty_url: str) -> None:
    printed = command("migrate", "--sql").stdout
    assert "create extension if not exists pg_trgm" in printed
    with psycopg.connect(empty_url, autocommit=True) as plain:
        plain.execute(printed.encode())
    assert _shape(empty_url) == _shape(url)


@pytest.mark.heavy
def test_the_sql_for_review_is_whole_or_not_at_all(empty_url: str) -> None:
    with psycopg.connect(empty_url, autocommit=True) as plain:
        plain.execute("create schema chroma")
        plain.execute("create table chroma.precious (x int)")
        with pytest.raises(psycopg.Error):
            plain.execute(command("migrate", "--sql").stdout.encode())
        plain.execute("rollback")
        found = plain.execute("select to_regnamespace('pgchroma')").fetchone()
    assert found == (None,)


@pytest.fixture
def asked(url: str, monkeypatch: pytest.MonkeyPatch) -> pgchroma.ClientAPI:
    """A client with a collection whose documents filters keep searching, without pg_trgm."""
    monkeypatch.setattr(planner, "MIN_INDEXED", 10)
    with psycopg.connect(url, autocommit=True) as plain:
        plain.execute("drop extension pg_trgm")
    with pgchroma.PostgresClient(url, QUIET) as client:
        papers = client.create_collection("papers", embedding_function=None)
        papers.add(
            ids=[str(n) for n in range(20)],
            embeddings=[[float(n)] for n in range(20)],
            documents=[f"document {n}" for n in range(20)],
        )
    with psycopg.connect(url, autocommit=True) as plain:
        plain.execute(
            "insert into pgchroma.secondary_indexes (collection_id, kind, key, asked) "
            "select id, 'trigrams', '', 10 from pgchroma.collections"
        )
    return pgchroma.PostgresClient(url, QUIET)


def _has_index(url: str) -> bool:
    with psycopg.connect(url) as plain:
        found = plain.execute(
            "select exists (select from pg_class where relname ~ '^records_.*_by_trig')"
        ).fetchone()
    return found == (True,)


def test_status_compact_and_log_name_the_missing_extension(
    url: str, asked: pgchroma.ClientAPI, caplog: pytest.LogCaptureFixture
) -> None:
    with asked, caplog.at_level(logging.WARNING, "pgchroma.compaction"):
        papers = asked.get_collection("papers", embedding_function=None)
        assert papers.get_indexing_status().error is None
        for _ in range(3):
            compact(url)
            assert MISSING in str(papers.get_indexing_status().error)
        assert caplog.text.count(MISSING) == 1
        with psycopg.connect(url, autocommit=True) as plain:
            plain.execute('create schema "Ext"')
            plain.execute('create extension pg_trgm schema "Ext"')
        compact(url)
        assert papers.get_indexing_status().error is None
        assert _has_index(url)


@pytest.mark.heavy
def test_the_command_says_it(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with psycopg.connect(url, autocommit=True) as plain:
        plain.execute("drop extension pg_trgm")
    with pgchroma.PostgresClient(url, QUIET) as client:
        papers = client.create_collection("papers", embedding_function=None)
        papers.add(
            ids=[str(n) for n in range(planner.MIN_INDEXED)],
            embeddings=[[1.0]] * planner.MIN_INDEXED,
            documents=["text"] * planner.MIN_INDEXED,
        )
    with psycopg.connect(url, autocommit=True) as plain:
        plain.execute(
            "insert into pgchroma.secondary_indexes (collection_id, kind, key, asked) "
            "select id, 'trigrams', '', 10 from pgchroma.collections"
        )
    done = command("compact", "--url", url)
    assert "papers: filters keep searching its documents" in done.stdout
    assert MISSING in done.stdout
    command("migrate", "--url", url)
    assert MISSING not in command("compact", "--url", url).stdout
    assert _has_index(url)


def test_a_compactor_takes_it_up_when_it_appears(
    url: str, asked: pgchroma.ClientAPI, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked.close()
    monkeypatch.setattr(compactor, "SCAN_SECONDS", 0.2)
    monkeypatch.setattr(compactor, "IDLE_SECONDS", 0.1)
    settings = pgchroma.Settings(pgchroma_segment_bytes=1 << 40)
    with pgchroma.PostgresClient(url, settings) as client:
        papers = client.get_collection("papers", embedding_function=None)
        papers.update(ids=["1"], metadatas=[{"n": 1}])
        _await(lambda: MISSING in str(papers.get_indexing_status().error))
        with psycopg.connect(url, autocommit=True) as plain:
            plain.execute("create extension pg_trgm")
        _await(lambda: _has_index(url))
        _await(lambda: papers.get_indexing_status().error is None)


def _await(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_user_who_may_not_create_it_is_warned(
    empty_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    name = "app_" + str(conninfo_to_dict(empty_url)["dbname"])[-8:]
    with psycopg.connect(empty_url, autocommit=True) as owner:
        owner.execute("create extension vector")
        owner.execute(f"create role {name} login")
        for schema in ("pgchroma", "chroma", "default_tenant__default_database"):
            owner.execute(f"create schema {schema} authorization {name}")
        with (
            caplog.at_level(logging.WARNING, "pgchroma.catalog"),
            pgchroma.PostgresClient(make_conninfo(empty_url, user=name), QUIET) as client,
        ):
            assert client.count_collections() == 0
        owner.execute(f"drop owned by {name}")
        owner.execute(f"drop role {name}")
    assert "pg_trgm is not created" in caplog.text
