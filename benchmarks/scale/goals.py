"""The goals, and the figure that decides each."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from dataclasses import dataclass

from scale import curves
from scale.results import Measured

COMPARE = {"≥": operator.ge, "≤": operator.le, "=": operator.eq}
PARTS = ("10 %", "1 %", "0.1 %")
"""The fraction of the records that a filter matches."""


@dataclass(frozen=True)
class Goal:
    """A target for a figure.

    Attributes:
        figure: Takes the results of one workload; returns NaN if they do not have the figure.
    """

    name: str
    sign: str
    bound: float
    figure: Callable[[Measured], float]

    def met(self, figure: float) -> bool:
        """Whether a figure meets the target."""
        return bool(COMPARE[self.sign](figure, self.bound))


def ratio(
    part: str, measure: str, peer: str = "chromadb", theirs: str = ""
) -> Callable[..., float]:
    """Divide a measure of pgchroma by a peer's, perhaps under another name."""

    def figure(measured: Measured) -> float:
        other = measured.value(peer, part, theirs or measure)
        return measured.value("pgchroma", part, measure) / other if other else math.nan

    return figure


def itself(part: str, measure: str) -> Callable[[Measured], float]:
    """Use pgchroma's own measure."""
    return lambda measured: measured.value("pgchroma", part, measure)


def within(part: str, measure: str, than: str) -> Callable[[Measured], float]:
    """Divide one of pgchroma's own numbers by another."""
    return lambda measured: (
        measured.value("pgchroma", part, measure) / measured.value("pgchroma", part, than)
    )


def worst(
    pick: Callable[..., float], *figures: Callable[[Measured], float]
) -> Callable[..., float]:
    """Pick the largest or the smallest of some figures; of those which were measured."""

    def figure(measured: Measured) -> float:
        found = [number for each in figures if not math.isnan(number := each(measured))]
        return pick(found) if found else math.nan

    return figure


def _filtered(part: str) -> Goal:
    names = (f"equality {part}", f"range {part}")
    figure = worst(max, *(ratio("filters", f"{name} time p50") for name in names))
    return Goal(f"filter of {part}, p50 ÷ chromadb", "≤", 0.25, figure)


def _got(name: str, *measures: str) -> Goal:
    figure = worst(max, *(ratio("documents", f"{measure} time p50") for measure in measures))
    return Goal(f"{name}, p50 ÷ chromadb", "≤", 0.3, figure)


RECALLS = [f"{kind} {part} recall" for kind in ("equality", "range") for part in PARTS]

GOALS = (
    Goal("ingest, rows/s ÷ chromadb", "≥", 15, ratio("load", "rows/s")),
    Goal(
        "ingest, rows/s ÷ binary COPY",
        "≥",
        0.6,
        ratio("load", "rows/s", "psycopg", "limit rows/s"),
    ),
    Goal("until fully indexed ÷ chromadb", "≤", 1, ratio("load", "indexed s")),
    Goal("query, recall@10 by default", "≥", 0.98, itself("query", "recall")),
    Goal(
        "query at equal recall, p50 ÷ SQL by hand",
        "≤",
        1.15,
        lambda measured: curves.ratio(measured, "psycopg"),
    ),
    Goal(
        "query at equal recall, p50 ÷ chromadb",
        "≤",
        1.5,
        lambda measured: curves.ratio(measured, "chromadb"),
    ),
    *(
        Goal(
            f"query beside a writing {writer}, p50 ÷ at rest",
            "≤",
            3,
            within("ingesting", f"beside a {writer} time p50", "at rest time p50"),
        )
        for writer in ("process", "thread")
    ),
    Goal("50 queries in one call ÷ chromadb", "≤", 1, ratio("fifty", "one call p50")),
    *(_filtered(part) for part in PARTS),
    Goal(
        "filters, least recall@10",
        "≥",
        0.99,
        worst(min, *(itself("filters", measure) for measure in RECALLS)),
    ),
    _got("$contains", "$contains, rare", "$contains, common"),
    _got("$regex", "$regex, rare", "$regex, common"),
    _got("get by metadata", "get, equality 1 %", "get, range 1 %"),
    Goal("count, p50 ÷ chromadb", "≤", 0.5, ratio("count", "time p50")),
    Goal("upsert, rows/s ÷ chromadb", "≥", 50, ratio("upsert", "rows/s")),
    Goal("churn, recall@10 afterwards", "≥", 0.98, itself("churn", "recall")),
    Goal("churn, unreachable records", "=", 0, itself("churn", "unreachable")),
    Goal("disk at rest ÷ chromadb", "≤", 1.5, ratio("disk", "at rest, without WAL")),
    Goal(
        "left after delete_collection ÷ at rest",
        "≤",
        0.02,
        within("disk", "dropped, without WAL", "at rest, without WAL"),
    ),
    Goal(
        "8 threads ÷ 1 thread, queries/s",
        "≥",
        1.6,
        within("concurrency", "threads: 8", "threads: 1"),
    ),
)

FLAT = 1.5
"""How much longer a count may take in the largest collection than in the smallest."""


def growth_of_count(found: list[Measured], data: str) -> float:
    """Divide the time of a count in the largest collection by that in the smallest."""
    times = [
        time
        for measured in found
        if measured.workload.data == data
        and not math.isnan(time := measured.value("pgchroma", "count", "time p50"))
    ]
    return times[-1] / times[0] if len(times) > 1 else math.nan
