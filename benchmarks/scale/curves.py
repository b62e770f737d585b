"""Recall against time: the time of a search at a recall, interpolated between settings."""

from __future__ import annotations

import math

from scale.reading import CURVE
from scale.results import Measured

TARGET = 0.98
Point = tuple[float, float]
"""Recall and milliseconds."""


def points(measured: Measured, peer: str) -> list[Point]:
    """Return a peer's curve, by rising ef_search; empty if it was not measured."""
    found = measured.results.get(peer, {}).get("curve", {})
    return [
        (found[f"{ef_search} recall"], found[f"{ef_search} time p50"])
        for ef_search in CURVE
        if f"{ef_search} recall" in found
    ]


def common_recall(measured: Measured, peers: tuple[str, ...]) -> float:
    """Return `TARGET`, or the most that all of the peers reach."""
    curves = [points(measured, peer) for peer in peers]
    if not all(curves):
        return math.nan
    return min(TARGET, *(max(recall for recall, _ in curve) for curve in curves))


def milliseconds(curve: list[Point], target: float) -> float:
    """Return the time at which a recall is reached.

    Times between two settings are interpolated by their logarithms. If the lowest setting
    exceeds the recall, its time is returned.
    """
    before: Point | None = None
    for recall, time in curve:
        if recall >= target:
            if before is None or recall == before[0]:
                return time
            part = (target - before[0]) / (recall - before[0])
            return math.exp((1 - part) * math.log(before[1]) + part * math.log(time))
        before = recall, time
    return math.nan


def ratio(measured: Measured, peer: str) -> float:
    """Divide pgchroma's time at equal recall by a peer's."""
    target = common_recall(measured, ("pgchroma", peer))
    ours, theirs = (milliseconds(points(measured, name), target) for name in ("pgchroma", peer))
    return ours / theirs
