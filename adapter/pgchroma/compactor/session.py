"""The compactor's session: one connection runs steps, another watches for sessions that wait.

Building or dropping an index gives way to other sessions that wait for the collection's tables.
Otherwise deleting a collection, or someone's `alter table`, would wait until the index is built.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotDoneError
from contextlib import ExitStack, suppress
from functools import partial
from threading import Event, Thread
from typing import Any, Final, TypeVar
from uuid import UUID

import psycopg
from psycopg import errors as pg

from pgchroma.compactor import bookkeeping
from pgchroma.compactor.state import TrackedCollection
from pgchroma.compactor.steps import AsRole, IndexDDL, PassStep, PassSteps, Pause, Uninterruptible
from pgchroma.compactor.waiting import Waiting
from pgchroma.errors import UnavailableError
from pgchroma.store import run
from pgchroma.store.encoding.vectors import prepare_vectors
from pgchroma.store.running.isolation import set_isolation
from pgchroma.store.running.search_path import add_for_session
from pgchroma.store.running.steps import Step, Steps, render
from pgchroma.store.sequences import advance_segments
from pgchroma.store.waits import COMPACTOR, Blocker, blockers, holders

__all__ = ("BuildInterruptedError", "Session")

_log = logging.getLogger("pgchroma.compaction")

R = TypeVar("R")

WATCH_SECONDS: Final = 0.25
"""Seconds between two checks whether other sessions wait for the tables."""

REPORT_SECONDS: Final = 2.0
"""Seconds after which a wait is reported; it is reported again after twice as long."""

LOCK_TIMEOUT_SECONDS: Final = 5.0
"""How long a step that neither builds nor drops an index waits for a lock."""


class BuildInterruptedError(Exception):
    """A step was given up: another session waits for the tables, or the compactor stops."""


class Session:
    """Two connections to a database, without a pooler in between.

    Args:
        conninfo: The database.
        stop: Set to interrupt what runs.

    Raises:
        UnavailableError: There is a pooler in between, which would give settings that are meant
            for a build to other sessions.
    """

    def __init__(self, conninfo: str, stop: Event) -> None:
        self._stop = stop
        with ExitStack() as opened:
            self._working = opened.enter_context(_connect(conninfo))
            self._watching = opened.enter_context(_connect(conninfo))
            # Only the catalog's owner may draw from this sequence, and only it builds segments.
            with suppress(pg.InsufficientPrivilege):
                run(self._working, advance_segments())
            self._opened = opened.pop_all()

    def close(self) -> None:
        """Close both connections."""
        self._opened.close()

    @property
    def is_broken(self) -> bool:
        """Whether a connection was lost."""
        return self._working.closed or self._watching.closed

    def run(self, steps: Steps[R]) -> R:
        """Run a handler that touches no collection's tables for long."""
        result: R = run(self._working, steps)
        return result

    def run_interruptible(self, collection: TrackedCollection, steps: PassSteps[R]) -> R:
        """Run steps on a collection, and interrupt them if other sessions wait for its tables.

        An error of a step is raised in the generator, which may handle it.

        Raises:
            BuildInterruptedError: Another session waits for the tables, a step waited too long
                for a lock, or the compactor stops.
        """
        answer: Any = None
        error: BaseException | None = None
        try:
            while True:
                step = steps.send(answer) if error is None else steps.throw(error)
                answer, error = None, None
                try:
                    answer = self._run_step(collection, step)
                except BaseException as raised:
                    # A KeyboardInterrupt must not leave the collection locked either.
                    error = raised
        except StopIteration as done:
            result: R = done.value
            return result

    def record_error(self, id: UUID, error: str | None) -> bool:
        """Record the error that stopped a build, or that there is none, if the user may.

        Returns:
            False if another session has locked the collection's row, so it has to be recorded
            later.
        """
        return _record_error(self._working, id, error)

    def report_holder(self, id: UUID) -> None:
        """Report a session that keeps the compactor from reading a collection's tables."""
        for holder in run(self._watching, holders(id))[:1]:
            self._report(id, holder)

    def _run_step(self, collection: TrackedCollection, step: PassStep) -> Any:
        match step:
            case Pause(seconds):
                if self._stop.wait(seconds):
                    raise BuildInterruptedError
                return None
            case AsRole(role, inner):
                return self._watched(collection, inner, role, LOCK_TIMEOUT_SECONDS)
            case IndexDDL(statement, on_progress):
                return self._watched(collection, statement, None, None, on_progress)
            case Uninterruptible(inner):
                return run(self._working, _single(inner))
            case _:
                return self._watched(collection, step, None, LOCK_TIMEOUT_SECONDS)

    def _watched(
        self,
        collection: TrackedCollection,
        step: Step,
        role: str | None,
        lock_timeout: float | None,
        on_progress: Callable[[int], None] | None = None,
    ) -> Any:
        """Run a step in a thread, and cancel it if other sessions wait for the tables.

        A session that the step waits for is named in the log and in the collection's status. The
        lock timeout keeps one collection from holding up all others.
        """
        running = _started(partial(run, self._working, _single(step), role))
        waiting = Waiting(REPORT_SECONDS)
        try:
            while not _is_done(running, WATCH_SECONDS):
                is_awaited, rows, is_blocked = self._watch(collection)
                if on_progress is not None:
                    on_progress(rows)
                self._report_wait(collection, waiting, is_blocked=is_blocked)
                has_timed_out = lock_timeout is not None and waiting.lasts_for(lock_timeout)
                if is_awaited or self._stop.is_set() or has_timed_out:
                    return self._cancel(running)
            self._report_wait(collection, waiting, is_blocked=False)
            return running.result()
        except BaseException:
            # An interrupted caller must not have to wait until the statement ends.
            with suppress(psycopg.Error, BuildInterruptedError):
                self._cancel(running)
            raise

    def _watch(self, collection: TrackedCollection) -> tuple[bool, int, bool]:
        """Check on the running step.

        A deleted database takes the tables away, which counts as waiting for them.

        Returns:
            Whether another session waits for the tables; how many rows a build has read; whether
            the step itself waits for a lock.
        """
        tables = collection.tables
        relations = [table.as_string(None) for table in (tables.records, tables.vectors)]
        if collection.dimension is None:
            relations.pop()
        row = self._watching.execute(
            _WATCH, {"pid": self._working.info.backend_pid, "relations": relations}
        ).fetchone()
        is_awaited, rows, is_blocked = row or (False, 0, False)
        return is_awaited, rows or 0, bool(is_blocked)

    def _report_wait(
        self, collection: TrackedCollection, waiting: Waiting, *, is_blocked: bool
    ) -> None:
        if not is_blocked:
            if waiting.end():
                _record_error(self._watching, collection.id, None)
        elif waiting.is_report_due():
            pid = self._working.info.backend_pid
            for blocker in run(self._watching, blockers(pid))[:1]:
                self._report(collection.id, blocker)

    def _report(self, id: UUID, blocker: Blocker) -> None:
        _log.warning("building indexes of collection %s waits for %s", id, blocker)
        _record_error(self._watching, id, f"building indexes waits for {blocker}")

    def _cancel(self, running: Future[Any]) -> Any:
        if not running.done():
            self._working.cancel_safe()
        # The statement may have ended before the cancellation arrived, which is just as good.
        with suppress(pg.QueryCanceled):
            return running.result()
        raise BuildInterruptedError


def _single(step: Step) -> Steps[Any]:
    return (yield step)


def _record_error(connection: psycopg.Connection[Any], id: UUID, error: str | None) -> bool:
    with suppress(pg.InsufficientPrivilege):
        return bool(run(connection, bookkeeping.record_error(id, error)).is_done)
    return True


def _connect(conninfo: str) -> psycopg.Connection[Any]:
    connection = psycopg.connect(
        conninfo, autocommit=True, application_name=COMPACTOR, prepare_threshold=None
    )
    try:
        _refuse_pooler(connection)
        # Limits for users' statements are not meant for long work in the background.
        connection.execute(_REMOVE_LIMITS)
        set_isolation(connection)
        prepare_vectors(connection)
        add_for_session(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def _refuse_pooler(connection: psycopg.Connection[Any]) -> None:
    row = connection.execute("select pg_backend_pid()").fetchone()
    if row is None or row[0] != connection.info.backend_pid:
        raise UnavailableError(
            "the compactor needs a direct connection to PostgreSQL, but there is a pooler in "
            "between: set pgchroma_compaction_url (on a server compaction_url) to the database's "
            "own URL, or switch compaction off and run `pgchroma compact` elsewhere"
        )


def _started(work: Callable[[], Any]) -> Future[Any]:
    """Run a function in a daemon thread, which does not keep the process from ending."""
    future: Future[Any] = Future()

    def work_and_answer() -> None:
        try:
            answer = work()
        except BaseException as error:
            future.set_exception(error)
        else:
            future.set_result(answer)

    Thread(target=work_and_answer, name="pgchroma-build", daemon=True).start()
    return future


def _is_done(running: Future[Any], seconds: float) -> bool:
    """Wait for a result, with a time limit in seconds; raise the error if there is one instead."""
    try:
        running.result(seconds)
    except NotDoneError:
        if running.done():
            raise
        return False
    return True


_REMOVE_LIMITS = """
select set_config(name, '0', false)
from pg_catalog.pg_settings
where name in (
    'statement_timeout', 'lock_timeout', 'transaction_timeout', 'idle_session_timeout'
)
"""

_WATCH = render(
    """
    select
        exists (
            select from unnest(%(relations)s::text[]) as name where to_regclass(name) is null
        ) or exists (
            select from pg_catalog.pg_locks as l
            where not l.granted and l.locktype = 'relation' and l.pid <> %(pid)s
                and l.mode in (
                    'ShareLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock'
                )
                and l.relation = any(array(
                    select to_regclass(name)::oid from unnest(%(relations)s::text[]) as name
                ))
                and l.database = (
                    select oid from pg_catalog.pg_database where datname = current_database()
                )
        ),
        (
            select tuples_done from pg_catalog.pg_stat_progress_create_index
            where pid = %(pid)s
        ),
        (
            select wait_event_type = 'Lock' from pg_catalog.pg_stat_activity where pid = %(pid)s
        )
    """
)
