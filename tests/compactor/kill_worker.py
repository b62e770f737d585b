"""A compactor that is killed: ``python -m tests.compactor.kill_worker URL STEP WHEN SECONDS``.

It compacts all collections and kills itself before, during or after a step; with the step ``any``
it kills itself after some seconds. It prints the step before, and exits with 0 if it never comes.
With a further argument, ``in parts``, it compacts as if there were writers.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event, Timer
from types import ModuleType
from typing import Any

from pgchroma.compactor import bookkeeping, inspection, maintenance, passes, planner
from pgchroma.compactor.runner import Compaction
from pgchroma.compactor.session import Session
from pgchroma.compactor.settings import CompactionSettings


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _dying(label: str) -> Iterator[None]:
    """Kill the process before, during or after the wrapped step, if it is the chosen one."""
    _, _, step, when, seconds, *_ = sys.argv
    is_step = label.startswith(step)
    if is_step:
        print(step, flush=True)
        if when == "before":
            _die()
        if when == "during":
            Timer(float(seconds), _die).start()
    yield
    if is_step:
        _die()


def _patch(module: ModuleType, name: str) -> None:
    """Have the process killed around a part of the pass."""
    work = getattr(module, name)

    def carry_out(*given: Any, **named: Any) -> Any:
        with contextmanager(_dying)(name):
            return (yield from work(*given, **named))

    setattr(module, name, carry_out)


def _main() -> None:
    _, url, step, _, seconds, *more = sys.argv
    if step == "any":
        Timer(float(seconds), _die).start()
    planner.MIN_INDEXED = 100  # type: ignore[misc]
    vars(passes).update(FRESH_SECONDS=0.05)
    _patch(inspection, "inspect")
    _patch(maintenance, "analyze")
    for name in (
        "reconcile",
        "announce_build",
        "finish_build",
        "delete_segments",
        "set_secondary",
        "unlock_collection",
    ):
        _patch(bookkeeping, name)
    run_step = Session._run_step

    def run_or_die(self: Session, collection: Any, taken: Any) -> Any:
        step = getattr(taken, "step", taken)
        statement = getattr(step, "statement", step)
        text = " ".join(getattr(statement, "text", b"").decode().split())
        with contextmanager(_dying)(text):
            return run_step(self, collection, taken)

    Session._run_step = run_or_die  # type: ignore[method-assign, assignment]
    with Compaction(url, CompactionSettings(segment_bytes=0), Event()) as working:
        for each in working.collections():
            # PostgreSQL may not have noticed yet that the one before is dead.
            is_idle = "in parts" not in more
            while not working.compact(each, is_idle=is_idle, merges_all=is_idle):
                time.sleep(0.02)


if __name__ == "__main__":
    _main()
