"""A long tail is indexed in parts, which queries use at once and which are merged afterwards."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from threading import Event
from typing import NoReturn

import numpy as np
import psycopg
import pytest

import pgchroma
from pgchroma.compactor import passes
from pgchroma.compactor import thread as compactor_thread
from pgchroma.compactor.runner import Compaction
from pgchroma.compactor.session import BuildInterruptedError
from pgchroma.compactor.thread import Compactor, _CollectionState
from tests.compactor.conftest import (
    DIMENSION,
    EAGER,
    SMALL,
    as_numbered,
    assert_at_rest,
    assert_right,
    compact,
    filled,
    indexes,
    more,
    searching,
    segments,
    vectors,
)
from tests.server_process import eventually

EAGERLY = pgchroma.Settings(pgchroma_segment_bytes=0)


def _lengths(url: str, collection: pgchroma.Collection) -> list[int]:
    return [end - first for _, _, first, end in segments(url, collection)]


def _covered(url: str, collection: pgchroma.Collection) -> int:
    """How many positions the segments that are ready cover."""
    return sum(end - first for _, is_ready, first, end in segments(url, collection) if is_ready)


def _specs(url: str, collection: pgchroma.Collection) -> set[tuple[int, int]]:
    with psycopg.connect(url) as plain:
        found = plain.execute(
            "select max_neighbors, ef_construction from pgchroma.segments where collection_id = %s",
            [collection.id],
        ).fetchall()
    return {(neighbors, candidates) for neighbors, candidates in found}


def test_a_long_tail_becomes_provisional_segments_one_by_one(
    url: str, client: pgchroma.ClientAPI
) -> None:
    collection, records = filled(client, count=700), as_numbered((0, 700))
    with Compaction(url, SMALL, Event()) as compaction:
        (tracked,) = compaction.collections({collection.id})
        for lengths in ([200], [200, 200], [200, 200, 200], [200, 200, 200, 100]):
            assert compaction.index_tail(tracked)
            assert _lengths(url, collection) == lengths
            assert_right(collection, records)
        assert not compaction.index_tail(tracked), "nothing is left"
        (tracked,) = compaction.collections({collection.id})
        assert tracked.has_stale
        assert _specs(url, collection) == {(8, 40)}
        plan = collection.explain(query_embeddings=vectors(1))
        assert (len(plan.segments), plan.tail_rows) == (4, 0)
        assert compaction.compact(tracked, is_idle=False)
        assert _lengths(url, collection) == [200, 200, 200, 100], "there are writers"
        assert compaction.compact(tracked)
        (tracked,) = compaction.collections({collection.id})
        assert not tracked.has_stale
    assert_at_rest(url, collection)
    assert _specs(url, collection) == {(16, 100)}
    assert_right(collection, records)


def test_a_tail_that_is_not_long_gets_no_provisional_segment(
    url: str, client: pgchroma.ClientAPI
) -> None:
    collection = filled(client, count=399)
    with Compaction(url, SMALL, Event()) as compaction:
        (tracked,) = compaction.collections({collection.id})
        assert not compaction.index_tail(tracked)
        assert indexes(url, collection) == {}
        assert compaction.compact(tracked, is_idle=False)
    assert _specs(url, collection) == {(16, 100)}


def test_a_pass_beside_writers_builds_one_part_and_ends(
    url: str, client: pgchroma.ClientAPI
) -> None:
    collection = filled(client, count=900)
    with Compaction(url, SMALL, Event()) as compaction:
        (tracked,) = compaction.collections({collection.id})
        assert compaction.compact(tracked, is_idle=False, is_bursting=True)
    assert _lengths(url, collection) == [200]
    assert_right(collection, as_numbered((0, 900)))


def test_everything_at_once_builds_no_parts(url: str, client: pgchroma.ClientAPI) -> None:
    collection = filled(client, count=900)
    compact(url)
    assert [name[-2:] for name in indexes(url, collection)] == ["_1"], "the first and only build"
    assert_at_rest(url, collection)


def test_a_growing_tail_is_left_until_it_has_the_rows_of_a_part(
    url: str, client: pgchroma.ClientAPI
) -> None:
    collection = filled(client, count=500)
    with Compaction(url, SMALL, Event()) as compaction:
        (tracked,) = compaction.collections({collection.id})
        lengths = []
        while compaction.index_tail(tracked, is_growing=True):
            lengths = _lengths(url, collection)
        assert lengths == [200, 200]
        assert compaction.index_tail(tracked), "the burst is over"
    assert _lengths(url, collection) == [200, 200, 100]
    assert_right(collection, as_numbered((0, 500)))


def test_a_collection_that_waits_after_an_error_is_not_polled_without_a_pause(
    url: str, client: pgchroma.ClientAPI, monkeypatch: pytest.MonkeyPatch
) -> None:
    collection = filled(client, count=900)
    compactor = Compactor(url, SMALL)
    polls = []

    def process(_: object) -> None:
        polls.append(time.monotonic())
        if len(polls) == 3:
            compactor._stop.set()

    state = _CollectionState(0.0, has_burst=True, not_before=time.monotonic() + 1000.0)
    compactor._active[collection.id] = state
    monkeypatch.setattr(compactor_thread, "POLL_SECONDS", 0.2)
    monkeypatch.setattr(compactor, "_process_due", process)
    with Compaction(url, SMALL, Event()) as compaction:
        compactor._poll(compaction)
    assert polls[2] - polls[0] >= 0.4


def test_parts_follow_deletions_and_new_embeddings(url: str, client: pgchroma.ClientAPI) -> None:
    collection, records = filled(client, count=800), as_numbered((0, 800))
    with Compaction(url, SMALL, Event()) as compaction:
        (tracked,) = compaction.collections({collection.id})
        assert compaction.index_tail(tracked)
        assert compaction.index_tail(tracked)
        collection.delete(ids=[str(n) for n in range(100)])
        moved = [str(n) for n in range(150, 300)]
        collection.update(ids=moved, embeddings=vectors(len(moved), seed=99))
        records = {id: row for id, row in records.items() if int(id) >= 100}
        records |= dict(zip(moved, vectors(len(moved), seed=99), strict=True))
        assert_right(collection, records)
        while compaction.index_tail(tracked):
            assert_right(collection, records)
        assert compaction.compact(tracked)
    assert_at_rest(url, collection)
    assert_right(collection, records)


def test_many_parts_find_the_nearest(url: str, client: pgchroma.ClientAPI) -> None:
    random = np.random.default_rng(3)
    centres = random.standard_normal((20, 32))
    rows = centres[random.integers(0, 20, 3000)] + random.standard_normal((3000, 32)) * 0.4
    queries = rows[::100] + random.standard_normal((30, 32)) * 0.1
    collection = client.create_collection("near", configuration=EAGER, embedding_function=None)
    collection.add(ids=[str(n) for n in range(3000)], embeddings=rows.astype(np.float32))
    with Compaction(url, SMALL, Event()) as compaction:
        (tracked,) = compaction.collections({collection.id})
        while compaction.index_tail(tracked):
            pass
    assert len(collection.explain(query_embeddings=queries[:1]).segments) > 10
    found = collection.query(query_embeddings=queries, n_results=10)["ids"]
    exact = ((rows[None] - queries[:, None]) ** 2).sum(axis=2).argsort(axis=1)[:, :10]
    hits = sum(
        len({int(id) for id in ids} & set(row)) for ids, row in zip(found, exact, strict=True)
    )
    assert hits >= 0.97 * exact.size


def test_a_client_indexes_a_burst_while_it_lasts(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compactor_thread, "POLL_SECONDS", 0.05)
    # The collection is never idle, and the burst never over.
    monkeypatch.setattr(compactor_thread, "IDLE_SECONDS", 1000.0)
    monkeypatch.setattr(compactor_thread, "BURST_WINDOW", 1e9)
    with pgchroma.PostgresClient(searching(url), EAGERLY) as client:
        collection = filled(client, count=900)
        eventually(lambda: _covered(url, collection) >= 800)
        assert _specs(url, collection) == {(8, 40)}
        more(collection, 500, start=900)
        eventually(lambda: _covered(url, collection) > 1300)
        assert _specs(url, collection) == {(8, 40)}
        assert_right(collection, as_numbered((0, 900), (900, 500)))
        monkeypatch.setattr(compactor_thread, "IDLE_SECONDS", 0.1)
        eventually(lambda: _specs(url, collection) == {(16, 100)})
        eventually(lambda: len(indexes(url, collection)) == 1)
        assert_right(collection, as_numbered((0, 900), (900, 500)))


def test_a_burst_is_indexed_beside_its_writers(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("POLL_SECONDS", "IDLE_SECONDS"):
        monkeypatch.setattr(compactor_thread, name, 0.05)
    with pgchroma.PostgresClient(searching(url), EAGERLY) as client:
        collection = filled(client, count=100)

        def write(first: int) -> None:
            for start in range(first, first + 1000, 100):
                more(collection, 100, start=start)

        writers = [threading.Thread(target=write, args=(first,)) for first in (1000, 5000)]
        for writer in writers:
            writer.start()
        for writer in writers:
            writer.join()
        eventually(lambda: _specs(url, collection) == {(16, 100)})
        eventually(lambda: collection.get_indexing_status().op_indexing_progress == 1.0)
        starts = [*range(1000, 2000, 100), *range(5000, 6000, 100)]
        assert_right(collection, as_numbered((0, 100), *((start, 100) for start in starts)))


@pytest.mark.heavy
def test_what_a_killed_client_left_of_a_burst_is_completed_by_another(
    url: str, client: pgchroma.ClientAPI, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("POLL_SECONDS", "IDLE_SECONDS"):
        monkeypatch.setattr(compactor_thread, name, 0.1)
    left, records = filled(client, count=900), as_numbered((0, 900))
    for step, when in (
        ("create index", "during"),
        ("create index", "after"),
        ("analyze", "before"),
    ):
        command = [sys.executable, "-m", "tests.compactor.kill_worker", url, step, when, "0"]
        done = subprocess.run(
            [*command, "in parts"], capture_output=True, text=True, check=False, timeout=60
        )
        assert done.returncode == -signal.SIGKILL, done.stderr
        assert_right(left, records)
    with pgchroma.PostgresClient(url, EAGERLY) as other:
        other.create_collection("another", embedding_function=None).add(
            ids="1", embeddings=[[1.0] * DIMENSION]
        )
        eventually(lambda: _specs(url, left) == {(16, 100)})
        eventually(lambda: len(indexes(url, left)) == 1)
    assert_at_rest(url, left)
    assert_right(left, records)


def test_provisional_segments_alone_are_a_reason_to_compact(
    url: str, client: pgchroma.ClientAPI, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("POLL_SECONDS", "IDLE_SECONDS"):
        monkeypatch.setattr(compactor_thread, name, 0.1)
    left = filled(client, count=500)
    with Compaction(url, SMALL, Event()) as compaction:
        (tracked,) = compaction.collections({left.id})
        while compaction.index_tail(tracked):
            pass
        # This records that everything was seen, so only the segments show what is left to do.
        assert compaction.compact(tracked, is_idle=False)
        (tracked,) = compaction.collections({left.id})
        assert not tracked.is_behind and not tracked.has_leftovers and tracked.has_stale
    with pgchroma.PostgresClient(url, EAGERLY) as other:
        other.create_collection("another", embedding_function=None).add(ids="1", embeddings=[1.0])
        eventually(lambda: _specs(url, left) == {(16, 100)})


def test_after_an_error_a_part_is_not_tried_again_at_once(
    url: str, client: pgchroma.ClientAPI, monkeypatch: pytest.MonkeyPatch
) -> None:
    collection = filled(client, count=900)
    compactor, state = Compactor(url, SMALL), _CollectionState(0.0)
    with Compaction(url, SMALL, Event()) as compaction:
        tracked = compaction.collections({collection.id})
        assert not compactor._process(compaction, tracked, state)
        has_burst = [state.has_burst]
        monkeypatch.setattr(passes, "build_segment", _interrupted)
        with pytest.raises(BuildInterruptedError):
            compactor._process(compaction, tracked, state)
    has_burst.append(state.has_burst)
    assert has_burst == [True, False]
    assert_right(collection, as_numbered((0, 900)))


def _interrupted(*_: object) -> NoReturn:
    raise BuildInterruptedError
