"""Data, checks of the compactor's results, and builds that do not end by themselves."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from threading import Event
from typing import Any

import numpy as np
import psycopg
import pytest
from psycopg.conninfo import make_conninfo

import pgchroma
from pgchroma.compactor import passes, session
from pgchroma.compactor.runner import Compaction
from pgchroma.compactor.settings import CompactionSettings
from pgchroma.store import resolved

DIMENSION = 8
SMALL = CompactionSettings(segment_bytes=0, memory=64 << 20)
"""Every tail that reaches `sync_threshold` gets an index."""

QUIET = pgchroma.Settings(allow_reset=True, pgchroma_compaction=False, pgchroma_segment_bytes=0)
"""Settings without a compactor: a test starts each build."""

EAGER: Any = {"hnsw": {"sync_threshold": 100, "batch_size": 10, "num_threads": 1}}


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Readers refresh with every call, and replaced indexes are dropped after a short pause."""
    monkeypatch.setattr(resolved, "FRESH_SECONDS", -1.0)
    monkeypatch.setattr(passes, "FRESH_SECONDS", 0.02)
    monkeypatch.setattr(session, "WATCH_SECONDS", 0.05)


@pytest.fixture
def client(url: str) -> Iterator[pgchroma.ClientAPI]:
    """A direct client without a compactor."""
    with pgchroma.PostgresClient(searching(url), QUIET) as direct:
        yield direct


def searching(url: str) -> str:
    """A connection string with which PostgreSQL uses an index even if sorting is faster."""
    return make_conninfo(url, options="-c enable_sort=off -c enable_seqscan=off")


@pytest.fixture
def superuser(url: str) -> Iterator[psycopg.Connection[Any]]:
    """A plain connection."""
    with psycopg.connect(url, autocommit=True) as plain:
        yield plain


def vectors(count: int, seed: int = 0) -> np.ndarray:
    """Embeddings, the same ones each time."""
    return np.random.default_rng(seed).standard_normal((count, DIMENSION)).astype(np.float32)


def filled(
    client: pgchroma.ClientAPI, name: str = "papers", count: int = 300, **settings: Any
) -> pgchroma.Collection:
    """A collection whose tail needs an index."""
    configuration: Any = {"hnsw": {**EAGER["hnsw"], **settings}}
    collection = client.create_collection(
        name, configuration=configuration, embedding_function=None
    )
    more(collection, count)
    return collection


def more(collection: pgchroma.Collection, count: int, start: int = 0) -> None:
    """Add records named for their numbers."""
    collection.add(
        ids=[str(n) for n in range(start, start + count)],
        embeddings=vectors(count, seed=start),
        metadatas=[{"number": n} for n in range(start, start + count)],
    )


def compact(
    url: str,
    settings: CompactionSettings = SMALL,
    *,
    names: tuple[str, ...] = (),
    merges_all: bool = True,
) -> None:
    """Compact collections until no work is left."""
    with Compaction(url, settings, Event()) as working:
        for each in working.collections():
            if not names or each.name in names:
                # Another compactor may have it, or be dead and PostgreSQL has not noticed yet.
                while not working.compact(each, merges_all=merges_all):
                    time.sleep(0.02)


def tables(collection: pgchroma.Collection) -> tuple[str, str]:
    """The names of a collection's records and vectors."""
    schema = "default_tenant__default_database"
    return f"{schema}.records_{collection.id.hex}", f"{schema}.vectors_{collection.id.hex}"


def indexes(url: str, collection: pgchroma.Collection) -> dict[str, bool]:
    """The compactor's indexes, and whether each is valid."""
    with psycopg.connect(url) as plain:
        found = plain.execute(
            "select c.relname::text, i.indisvalid from pg_index as i "
            "join pg_class as c on c.oid = i.indexrelid where c.relname ~ %s",
            [f"^(vectors_{collection.id.hex}_hnsw_|records_{collection.id.hex}_by_)"],
        ).fetchall()
    return dict(found)


def segments(url: str, collection: pgchroma.Collection) -> list[tuple[str, bool, int, int]]:
    """The catalog's segments: name, whether it is ready, first and end position."""
    with psycopg.connect(url) as plain:
        return plain.execute(
            "select index_name, is_ready, first_pos, end_pos from pgchroma.segments "
            "where collection_id = %s order by first_pos",
            [collection.id],
        ).fetchall()


def assert_at_rest(url: str, collection: pgchroma.Collection, count: int = 1) -> None:
    """Assert that the catalog and PostgreSQL agree, and that `count` segments cover the log."""
    found = segments(url, collection)
    there = {name: valid for name, valid in indexes(url, collection).items() if "_hnsw_" in name}
    assert there == {name: True for name, *_ in found}
    assert [is_ready for _, is_ready, *_ in found] == [True] * count
    for (*_, end), (_, _, first, _) in pairwise(found):
        assert end <= first
    _, vectors_table = tables(collection)
    with psycopg.connect(url) as plain:
        outside = plain.execute(
            f"select count(*) from {vectors_table} where not exists (select from "
            "pgchroma.segments as s where s.collection_id = %s and pos >= first_pos "
            "and pos < end_pos)",
            [collection.id],
        ).fetchone()
    assert outside == (0,)


def assert_right(collection: pgchroma.Collection, records: dict[str, np.ndarray]) -> None:
    """Assert that queries return existing records, their distances, and most of the nearest."""
    assert collection.count() == len(records)
    ids = list(records)
    matrix = np.array([records[id] for id in ids])
    found_of_best = 0
    queries = vectors(5, seed=4711)
    for wanted in (10, len(ids)):
        answer = collection.query(query_embeddings=queries, n_results=wanted)
        assert answer["distances"] is not None
        for query, found, distances in zip(
            queries, answer["ids"], answer["distances"], strict=True
        ):
            exact = ((matrix - query) ** 2).sum(axis=1)
            order = np.argsort(exact, kind="stable")[:wanted]
            assert len(found) == len(set(found)) == min(wanted, len(ids))
            there = {id: float(exact[position]) for position, id in enumerate(ids)}
            assert distances == pytest.approx([there[id] for id in found], rel=1e-4, abs=1e-5)
            assert distances == sorted(distances)
            if wanted == 10:
                found_of_best += len({ids[position] for position in order} & set(found))
            else:
                # No index returns this many, so the search is exact.
                assert set(found) == set(ids)
    assert found_of_best >= 0.9 * 10 * len(queries)


def as_numbered(*parts: tuple[int, int]) -> dict[str, np.ndarray]:
    """The records that `more` adds, by start and count."""
    return {
        str(start + n): row for start, count in parts for n, row in enumerate(vectors(count, start))
    }


@contextmanager
def lasting_builds(url: str) -> Iterator[Callable[[], bool]]:
    """Make builds wait until the context exits; yield a function that checks whether one waits.

    A snapshot of another session keeps ``create index concurrently`` from ending, and it locks
    no table.
    """
    with psycopg.connect(url) as holder, psycopg.connect(url, autocommit=True) as watch:
        holder.execute("set transaction isolation level repeatable read")
        holder.execute("select 1")

        def is_waiting() -> bool:
            found = watch.execute(
                "select exists (select from pg_stat_progress_create_index where "
                "phase = 'waiting for old snapshots' and datname = current_database())"
            ).fetchone()
            return bool(found and found[0])

        yield is_waiting
        holder.rollback()
