"""Word of whoever keeps an upgrade waiting for a lock."""

from __future__ import annotations

import logging
from collections.abc import Generator
from contextlib import contextmanager, suppress
from threading import Event, Thread
from typing import Any, Final

import psycopg

from pgchroma.store.running._sync.driver import run
from pgchroma.store.running.parameters import connection_parameters
from pgchroma.store.waits import Blocker, backend_pid, blockers

__all__ = ("watched_waits",)

_log = logging.getLogger("pgchroma.catalog")

PATIENCE: Final = 5.0
"""Seconds between two looks at who holds a lock that is waited for."""


@contextmanager
def watched_waits(connection: psycopg.Connection[Any]) -> Generator[None, None, None]:
    """Warn in the log of whoever keeps a connection waiting for a lock for some seconds.

    The transaction that is open or begins on `connection` has to last to the end of this: behind a
    pooler the next one may be another session's.
    """
    pid = run(connection, backend_pid())
    done = Event()
    target = (connection_parameters(connection), pid, done)
    watcher = Thread(target=_watch, args=target, name="pgchroma-wait", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        done.set()


def _watch(parameters: dict[str, Any], pid: int, done: Event) -> None:
    known: set[int] = set()
    while not done.wait(PATIENCE):
        # Nobody is worse off without word.
        with suppress(psycopg.Error):
            for blocker in _look(parameters, pid):
                if blocker.pid not in known and not done.is_set():
                    known.add(blocker.pid)
                    _log.warning(_text(blocker))


def _look(parameters: dict[str, Any], pid: int) -> list[Blocker]:
    with psycopg.connect(**parameters, autocommit=True, prepare_threshold=None) as connection:
        found: list[Blocker] = run(connection, blockers(pid))
        return found


def _text(blocker: Blocker) -> str:
    return (
        f"the catalog's upgrade waits for a lock that process {blocker.pid} holds ({blocker.who}). "
        "It goes on as soon as that ends its transaction or its session; "
        f"to end it, run: select pg_terminate_backend({blocker.pid})"
    )
