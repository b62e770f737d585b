"""The parts that read a collection at rest.

Each is called for several turns, so that the peers take turns in short order.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from scale.dataset import DOCSTRINGS
from scale.filters import Filter, contains_filters, document_filters, metadata_filters
from scale.ground_truth import nearest, recall
from scale.peers.interface import EF_SEARCH
from scale.session import Measures, Session, timed

ASKED = 100
"""How many queries a turn of a search makes."""

MANY = 50
"""How many queries one call contains."""

CURVE = (20, 40, 70, 100, 150, 200, 300, 400)
"""The values of ef_search of a curve, one per turn."""

WARMING = 30
"""How often a filter is used before it is timed: often enough to get an index."""

FILTERED, GOT, COUNTED = 20, 5, 20
IDS = 10
"""How many records a get by ids asks for."""


def query(session: Session, turn: int) -> Measures:
    """Search with the default settings."""
    return searched(session, turn)


def curve(session: Session, turn: int) -> Measures:
    """Search with one setting of ef_search; the last turn restores the default."""
    ef_search = CURVE[turn]
    session.peer.set_ef_search(ef_search)
    timed(session.peer.search(query) for query in session.queries[:20])
    found = searched(session, 0)
    if turn == len(CURVE) - 1:
        session.peer.set_ef_search(EF_SEARCH)
        session.peer.search(session.queries[0])()
    return {f"{ef_search} {name}": value for name, value in found.items()}


def fifty(session: Session, turn: int) -> Measures:
    """Ask many queries in one call, and one by one."""
    first = turn * MANY % len(session.queries)
    queries = session.queries[first : first + MANY]
    together, _ = timed([session.peer.search_many(queries)])
    apart, _ = timed(session.peer.search(query) for query in queries)
    return {"one call": together, "50 calls": [sum(apart)]}


def filters(session: Session, turn: int) -> Measures:
    """Search with filters; the first turn only uses each of them often."""
    found = metadata_filters(len(session.data))
    if session.data.name != DOCSTRINGS and session.peer.searches_documents:
        found |= contains_filters(session.data)
    if turn == 0:
        for filter in found.values():
            timed(_filtered(session, filter, range(WARMING)))
        return {}
    results: Measures = {}
    for name, filter in found.items():
        numbers = range(turn * FILTERED, (turn + 1) * FILTERED)
        times, ids = timed(_filtered(session, filter, numbers))
        results[f"{name} time"] = times
        results[f"{name} recall"] = float(
            np.mean(
                [
                    recall([got], _truth(session, filter, number), session.data.ids)
                    for got, number in zip(ids, numbers, strict=True)
                ]
            )
        )
    return results


def documents(session: Session, turn: int) -> Measures:
    """Get by document filters and by metadata; the first turn is as for `filters`."""
    by_metadata = metadata_filters(len(session.data))
    names = ("equality 1 %", "range 1 %")
    found = {f"get, {name}": by_metadata[name] for name in names}
    if session.data.name != DOCSTRINGS:
        found |= document_filters(session.data)
    results: Measures = {}
    for name, filter in found.items():
        calls = WARMING if turn == 0 else GOT
        numbers = range(turn * WARMING, turn * WARMING + calls)
        results[f"{name} time"], counts = timed(session.peer.get(filter(n)) for n in numbers)
        results[f"{name} matches"] = float(np.mean(counts))
    return results if turn else {}


def by_ids(session: Session, turn: int) -> Measures:
    """Get records by their ids, other ones at each call."""
    random = np.random.default_rng(turn)
    picked = random.choice(len(session.data), (COUNTED, IDS), replace=False)
    calls = [session.peer.get_by_ids([session.data.ids[n] for n in row]) for row in picked]
    times, counts = timed(calls)
    assert set(counts) == {IDS}, counts
    return {"time": times}


def count(session: Session, _: int) -> Measures:
    """Count."""
    times, _counts = timed([session.peer.count] * COUNTED)
    return {"time": times}


def searched(session: Session, turn: int) -> Measures:
    """Search with the current settings; compute recall from the current records."""
    numbers = [(turn * ASKED + n) % len(session.queries) for n in range(ASKED)]
    queries = session.queries[numbers]
    times, ids = timed(session.peer.search(query) for query in queries)
    return {
        "time": times,
        "recall": recall(ids, nearest(session.live, queries), session.data.ids),
    }


def _filtered(session: Session, filter: Filter, numbers: range) -> list[Callable[[], Any]]:
    queries = session.queries
    return [session.peer.search_where(queries[n % len(queries)], filter(n)) for n in numbers]


def _truth(session: Session, filter: Filter, number: int) -> np.ndarray:
    query = session.queries[number % len(session.queries)]
    return nearest(session.live, query[None], filter(number).matching)
