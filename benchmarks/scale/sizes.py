"""Sizes: of a directory on disk, of a process in memory."""

from __future__ import annotations

from pathlib import Path

LOG = "pg_wal"
"""PostgreSQL's WAL, whose size depends on the recent writes, not on the amount of data."""


def disk(directory: Path) -> dict[str, float]:
    """Return the size of a directory in bytes, with PostgreSQL's WAL and without."""
    sizes = {"all": 0.0, "without WAL": 0.0}
    for path in directory.rglob("*"):
        try:
            size = 0 if path.is_symlink() else path.stat().st_blocks * 512
        except FileNotFoundError:
            continue  # A server at work removes files.
        sizes["all"] += size
        sizes["without WAL"] += 0 if LOG in path.parts else size
    return sizes


def forget_peak() -> float:
    """Reset the peak of this process's memory, and return its current memory, in MB."""
    Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")
    return _status("VmRSS")


def peak() -> float:
    """Return the most memory this process had since, in MB."""
    return _status("VmHWM")


def _status(key: str) -> float:
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(key))
