"""The room that inserts leave in the pages of records, for new versions of their rows."""

from __future__ import annotations

import psycopg
import pytest

import pgchroma
from pgchroma.compactor import planner
from pgchroma.compactor.inspection import read_updates
from pgchroma.compactor.planner import choose_fillfactor
from pgchroma.compactor.state import Updates
from pgchroma.store import run
from pgchroma.store.layout.tables import CollectionTables
from tests.compactor.conftest import QUIET, compact, tables, vectors
from tests.older_layouts import SCHEMA

COUNT = 1_000
IDS = [str(n) for n in range(COUNT)]


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """A small collection is enough."""
    monkeypatch.setattr(planner, "MIN_MOVED", 10)


@pytest.mark.parametrize(
    ("updates", "expected"),
    [
        (Updates(100, 0, 0, 0), 85),
        # Scattered updates find room.
        (Updates(85, 10_000, 9_600, 400), 85),
        # Whole pages were updated.
        (Updates(85, 1_000, 200, 790), 50),
        (Updates(50, 9_000, 8_200, 790), 50),
        # Half of the records left their page, and so few are not worth it.
        (Updates(85, 1_000, 500, 499), 85),
        (Updates(85, 20, 2, 9), 85),
        # An indexed column changes with each update.
        (Updates(85, 2_000, 0, 1_700), 85),
    ],
)
def test_the_room_follows_the_updates(updates: Updates, expected: int) -> None:
    assert choose_fillfactor(COUNT, updates) == expected


def _filled(url: str) -> pgchroma.Collection:
    """A collection with an index of its documents."""
    with pgchroma.PostgresClient(url, QUIET) as client:
        papers = client.create_collection("papers", embedding_function=None)
        documents = [f"document number {n}, some text" for n in range(COUNT)]
        papers.add(ids=IDS, embeddings=vectors(COUNT), documents=documents)
    records, _ = tables(papers)
    with psycopg.connect(url) as plain:
        plain.execute(f"create index on {records} using gin (document gin_trgm_ops)")
    return papers


def _updates(url: str, papers: pgchroma.Collection) -> Updates:
    with psycopg.connect(url) as plain:
        found: Updates = run(plain, read_updates(CollectionTables(SCHEMA, papers.id)))
    return found


def _update(url: str, *, documents: bool = False) -> None:
    """Update each record, one after the other; the statistics are complete once it has ended."""
    with pgchroma.PostgresClient(url, QUIET) as client:
        papers = client.get_collection("papers", embedding_function=None)
        texts = [f"another {n}" for n in range(COUNT)] if documents else None
        papers.update(ids=IDS, embeddings=vectors(COUNT, seed=1), documents=texts)


def test_a_collection_that_is_updated_as_a_whole_gets_room_for_it(url: str) -> None:
    papers = _filled(url)
    assert _updates(url, papers) == Updates(85, 0, 0, 0)
    _update(url)
    before = _updates(url, papers)
    assert before.updated == COUNT
    assert before.moved > COUNT / 2
    compact(url, merges_all=False)
    assert _updates(url, papers).fillfactor == 50
    # The first of these still fills the pages that the setting applies to.
    for _ in range(3):
        with psycopg.connect(url, autocommit=True) as plain:
            plain.execute(f"vacuum {tables(papers)[0]}")
        before = _updates(url, papers)
        _update(url)
    after = _updates(url, papers)
    assert after.hot - before.hot > 0.9 * COUNT
    compact(url, merges_all=False)
    assert _updates(url, papers).fillfactor == 50


def test_new_documents_get_no_more_room(url: str) -> None:
    papers = _filled(url)
    _update(url, documents=True)
    assert _updates(url, papers).moved > COUNT / 2
    compact(url, merges_all=False)
    assert _updates(url, papers).fillfactor == 85


def test_a_table_of_an_earlier_version_gets_room(url: str) -> None:
    papers = _filled(url)
    with psycopg.connect(url) as plain:
        plain.execute(f"alter table {tables(papers)[0]} reset (fillfactor)")
    assert _updates(url, papers).fillfactor == 100
    compact(url, merges_all=False)
    assert _updates(url, papers).fillfactor == 85
