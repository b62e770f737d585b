"""Builds an index, and kills itself in one of the phases.

Run as ``python killed_builder.py URL DIRECTORY COLLECTION END PHASE``.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path
from typing import Any
from uuid import UUID

from pgchroma.memory import builder, files
from pgchroma.memory.directory import Directory
from pgchroma.memory.files import SegmentKey


def kill(*_: Any, **__: Any) -> Any:
    """End this process at once."""
    os.kill(os.getpid(), signal.SIGKILL)


def wait(seconds: float) -> bool:
    """Wait, and go on."""
    time.sleep(seconds)
    return False


def main() -> None:
    """Build an index."""
    url, path, collection, end, phase = sys.argv[1:]
    directory = Directory(Path(path), 1 << 30)
    directory.prepare()
    if phase == "locked":
        with directory.locked():
            kill()
    elif phase == "write_file":
        os.fsync = kill
    elif phase != "end":
        setattr(files if phase == "_sync_directory" else builder, phase, kill)
    working = builder.Builder(url, directory, wait)
    working.build(SegmentKey(UUID(hex=collection), 1, 1, int(end)))
    kill()


main()
