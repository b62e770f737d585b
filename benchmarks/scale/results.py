"""The results, kept as JSON: one file for each round of each size of each data set."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

Results = dict[str, dict[str, dict[str, float]]]
"""Peer to part to measure to number."""


@dataclass(frozen=True, order=True)
class Workload:
    """Some data of some size."""

    data: str
    size: int


@dataclass(frozen=True)
class Measured:
    """The results of a workload: medians of its rounds."""

    workload: Workload
    rounds: int
    results: Results

    def value(self, peer: str, part: str, measure: str) -> float:
        """Return a number; not a number if it was not measured."""
        return self.results.get(peer, {}).get(part, {}).get(measure, math.nan)


def summarised(answers: list[dict[str, Any]]) -> dict[str, float]:
    """Put the turns of a part together: medians of numbers; of times, percentiles in ms."""
    found: dict[str, float] = {}
    for measure in dict.fromkeys(key for answer in answers for key in answer):
        values = [answer[measure] for answer in answers if measure in answer]
        if isinstance(values[0], list):
            times = np.concatenate(values) * 1000
            found[f"{measure} p50"], found[f"{measure} p95"] = np.percentile(times, [50, 95])
        elif measure.endswith("recall"):
            found[measure] = statistics.fmean(values)
        else:
            found[measure] = statistics.median(values)
    return {measure: float(value) for measure, value in found.items()}


class Rounds:
    """The rounds kept in a directory."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory / "rounds"

    def save(self, workload: Workload, number: int, peer: str, part: str, found: Any) -> None:
        """Save a part's measurements, and replace its earlier ones of this round."""
        path = self._path(workload, number)
        path.parent.mkdir(parents=True, exist_ok=True)
        results: Results = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        results.setdefault(peer, {})[part] = found
        path.write_text(json.dumps(results, indent=1, sort_keys=True) + "\n", encoding="utf-8")

    def measured(self) -> list[Measured]:
        """Return the results of each workload, by data and size."""
        found: dict[Workload, list[Results]] = {}
        for path in sorted(self._directory.glob("*.json")):
            data, size, _ = path.stem.rsplit("_", 2)
            results = json.loads(path.read_text(encoding="utf-8"))
            found.setdefault(Workload(data, int(size)), []).append(results)
        return [Measured(key, len(found[key]), medians(found[key])) for key in sorted(found)]

    def _path(self, workload: Workload, number: int) -> Path:
        return self._directory / f"{workload.data}_{workload.size}_{number}.json"


def medians(rounds: list[Results]) -> Results:
    """Return the median of every measure over the rounds which have it."""
    found: dict[tuple[str, str, str], list[float]] = {}
    for results in rounds:
        for peer, part, measure, value in _flat(results):
            found.setdefault((peer, part, measure), []).append(value)
    together: Results = {}
    for (peer, part, measure), values in found.items():
        median = statistics.median(values)
        together.setdefault(peer, {}).setdefault(part, {})[measure] = median
    return together


def _flat(results: Results) -> Iterator[tuple[str, str, str, float]]:
    for peer, parts in results.items():
        for part, measures in parts.items():
            for measure, value in measures.items():
                yield peer, part, measure, value
