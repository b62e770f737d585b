"""A compactor that is killed: ``python -m tests.compactor.kill_worker URL STEP WHEN SECONDS``.

It works on all collections and kills itself before, during or after the step that is named; or,
with the step ``any``, after so many seconds. It says so before, and ends with 0 if the step never
comes.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from threading import Event, Timer
from typing import Any

from pgchroma.compactor import bookkeeping, runner
from pgchroma.compactor.runner import Compaction, CompactionSettings
from pgchroma.store import run


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _dying(work: Callable[..., Any], label: Callable[..., str]) -> Callable[..., Any]:
    _, _, step, when, seconds = sys.argv

    def carry_out(*given: Any, **named: Any) -> Any:
        if not label(*given).startswith(step):
            return work(*given, **named)
        print(step, flush=True)
        if when == "before":
            _die()
        if when == "during":
            Timer(float(seconds), _die).start()
        result = work(*given, **named)
        _die()
        return result

    return carry_out


def _main() -> None:
    _, url, step, _, seconds = sys.argv
    if step == "any":
        Timer(float(seconds), _die).start()
    bookkeeping.MIN_INDEXED = 100  # type: ignore[misc]
    dying = _dying(run, lambda _, exchange, *__: exchange.__name__)
    vars(runner).update(FRESH_SECONDS=0.05, run=dying)
    Compaction._run = _dying(  # type: ignore[method-assign]
        Compaction._run, lambda _, statement, *__: " ".join(statement.text.decode().split())
    )
    with Compaction(url, CompactionSettings(segment_bytes=0), Event()) as working:
        for each in working.collections():
            # PostgreSQL may not have noticed yet that the one before is dead.
            while not working.compact(each, merges_all=True):
                time.sleep(0.02)


if __name__ == "__main__":
    _main()
