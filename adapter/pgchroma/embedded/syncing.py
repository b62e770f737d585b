"""Flush what was written to disk."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ("sync",)


def sync(path: Path) -> None:
    """Flush a file, or the entries of a directory, to disk."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
