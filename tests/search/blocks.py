"""Compaction of sparse vectors in tests, and a check of what is stored."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event
from typing import Any
from unittest.mock import patch

import psycopg

import pgchroma
from pgchroma.compactor import planner, sparse, state
from pgchroma.compactor.runner import Compaction
from pgchroma.compactor.settings import CompactionSettings
from pgchroma.store.encoding.sparse import decode_sparse
from pgchroma.store.layout.sparse import CHUNK_SLOTS

__all__ = ("assert_all_consistent", "assert_words_consistent", "compact_sparse", "small_blocks")

SCHEMA = "default_tenant__default_database"


@contextmanager
def small_blocks(slots: int = 8) -> Iterator[None]:
    """Make blocks of a few vectors, and of any number of changes."""
    with (
        patch.object(sparse, "BLOCK_SLOTS", slots),
        patch.object(state, "BLOCK_SLOTS", slots),
        patch.multiple(planner, MIN_BLOCK=slots, MIN_IDLE_BLOCK=1, MIN_REMOVED=slots),
    ):
        yield


def compact_sparse(
    place: str | Compaction, collection: pgchroma.Collection, *, merges_all: bool = False
) -> None:
    """Compact a collection's sparse vectors, in a database or in an open session."""
    if isinstance(place, str):
        with Compaction(place, CompactionSettings(segment_bytes=1 << 40), Event()) as compaction:
            compact_sparse(compaction, collection, merges_all=merges_all)
        return
    for each in place.collections({collection.id}):
        steps = sparse.compact_sparse(each, is_idle=True, merges_all=merges_all)
        place._session.run_interruptible(each, steps)


def assert_all_consistent(connection: psycopg.Connection[Any], id: str, keys: int) -> None:
    """Assert that every vector is where it has to be, and that the blocks agree with the vectors.

    Args:
        connection: A connection to the database.
        id: The collection's id, in hexadecimal digits.
        keys: How many keys have an index.
    """
    for number in range(keys):
        _assert_consistent(connection, id, number)


def assert_words_consistent(connection: psycopg.Connection[Any], id: str, number: int = 0) -> None:
    """Do the same for the full-text index, whose tables have this number.

    A document that is not in a block need not have a vector.
    """
    name = f"{SCHEMA}.sparse_{id}_{number}"
    owned = _dict(
        connection,
        f"select sparse_{number}, seq from {SCHEMA}.records_{id} where sparse_{number} is not null",
    )
    documents = f"select seq, seq from {SCHEMA}.records_{id} where document is not null"
    assert sorted(owned.values()) == sorted(_dict(connection, documents))
    vectors = _vectors(connection, name)
    changes = connection.execute(f"select is_removed, pos, seq from {name}_changes").fetchall()
    added = {pos: seq for is_removed, pos, seq in changes if not is_removed}
    removed = {pos for is_removed, pos, _ in changes if is_removed}
    assert len(changes) == len(added) + len(removed)
    known = {pos: seq for pos, (seq, _) in vectors.items()} | added
    assert owned == {pos: seq for pos, seq in known.items() if pos not in removed}
    slots = _slots(connection, name)
    placed = [pos for pos in slots.values() if pos in vectors]
    assert len(placed) == len(set(placed))
    assert not added.keys() & set(placed)
    _assert_blocks(connection, name, slots, {pos: terms for pos, (_, terms) in vectors.items()})


def _assert_consistent(connection: psycopg.Connection[Any], id: str, number: int) -> None:
    name = f"{SCHEMA}.sparse_{id}_{number}"
    owned = _dict(
        connection,
        f"select sparse_{number}, seq from {SCHEMA}.records_{id} where sparse_{number} is not null",
    )
    vectors = _vectors(connection, name)
    assert owned == {pos: seq for pos, (seq, _) in vectors.items() if pos in owned}
    changes = connection.execute(f"select is_removed, pos from {name}_changes").fetchall()
    assert len(changes) == len(set(changes))
    added = {pos for is_removed, pos in changes if not is_removed}
    removed = {pos for is_removed, pos in changes if is_removed}
    # A vector without a record waits to be removed, and nothing else does.
    assert vectors.keys() - owned.keys() == removed
    slots = _slots(connection, name)
    placed = [pos for pos in slots.values() if pos in vectors]
    assert len(placed) == len(set(placed))
    assert not added & set(placed)
    assert vectors.keys() == added | set(placed)
    _assert_blocks(connection, name, slots, {pos: terms for pos, (_, terms) in vectors.items()})


def _assert_blocks(
    connection: psycopg.Connection[Any],
    name: str,
    slots: dict[tuple[int, int], int],
    vectors: dict[int, dict[int, float]],
) -> None:
    stored: dict[tuple[int, int, int], float] = {}
    counts: Counter[tuple[int, int]] = Counter()
    rows = connection.execute(
        "select w.block, t.term, t.vectors, t.greatest::text, t.weights::text "
        f"from {name}_weights as w "
        "cross join unnest(w.terms, w.vectors, w.greatest, w.weights) "
        "as t (term, vectors, greatest, weights)"
    ).fetchall()
    leasts = f"select from {name}_weights where least <> (select min(t) from unnest(terms) as t)"
    assert connection.execute(leasts).fetchall() == []
    for block, term, count, greatest, text in rows:
        pairs = [pair.split(":") for pair in text[1 : text.index("}")].split(",")]
        assert len(pairs) == count
        assert float(greatest) == max(float(value) for _, value in pairs)
        stored |= {(block, int(slot), term): float(value) for slot, value in pairs}
        counts[block, term] += count
    for block, term, count in connection.execute(
        f"select block, term, vectors from {name}_removed"
    ).fetchall():
        counts[block, term] -= count
    expected = {
        (block, slot, term): value
        for (block, slot), pos in slots.items()
        for term, value in vectors.get(pos, {}).items()
    }
    assert expected == {place: stored[place] for place in expected}
    assert +counts == Counter((block, term) for block, _, term in expected)
    blocks = connection.execute(
        f"select block, vectors, removed, coalesce(mask, '{{}}/8192')::text from {name}_blocks"
    ).fetchall()
    for block, count, gone, mask in blocks:
        in_block = {slot: pos for (number, slot), pos in slots.items() if number == block}
        masked = {int(pair.split(":")[0]) for pair in mask[1 : mask.index("}")].split(",") if pair}
        assert (len(in_block), len(masked)) == (count, gone)
        assert masked == {slot for slot, pos in in_block.items() if pos not in vectors}
    assert {block for block, _ in slots} == {block for block, *_ in blocks}


def _dict(connection: psycopg.Connection[Any], query: str) -> dict[int, int]:
    return dict(connection.execute(query).fetchall())


def _vectors(
    connection: psycopg.Connection[Any], name: str
) -> dict[int, tuple[int, dict[int, float]]]:
    """Return the owner and the terms of each vector, by its position."""
    parts = ", ".join(f"sparsevec_send(p{part})" for part in range(5))
    rows = connection.execute(f"select pos, seq, {parts} from {name}").fetchall()
    decoded = decode_sparse([row[2:] for row in rows], [None] * len(rows))
    return {
        pos: (seq, dict(zip(terms["indices"], terms["values"], strict=True)))
        for (pos, seq, *_), terms in zip(rows, decoded, strict=True)
        if terms is not None
    }


def _slots(connection: psycopg.Connection[Any], name: str) -> dict[tuple[int, int], int]:
    """Return the position of the vector in each slot of each block."""
    rows = connection.execute(f"select block, chunk, positions from {name}_slots").fetchall()
    return {
        (block, chunk * CHUNK_SLOTS + slot): pos
        for block, chunk, positions in rows
        for slot, pos in enumerate(positions, start=1)
    }
