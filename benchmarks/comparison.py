"""Two sides' results over some rounds, as a table with their ratios and goals."""

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
    """A bound for the ratio of the second side to the first; if absolute, for its own number."""

    sign: str
    bound: float
    absolute: bool = False

    def verdict(self, ours: float, ratio: float) -> str:
        """Return the goal, and whether it is met."""
        met = COMPARE[self.sign](ours if self.absolute else ratio, self.bound)
        of_what = "itself " if self.absolute else ""
        return f"{of_what}{self.sign} {self.bound:g} {'✓' if met else '✗'}"


def table(rounds: dict[str, list[Results]], goals: Mapping[str, Goal]) -> str:
    """Lay the medians, their ratios and the ratios' range over the rounds out.

    Args:
        rounds: The peer's rounds and pgchroma's, by their labels, in this order.
        goals: By operation.
    """
    peer, ours = rounds
    lines = [
        f"| operation | records | {peer} | {ours} | ÷ {peer} | rounds | goal |",
        "|---|---:|---:|---:|---:|---:|---|",
    ]
    for key in dict.fromkeys([*rounds[ours][0], *rounds[peer][0]]):
        theirs, own = ([r[key] for r in results if key in r] for results in rounds.values())
        numbers = [statistics.median(n) if n else math.nan for n in (theirs, own)]
        ratios = [b / a for a, b in zip(theirs, own, strict=False) if a]
        ratio = numbers[1] / numbers[0] if numbers[0] else math.nan
        spread = f"{min(ratios):.2f}–{max(ratios):.2f}" if ratios else "–"
        goal = goals.get(key[0])
        cells = [*key, *map(short, [*numbers, ratio]), spread]
        cells.append(goal.verdict(numbers[1], ratio) if goal else "")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"
