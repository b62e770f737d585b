"""Embeddings that belong to no record are deleted, in small and in large collections."""

from __future__ import annotations

from threading import Event

import psycopg
import pytest

import pgchroma
from pgchroma.compactor import thread as compactor_thread
from pgchroma.compactor.runner import Compaction
from tests.compactor.conftest import SMALL, as_numbered, assert_right, compact, filled, tables
from tests.server_process import eventually


def _leave_behind(url: str, collection: pgchroma.Collection) -> None:
    """Add orphaned embeddings, as concurrent writers of one record may leave them."""
    _, vectors = tables(collection)
    with psycopg.connect(url, autocommit=True) as plain:
        plain.execute(
            f"insert into {vectors} (pos, seq, embedding) select 1000000 + n, n, "
            f"(select embedding from {vectors} where pos = 1) from generate_series(1, 10) as n"
        )


def _count(url: str, collection: pgchroma.Collection) -> int:
    _, vectors = tables(collection)
    with psycopg.connect(url) as plain:
        row = plain.execute(f"select count(*) from {vectors}").fetchone()
    assert row is not None
    return int(row[0])


def _compact_idle(url: str) -> None:
    with Compaction(url, SMALL, Event()) as working:
        for each in working.collections():
            assert working.compact(each, is_idle=True)


@pytest.mark.parametrize("count", [20, 300])
def test_orphans_of_an_idle_collection_are_deleted(
    url: str, client: pgchroma.ClientAPI, count: int
) -> None:
    collection = filled(client, count=count)
    compact(url)
    _leave_behind(url, collection)
    _compact_idle(url)
    assert _count(url, collection) == count
    assert_right(collection, as_numbered((0, count)))


def test_orphans_in_segments_are_deleted_if_there_are_more_embeddings_than_records(
    url: str, client: pgchroma.ClientAPI
) -> None:
    collection = filled(client)
    collection.delete(ids="5")
    compact(url)
    _, vectors = tables(collection)
    with psycopg.connect(url, autocommit=True) as plain:
        (gap,) = plain.execute(
            f"insert into {vectors} (pos, seq, embedding) select n, 77, array_fill(1, array[8])"
            f"::vector from generate_series(1, 300) as n where n not in (select pos from {vectors})"
            " limit 1 returning pos"
        ).fetchone() or (0,)
    assert 0 < gap <= 300, "within the segment"
    _compact_idle(url)
    assert _count(url, collection) == 299


def test_the_thread_deletes_orphans_of_a_small_collection(
    url: str, client: pgchroma.ClientAPI, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("POLL_SECONDS", "IDLE_SECONDS"):
        monkeypatch.setattr(compactor_thread, name, 0.1)
    collection = filled(client, count=20)
    _leave_behind(url, collection)
    with pgchroma.PostgresClient(url) as other:
        other.get_collection("papers", embedding_function=None).delete(ids="3")
        eventually(lambda: _count(url, collection) == 19)
