"""Versions of pgvector with bugs in HNSW indexes: what triggers the bugs is never done.

The version is what the extension's row in the catalog of PostgreSQL says. `make test-versions` runs
these tests with such versions themselves, where they can be built.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

import pgchroma
from pgchroma.compactor import planner
from pgchroma.compactor.state import Inspection, SegmentRow
from pgchroma.store.layout.pgvector import PgvectorVersion
from pgchroma.store.layout.segments import segment_prefix
from tests.compactor.conftest import (
    as_numbered,
    assert_at_rest,
    assert_right,
    compact,
    filled,
    tables,
)
from tests.compactor.test_rules import COLLECTION, SPEC

OLD = ("0.8.0", "0.8.1", "0.8.2", "0.8.3")


def test_the_versions_differ_in_what_may_be_done() -> None:
    allowed = {
        text: (version.builds_in_parallel, version.vacuums_indexes)
        for text in (*OLD, "0.8.4", "0.9.0-dev", "1.0")
        if (version := PgvectorVersion.parse(text))
    }
    assert allowed == {
        "0.8.0": (False, False),
        "0.8.1": (False, False),
        "0.8.2": (True, False),
        "0.8.3": (True, False),
        "0.8.4": (True, True),
        "0.9.0-dev": (True, True),
        "1.0": (True, True),
    }


def test_indexes_are_vacuumed_by_an_old_version_only_if_none_is_hnsw() -> None:
    old, new = PgvectorVersion.parse("0.8.2"), PgvectorVersion.parse("0.8.4")
    name = segment_prefix(COLLECTION.tables) + "7"
    segment = SegmentRow(7, 1, 100, name, 99, is_ready=True, spec=SPEC, live=99)
    indexed = Inspection((segment,), frozenset({name}))
    assert planner.vacuums_indexes(COLLECTION, indexed, new)
    assert not planner.vacuums_indexes(COLLECTION, indexed, old)
    # An index that an interrupted build left behind is vacuumed like any other.
    assert not planner.vacuums_indexes(COLLECTION, Inspection(invalid=frozenset({name})), old)
    assert planner.vacuums_indexes(COLLECTION, Inspection(), old)


@pytest.fixture
def old(url: str) -> Iterator[psycopg.Connection[Any]]:
    """A connection to a database with an old version, unless the server's own is old."""
    with psycopg.connect(url, autocommit=True) as plain:
        plain.execute(
            "update pg_extension set extversion = '0.8.1'"
            " where extname = 'vector' and extversion <> all(%s)",
            [list(OLD)],
        )
        yield plain


def test_an_old_version_builds_with_one_process_and_never_vacuums_an_index(
    url: str,
    client: pgchroma.ClientAPI,
    old: psycopg.Connection[Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ran: list[tuple[str, Any]] = []
    execute = psycopg.Cursor.execute

    def noted(self: Any, query: Any, params: Any = None, **more: Any) -> Any:
        ran.append((str(query), params))
        return execute(self, query, params, **more)

    monkeypatch.setattr(psycopg.Cursor, "execute", noted)
    papers = filled(client, num_threads=4)
    compact(url)
    papers.delete(ids=[str(n) for n in range(0, 300, 2)])
    compact(url)
    assert_at_rest(url, papers)
    notices: list[str] = []
    old.add_notice_handler(lambda notice: notices.append(f"{notice.message_detail}"))
    old.add_notice_handler(lambda notice: notices.append(f"{notice.message_primary}"))
    old.execute(f"vacuum (verbose) {tables(papers)[1]}".encode())
    assert any("vectors_" in text for text in notices), notices
    assert not any("_hnsw_" in text for text in notices), notices
    everything = as_numbered((0, 300))
    assert_right(papers, {str(n): everything[str(n)] for n in range(1, 300, 2)})
    workers = [
        given["value"]
        for _, given in ran
        if isinstance(given, dict) and given.get("name") == "max_parallel_maintenance_workers"
    ]
    assert len(workers) >= 2
    assert set(workers) == ({"3"} if _version(old).builds_in_parallel else {"0"})
    vacuums = [query for query, _ in ran if "vacuum (index_cleanup" in query]
    assert vacuums
    assert all("index_cleanup off" in query for query in vacuums), vacuums


def test_after_an_update_of_pgvector_the_dead_entries_are_vacuumed(
    url: str, client: pgchroma.ClientAPI, old: psycopg.Connection[Any]
) -> None:
    papers = filled(client)
    compact(url)
    papers.delete(ids=[str(n) for n in range(0, 300, 2)])
    compact(url)
    assert _dead_items(old, papers) >= 150
    if _version(old) == PgvectorVersion((0, 8, 1)):
        old.execute("update pg_extension set extversion = '0.8.6' where extname = 'vector'")
        papers.delete(ids=[str(n) for n in range(1, 300, 4)])
        compact(url)
        assert _dead_items(old, papers) == 0


def _dead_items(connection: psycopg.Connection[Any], collection: pgchroma.Collection) -> int:
    """Vacuum the table of embeddings without its indexes, and return its dead item identifiers."""
    notices: list[str] = []
    connection.add_notice_handler(lambda notice: notices.append(f"{notice.message_primary}"))
    connection.execute(f"vacuum (verbose, index_cleanup off) {tables(collection)[1]}".encode())
    found = re.search(r"(\d+) dead item identifiers", "\n".join(notices))
    return int(found[1]) if found else 0


def _version(connection: psycopg.Connection[Any]) -> PgvectorVersion:
    found = connection.execute("select extversion from pg_extension where extname = 'vector'")
    return PgvectorVersion.parse(str(next(found)[0]))
