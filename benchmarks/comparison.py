"""Some sides' results over some rounds, as a table with their ratios and goals."""

from __future__ import annotations

import math
import operator
import statistics
from collections.abc import Mapping
from dataclasses import dataclass

from tables import short

COMPARE = {"≥": operator.ge, "≤": operator.le, "<": operator.lt}

Results = dict[tuple[str, str], float]
"""Operation and collection size to number."""


@dataclass(frozen=True)
class Goal:
    """A bound for the ratio of a side to the first; if absolute, for its own number."""

    sign: str
    bound: float
    absolute: bool = False

    def verdict(self, ours: float, ratio: float) -> str:
        """Return the goal, and whether it is met."""
        met = COMPARE[self.sign](ours if self.absolute else ratio, self.bound)
        of_what = "itself " if self.absolute else ""
        return f"{of_what}{self.sign} {self.bound:g} {'✓' if met else '✗'}"


def table(rounds: dict[str, list[Results]], goals: Mapping[str, Mapping[str, Goal]]) -> str:
    """Lay out the medians, their ratios to the first side's, and the ratios' range over the rounds.

    Args:
        rounds: Each side's rounds by its label; the peer's are the first.
        goals: By the label of the side, and by operation.
    """
    peer, *others = rounds
    head = ["operation", "records", peer]
    for label in others:
        head += [label, f"÷ {peer}", "rounds", "goal"]
    lines = [
        f"| {' | '.join(head)} |",
        f"|---|{'---:|' * 2}{'---:|---:|---:|---|' * len(others)}",
    ]
    for key in dict.fromkeys(key for label in (*others, peer) for key in rounds[label][0]):
        theirs = _numbers(rounds[peer], key)
        cells = [*key, short(_median(theirs))]
        for label in others:
            goal = goals.get(label, {}).get(key[0])
            cells += _compared(theirs, _numbers(rounds[label], key), goal)
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _compared(theirs: list[float], own: list[float], goal: Goal | None) -> list[str]:
    """Return the cells of a side: its median, the ratio, the ratio's range and the verdict."""
    number, base = _median(own), _median(theirs)
    ratios = [b / a for a, b in zip(theirs, own, strict=False) if a]
    ratio = number / base if base else math.nan
    spread = f"{min(ratios):.2f}–{max(ratios):.2f}" if ratios else "–"
    return [short(number), short(ratio), spread, goal.verdict(number, ratio) if goal else ""]


def _numbers(rounds: list[Results], key: tuple[str, str]) -> list[float]:
    return [results[key] for results in rounds if key in results]


def _median(numbers: list[float]) -> float:
    return statistics.median(numbers) if numbers else math.nan
