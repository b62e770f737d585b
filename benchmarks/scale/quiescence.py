"""Coming to rest: background work is detected by the CPU time of the processes."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from processes import Processes

WINDOW = 1.0
QUIET = 3
"""How many windows in a row have to be quiet."""

IDLE = 0.05
"""The largest fraction of a core that a peer at rest uses."""

LIMIT = 300.0
_TICKS = os.sysconf("SC_CLK_TCK")


def settle(processes: Processes, limit: float = LIMIT) -> None:
    """Wait until the processes are at rest, at most `limit` seconds."""
    deadline = time.monotonic() + limit
    quiet, before = 0, cpu_seconds(processes)
    while quiet < QUIET:
        if time.monotonic() > deadline:
            print(f"not at rest after {limit:.0f} s: {processes.path}", file=sys.stderr)
            return
        time.sleep(WINDOW)
        now = cpu_seconds(processes)
        quiet = quiet + 1 if abs(now - before) < IDLE * WINDOW else 0
        before = now


def cpu_seconds(processes: Processes) -> float:
    """Return the CPU time that the live processes have used."""
    total = 0
    for pid in processes.processes():
        try:
            stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
        except (FileNotFoundError, ProcessLookupError):
            continue
        fields = stat.rpartition(")")[2].split()
        total += int(fields[11]) + int(fields[12])
    return total / _TICKS
