"""Warnings about sessions that an upgrade waits for."""

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

__all__ = ("warn_of_waits",)

_log = logging.getLogger("pgchroma.catalog")

POLL_SECONDS: Final = 5.0
"""Seconds between two checks which sessions the upgrade waits for."""


@contextmanager
def warn_of_waits(connection: psycopg.Connection[Any]) -> Generator[None, None, None]:
    """Log a warning about each session that keeps a connection waiting for a lock.

    The transaction that is open on `connection`, or begins on it, has to last until the context
    exits: behind a pooler, the next transaction may be in another session.
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
    while not done.wait(POLL_SECONDS):
        # The upgrade itself does not depend on these warnings.
        with suppress(psycopg.Error):
            for blocker in _find_blockers(parameters, pid):
                if blocker.pid not in known and not done.is_set():
                    known.add(blocker.pid)
                    _log.warning(_message(blocker))


def _find_blockers(parameters: dict[str, Any], pid: int) -> list[Blocker]:
    with psycopg.connect(**parameters, autocommit=True, prepare_threshold=None) as connection:
        result: list[Blocker] = run(connection, blockers(pid))
        return result


def _message(blocker: Blocker) -> str:
    return (
        f"the catalog's upgrade waits for a lock that process {blocker.pid} holds ({blocker.who}). "
        "It continues when that process ends its transaction or its session; "
        f"to end it, run: select pg_terminate_backend({blocker.pid})"
    )
