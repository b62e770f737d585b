"""Segments and secondary indexes built by compaction, and how they follow the settings."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import psycopg
import pytest

import pgchroma
from pgchroma.compactor import bookkeeping, planner
from pgchroma.compactor.settings import CompactionSettings
from pgchroma.store.layout.segments import build_memory_per_row
from tests.compactor.conftest import (
    DIMENSION,
    SMALL,
    as_numbered,
    assert_at_rest,
    assert_right,
    compact,
    filled,
    indexes,
    more,
    segments,
    tables,
    vectors,
)


def test_a_tail_becomes_a_segment_and_queries_use_it(url: str, client: pgchroma.ClientAPI) -> None:
    collection = filled(client)
    compact(url)
    assert_at_rest(url, collection)
    plan = collection.explain(query_embeddings=vectors(1))
    assert (plan.strategy, len(plan.segments), plan.tail_rows) == ("index", 1, 0)
    assert_right(collection, as_numbered((0, 300)))
    status = collection.get_indexing_status()
    assert (status.op_indexing_progress, status.error) == (1.0, None)


def test_what_is_written_later_is_found_behind_the_segments_and_merged(
    url: str, client: pgchroma.ClientAPI
) -> None:
    collection = filled(client)
    compact(url)
    more(collection, 90, start=300)
    assert_right(collection, as_numbered((0, 300), (300, 90)))
    compact(url, merges_all=False)
    assert len(segments(url, collection)) == 1, "the tail is not due"
    more(collection, 90, start=390)
    compact(url)
    assert_at_rest(url, collection)
    assert_right(collection, as_numbered((0, 300), (300, 90), (390, 90)))


def test_a_small_collection_gets_no_index(url: str, client: pgchroma.ClientAPI) -> None:
    collection, empty = filled(client, count=99), client.create_collection("empty")
    compact(url)
    assert indexes(url, collection) == indexes(url, empty) == {}
    assert collection.get_indexing_status().op_indexing_progress == 1.0
    assert collection.explain(query_embeddings=vectors(1)).strategy == "exact"


@pytest.mark.parametrize(
    "change", [{"max_neighbors": 8}, {"quantization": "halfvec"}, {"quantization": "bit"}]
)
def test_changed_settings_rebuild_the_index(
    url: str, client: pgchroma.ClientAPI, change: dict[str, Any]
) -> None:
    collection = filled(client)
    compact(url)
    before = indexes(url, collection)
    configuration: Any = {"hnsw": change}
    collection.modify(configuration=configuration)
    assert_right(collection, as_numbered((0, 300)))
    compact(url, merges_all=False)
    assert_at_rest(url, collection)
    assert not before.keys() & indexes(url, collection).keys()
    if change != {"quantization": "bit"}:
        # The signs of eight numbers are not enough to find the neighbors reliably.
        assert_right(collection, as_numbered((0, 300)))
    plan = collection.explain(query_embeddings=vectors(1))
    assert plan.strategy == "index", plan.plan


def test_ef_search_takes_effect_at_once_and_builds_nothing(
    url: str, client: pgchroma.ClientAPI
) -> None:
    collection = filled(client)
    compact(url)
    before = indexes(url, collection)
    collection.modify(configuration={"hnsw": {"ef_search": 37}})
    plan = client.get_collection("papers").explain(query_embeddings=vectors(1))
    assert plan.settings["hnsw.ef_search"] == "37"
    compact(url)
    assert indexes(url, collection) == before


def test_a_segment_with_many_dead_rows_is_rebuilt(url: str, client: pgchroma.ClientAPI) -> None:
    collection = filled(client)
    compact(url)
    before = indexes(url, collection)
    collection.delete(where={"number": {"$lt": 50}})
    compact(url)
    assert indexes(url, collection) == before, "a sixth is not much"
    collection.delete(where={"number": {"$lt": 100}})
    records = {id: row for id, row in as_numbered((0, 300)).items() if int(id) >= 100}
    assert_right(collection, records)
    compact(url)
    assert_at_rest(url, collection)
    assert indexes(url, collection).keys() != before.keys()
    assert_right(collection, records)
    collection.delete(ids=list(records))
    compact(url)
    assert indexes(url, collection) == {}
    assert segments(url, collection) == []
    assert collection.query(query_embeddings=vectors(1))["ids"] == [[]]


def test_a_range_whose_index_was_dropped_by_hand_is_read_and_gets_another(
    url: str, client: pgchroma.ClientAPI, superuser: psycopg.Connection[Any]
) -> None:
    collection = filled(client, count=900)
    compact(url)
    more(collection, 100, start=900)
    compact(url, merges_all=False)
    assert len(segments(url, collection)) == 2
    first = segments(url, collection)[0][0]
    superuser.execute(f'drop index default_tenant__default_database."{first}"')
    assert_right(collection, as_numbered((0, 900), (900, 100)))
    compact(url)
    assert_at_rest(url, collection)
    assert_right(collection, as_numbered((0, 900), (900, 100)))


def _memory_for(rows: int, neighbors: int = 16) -> CompactionSettings:
    return replace(SMALL, memory=rows * build_memory_per_row(DIMENSION, "none", neighbors))


def test_little_memory_gives_several_segments(url: str, client: pgchroma.ClientAPI) -> None:
    collection = filled(client, count=1000)
    compact(url, _memory_for(350))
    assert_at_rest(url, collection, count=3)
    assert_right(collection, as_numbered((0, 1000)))
    compact(url)
    assert_at_rest(url, collection)


def test_a_segment_for_which_memory_is_short_by_now_is_rebuilt_in_pieces(
    url: str, client: pgchroma.ClientAPI
) -> None:
    collection = filled(client, count=1000)
    compact(url)
    collection.modify(configuration={"hnsw": {"max_neighbors": 20}})
    compact(url, _memory_for(400, neighbors=20))
    assert_at_rest(url, collection, count=3)
    assert_right(collection, as_numbered((0, 1000)))


def test_while_a_long_segment_is_rebuilt_in_pieces_nothing_is_found_twice(
    url: str, client: pgchroma.ClientAPI, monkeypatch: pytest.MonkeyPatch
) -> None:
    collection = filled(client, count=1000)
    compact(url)
    collection.modify(configuration={"hnsw": {"max_neighbors": 20}})
    finish, seen = bookkeeping.finish_build, []

    def finishing(*given: Any) -> Any:
        found = yield from finish(*given)
        fresh = client.get_collection("papers")
        fresh.get_indexing_status()
        assert_right(fresh, as_numbered((0, 1000)))
        seen.append(len(segments(url, collection)))
        return found

    monkeypatch.setattr(bookkeeping, "finish_build", finishing)
    compact(url, _memory_for(400, neighbors=20))
    assert len(seen) == 3


def test_a_late_commit_within_a_segment_is_found(
    url: str, client: pgchroma.ClientAPI, superuser: psycopg.Connection[Any]
) -> None:
    collection = filled(client)
    records, vectors_table = tables(collection)
    late = vectors(1, seed=99)[0]
    with psycopg.connect(url) as slow:
        slow.execute(
            f"with place as (select nextval('default_tenant__default_database.log_"
            f"{collection.id.hex}') as n), r as (insert into {records} (seq, pos, id, created_at, "
            f"updated_at) select n, n, 'late', now(), now() from place), c as (insert into "
            f"{records.replace('records_', 'counts_')} select nextval('default_tenant__default_"
            f"database.log_{collection.id.hex}'), 1) insert into {vectors_table} "
            "(pos, seq, embedding) select n, n, %s::vector from place",
            [str(late.tolist())],
        )
        more(collection, 100, start=300)
        # A build waits for writers, so the segment exists before this one commits.
        superuser.execute(
            "insert into pgchroma.segments (collection_id, first_pos, end_pos, index_name, "
            "quantization, max_neighbors, ef_construction, entries, is_ready) "
            "values (%s, 1, 1000, 'none', 'none', 16, 100, 400, true)",
            [collection.id],
        )
        assert_right(collection, as_numbered((0, 300), (300, 100)))
        slow.commit()
    expected = as_numbered((0, 300), (300, 100)) | {"late": late}
    assert_right(collection, expected)
    compact(url)
    assert_at_rest(url, collection)
    assert_right(collection, expected)


def test_cosine_finds_embeddings_without_a_direction_across_segments(
    url: str, client: pgchroma.ClientAPI
) -> None:
    collection = filled(client, count=300, space="cosine")
    zero = np.zeros((1, DIMENSION), dtype=np.float32)
    collection.add(ids=["zero"], embeddings=zero)
    compact(url)
    assert_at_rest(url, collection)
    found = collection.query(query_embeddings=vectors(1), n_results=301)
    assert found["distances"] is not None
    assert dict(zip(found["ids"][0], found["distances"][0], strict=True))["zero"] == 1.0
    collection.delete(where={"number": {"$gte": 0}})
    assert collection.query(query_embeddings=zero, n_results=3)["ids"] == [["zero"]]


def test_secondary_indexes_come_when_filters_ask_and_go_when_they_are_broken(
    url: str,
    client: pgchroma.ClientAPI,
    superuser: psycopg.Connection[Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(planner, "MIN_INDEXED", 100)
    collection = filled(client)
    superuser.execute(
        "insert into pgchroma.secondary_indexes (collection_id, kind, key, asked) "
        "values (%s, 'number', 'number', 10), (%s, 'trigrams', '', 10), (%s, 'value', 'x', 9)",
        [collection.id] * 3,
    )
    compact(url)
    named = [name for name in indexes(url, collection) if "_by_" in name]
    assert len(named) == 2
    assert collection.get(where={"number": {"$gte": 295}})["ids"] == [
        str(n) for n in range(295, 300)
    ]
    superuser.execute(
        "update pg_index set indisvalid = false where indexrelid = "
        f"'default_tenant__default_database.{named[0]}'::regclass"
    )
    compact(url)
    assert indexes(url, collection)[named[0]]
    superuser.execute(f"drop index default_tenant__default_database.{named[0]}")
    compact(url)
    assert indexes(url, collection)[named[0]]
