"""One peer at work: its collection, the data, and the current state of its records."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from functools import cached_property
from pathlib import Path
from typing import TypeVar

import numpy as np

from processes import Processes
from scale import dataset
from scale.peers import Peer, open_peer
from scale.quiescence import LIMIT, settle

T = TypeVar("T")
Measures = dict[str, float | list[float]]
"""Measure to its number, or to the times, in seconds, of the calls it is the median of."""


class Session:
    """A peer, opened on its directory by this process.

    Attributes:
        directory: The peer's own.
        place: Where the data is.
    """

    def __init__(self, name: str, directory: Path, place: Path) -> None:
        self.name = name
        self.directory = directory
        self.place = place
        self.peer: Peer = open_peer(name, directory)
        self.processes = Processes(os.getpid(), directory)

    @cached_property
    def data(self) -> dataset.Dataset:
        """All of the data."""
        return dataset.load(self.place)

    @cached_property
    def queries(self) -> np.ndarray:
        """The queries alone."""
        return self.data.queries

    @cached_property
    def live(self) -> np.ndarray:
        """The embedding that each record has by now; parts which change some change it here."""
        return self.data.changeable()

    def settle(self) -> None:
        """Wait until the peer has indexed its records, and come to rest."""
        self.peer.wait_until_indexed()
        self.rest()

    def rest(self, limit: float = LIMIT) -> None:
        """Wait until the peer has come to rest, for at most `limit` seconds."""
        settle(self.processes, limit)


def timed(calls: Iterable[Callable[[], T]]) -> tuple[list[float], list[T]]:
    """Make the calls; return the seconds and the result of each."""
    times, found = [], []
    for call in calls:
        begin = time.perf_counter()
        result = call()
        times.append(time.perf_counter() - begin)
        found.append(result)
    return times, found
