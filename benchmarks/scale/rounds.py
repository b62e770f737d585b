"""A round: every peer loads the data into a new directory, then the peers take turns in its parts.

The parts are ordered so that each affects the next as little as possible: those that change the
collection follow those that only read it. Disk usage is measured while nothing runs: before the
collection is created, with it, and after it was deleted.
"""

from __future__ import annotations

import contextlib
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scale.peer_process import CHANGES, PEERS, READS, PeerError, Process
from scale.results import Rounds, Workload, summarised
from scale.sizes import disk

TURNS = {
    "query": range(6),
    "curve": range(8),
    "fifty": range(4),
    "filters": range(4),
    "documents": range(4),
    "by_ids": range(4),
    "count": range(3),
    "concurrency": range(1),
    "upsert": range(5),
    "churn": range(1),
    "ingesting": range(1),
}
WARMED = ("filters", "documents")
"""The parts whose first turn only warms up."""

LAST = CHANGES[-1]
BATCHES = {1_000: "1,000", 5_000: "5,000", 0: "biggest"}
"""The sizes of batches that are compared; 0 means a peer's biggest."""


@dataclass(frozen=True)
class Round:
    """The parts of one round, and the place of its results.

    Attributes:
        parts: The parts wanted besides loading.
        place: Where the data is.
    """

    workload: Workload
    number: int
    peers: tuple[str, ...]
    parts: tuple[str, ...]
    place: Path
    rounds: Rounds

    def run(self) -> None:
        """Do it."""
        with tempfile.TemporaryDirectory(prefix="pgchroma-bench-") as directory:
            homes = {peer: Path(directory) / peer / "data" for peer in self.peers}
            sizes = {peer: {"before": self._open_and_close(peer, homes[peer])} for peer in homes}
            if "batches" in self.parts:
                self._compare_batches(Path(directory))
            loaded = [peer for peer in self.peers if self._load(peer, homes[peer])]
            for peer in loaded:
                sizes[peer]["at rest"] = disk(homes[peer])
            self._use({peer: homes[peer] for peer in loaded})
            for peer in loaded:
                sizes[peer]["dropped"] = disk(homes[peer])
                self._save(peer, "disk", _differences(sizes[peer]))

    def _open_and_close(self, peer: str, home: Path) -> dict[str, float]:
        with self._process(peer, home):
            pass
        return disk(home)

    def _compare_batches(self, directory: Path) -> None:
        for size, name in BATCHES.items():
            for peer in self.peers:
                if "batches" in PEERS[peer].parts:
                    self._say(peer, f"batches of {name}")
                    with self._process(peer, directory / f"{peer}-{size}") as process:
                        self._do(process, "batches", size, f"batches, {name}")

    def _load(self, peer: str, home: Path) -> bool:
        self._say(peer, "loading")
        with self._process(peer, home) as process:
            return self._do(process, "load")

    def _use(self, homes: dict[str, Path]) -> None:
        """Open the collections again, and do all that is done with them."""
        with ExitStack() as stack:
            processes = [
                stack.enter_context(self._process(peer, home)) for peer, home in homes.items()
            ]
            _settle(processes)
            for process in processes:
                if self._wanted("memory", process):
                    self._do(process, "memory")
            for part in (*READS, *CHANGES):
                self._in_turns(part, [p for p in processes if self._wanted(part, p)])
            for process in processes:
                _ask(process, "drop")

    def _in_turns(self, part: str, processes: list[Process]) -> None:
        answers: dict[str, list[dict[str, Any]]] = {process.peer: [] for process in processes}
        for turn in TURNS[part]:
            for process in list(processes):
                self._say(process.peer, f"{part}, turn {turn + 1} of {len(TURNS[part])}")
                if (found := _ask(process, part, turn)) is None:
                    processes.remove(process)
                else:
                    answers[process.peer].append(found)
            if part in WARMED and turn == 0:
                _settle(processes)
        for process in processes:
            self._save(process.peer, part, summarised(answers[process.peer]))
        if part in CHANGES and part != LAST:
            _settle(processes)

    def _do(self, process: Process, part: str, number: int = 0, name: str = "") -> bool:
        """Run a part once, and save its measurements; return whether it was done."""
        found = _ask(process, part, number)
        if found is not None:
            self._save(process.peer, name or part, summarised([found]))
        return found is not None

    def _wanted(self, part: str, process: Process) -> bool:
        return part in self.parts and part in PEERS[process.peer].parts

    def _process(self, peer: str, home: Path) -> Process:
        return Process(peer, home, self.place)

    def _save(self, peer: str, part: str, found: dict[str, float]) -> None:
        self.rounds.save(self.workload, self.number, peer, part, found)

    def _say(self, peer: str, what: str) -> None:
        size = f"{self.workload.size:,} of {self.workload.data}"
        now = time.strftime("%H:%M:%S")
        print(f"{now} {size}, round {self.number}: {peer}: {what} …", flush=True)


def _settle(processes: list[Process]) -> None:
    """Wait until all peers have come to rest, concurrently, before anything is measured."""
    for process in processes:
        process.begin("settle")
    for process in processes:
        with contextlib.suppress(PeerError):
            process.end("settle")


def _ask(process: Process, part: str, number: int = 0) -> dict[str, Any] | None:
    """Return a part's measurements, or `None` if the peer failed; the others go on."""
    try:
        return process.ask(part, number)
    except PeerError:
        return None


def _differences(sizes: dict[str, dict[str, float]]) -> dict[str, float]:
    """Subtract the sizes before the collection was created, in bytes."""
    return {
        f"{when}, {what}": sizes[when][what] - sizes["before"][what]
        for when in ("at rest", "dropped")
        for what in sizes["before"]
    } | {f"before, {what}": size for what, size in sizes["before"].items()}
