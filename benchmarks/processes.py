"""The processes of one side of a benchmark: found, and weighed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Weight:
    """The memory of one process, in MB.

    RSS counts shared memory, such as PostgreSQL's buffers, once for each process; PSS divides it
    among the processes, so that its sum is the memory of all of them.
    """

    name: str
    rss: float
    pss: float


@dataclass
class Processes:
    """A process, other processes started on its directory, and the descendants of all.

    A private PostgreSQL has no living parent, but has the directory in its command line.
    """

    pid: int
    path: Path

    def processes(self) -> set[int]:
        """List them."""
        parents = {pid: _parent(pid) for pid in _pids()}
        found = {pid for pid in parents if pid == self.pid or str(self.path) in command_line(pid)}
        while more := {pid for pid, parent in parents.items() if parent in found} - found:
            found |= more
        return found

    def weights(self) -> Iterator[Weight]:
        """Weigh each of them."""
        for pid in self.processes():
            try:
                name = Path(f"/proc/{pid}/comm").read_text(encoding="utf-8").strip()
                lines = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="utf-8").splitlines()
            except (FileNotFoundError, ProcessLookupError):
                continue  # It has ended.
            size = {key: int(rest.split()[0]) / 1024 for key, rest in map(_field, lines[1:])}
            yield Weight(name, size["Rss"], size["Pss"])


def command_line(pid: int) -> str:
    """Return the command line of a process; empty for one that has ended."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return ""
    return words.replace(b"\0", b" ").decode(errors="replace")


def _field(line: str) -> tuple[str, str]:
    key, _, rest = line.partition(":")
    return key, rest


def _pids() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]


def _parent(pid: int) -> int:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return int(stat.rpartition(")")[2].split()[1])
