"""Tables in Markdown."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence


def short(number: float) -> str:
    """Write a number with three digits that count, or more before the point."""
    if math.isnan(number):
        return "–"
    return f"{number:,.0f}" if number >= 100 else f"{number:.3g}"


def table(header: Sequence[str], left: int, rows: Iterable[Sequence[str]]) -> str:
    """Return rows as a Markdown table; the first `left` columns are text, the others numbers."""
    rules = ["---" if column < left else "---:" for column in range(len(header))]
    lines = [header, rules, *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines) + "\n"
