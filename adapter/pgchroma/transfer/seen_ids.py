"""Which ids of a collection have been read, in eight bytes for each."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pgchroma.transfer.checksums import hashes_of

__all__ = ("SeenIds",)


class SeenIds:
    """The hashes of ids, in sorted runs of which a later one is at most half as long."""

    def __init__(self) -> None:
        self._runs: list[NDArray[np.uint64]] = []

    def add(self, ids: Sequence[str]) -> list[int]:
        """Add ids, and return the positions of those that have probably been added before.

        A position is wrong if two ids have the same hash: one in 37 million collections of a
        million records has such a pair.
        """
        hashes = hashes_of(ids)
        is_seen = np.zeros(len(hashes), dtype=bool)
        for run in self._runs:
            found = np.searchsorted(run, hashes)
            found[found == len(run)] = 0
            is_seen |= run[found] == hashes
        _, first = np.unique(hashes, return_index=True)
        is_repeated = np.ones(len(hashes), dtype=bool)
        is_repeated[first] = False
        if len(hashes):
            self._store(np.sort(hashes[~is_repeated]))
        return [int(position) for position in np.nonzero(is_seen | is_repeated)[0]]

    def _store(self, run: NDArray[np.uint64]) -> None:
        while self._runs and len(self._runs[-1]) < 2 * len(run):
            run = np.sort(np.concatenate([self._runs.pop(), run]))
        self._runs.append(run)
