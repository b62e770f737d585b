"""Compaction carried out: one connection works, a second one watches over it.

A build yields to whoever waits for the collection's tables: deleting a collection, or somebody's
`alter table`, would otherwise wait until the index is ready.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Set
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotYet
from contextlib import ExitStack, nullcontext, suppress
from dataclasses import dataclass
from functools import partial
from threading import Event, Thread
from typing import Any, Final, Self
from uuid import UUID

import psycopg
from psycopg import errors as pg

from pgchroma.compactor import bookkeeping
from pgchroma.compactor.bookkeeping import Build, Collection, Inspection, SegmentRow
from pgchroma.compactor.waiting import Waiting
from pgchroma.errors import UnavailableError
from pgchroma.store import StoreContext, run
from pgchroma.store.layout.secondary import SecondaryIndex, create_secondary, secondary_name
from pgchroma.store.layout.segments import build_memory_per_row
from pgchroma.store.resolved import FRESH_SECONDS
from pgchroma.store.roles import role_of_tenant
from pgchroma.store.running.isolation import set_isolation
from pgchroma.store.running.search_path import add_for_session
from pgchroma.store.running.steps import Statement, Steps, render
from pgchroma.store.sequences import advance, advance_segments
from pgchroma.store.waits import COMPACTOR, blockers, holders

__all__ = ("BuildInterruptedError", "Compaction", "CompactionSettings", "Progress")

_log = logging.getLogger("pgchroma.compaction")

LOOK_SECONDS: Final = 0.25
"""How often somebody looks whether a build has to yield."""

TELL_SECONDS: Final = 2.0
"""How long a build waits for others before that is told; after twice as long it is told again."""

PATIENCE_SECONDS: Final = 5.0
"""How long anything but an index that is built or dropped waits for a lock."""

MIN_MEMORY_BYTES: Final = 64 << 20

NO_TRIGRAMS: Final = (
    "filters keep searching its documents, which have no index, because the extension pg_trgm is "
    "not installed in this database. As its owner or a superuser, run: create extension pg_trgm"
)


_SCARCE: Final = (pg.DiskFull, pg.OutOfMemory, pg.InsufficientResources)

Progress = Callable[[Collection, str, int, int], None]
"""Told how far a build is: of what, its index's name, rows done, rows in all."""


class BuildInterruptedError(Exception):
    """A build was given up: somebody waits for the table, or the compactor is to stop."""


@dataclass(frozen=True, slots=True)
class CompactionSettings:
    """What the compactor goes by.

    Attributes:
        segment_bytes: The least a tail has to have to be worth an index, in bytes of embeddings.
        memory: Bytes that building one index may take.
        is_automatic: Whether filters that keep asking for an index get one.
    """

    segment_bytes: int = 8 << 20
    memory: int = 1 << 30
    is_automatic: bool = True


class Compaction:
    """Works on collections, one at a time.

    Attributes:
        obstacles: What keeps collections, by id, from an index that filters ask for.

    Args:
        conninfo: A database, without a pooler in between.
        settings: What it goes by.
        stop: Set when it is to stop.
        progress: Told how far builds are.

    Raises:
        UnavailableError: There is a pooler in between, which would hand what is set for a build
            to others.
    """

    def __init__(
        self,
        conninfo: str,
        settings: CompactionSettings,
        stop: Event,
        progress: Progress | None = None,
    ) -> None:
        self._settings = settings
        self._stop = stop
        self._progress = progress
        with ExitStack() as opened:
            self._work = opened.enter_context(_connect(conninfo))
            self._watch = opened.enter_context(_connect(conninfo))
            # Only whoever owns the catalog may draw from it, and nobody else builds segments.
            with suppress(pg.InsufficientPrivilege):
                run(self._work, advance_segments())
            self._trigrams_schema: str | None = None
            self.obstacles: dict[UUID, str] = {}
            self._opened = opened.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._opened.close()

    @property
    def is_broken(self) -> bool:
        """Whether a connection was lost."""
        return self._work.closed or self._watch.closed

    def collections(self, ids: set[UUID] | None = None) -> list[Collection]:
        """Find collections: those of `ids`, or all there are.

        One whose tables somebody else has locked is passed over, with a word in the log.
        """
        wanted = None if ids is None else sorted(ids)
        found: list[Collection] = []
        after = None
        while True:
            page = run(self._work, bookkeeping.list_collections(wanted, after))
            found += self._found(page)
            if len(page) < bookkeeping.PAGE:
                return found
            after = page[-1]

    def _found(self, ids: list[UUID]) -> list[Collection]:
        for is_last in (False, False, False, True):
            # PostgreSQL looks into each collection's sequence, one of which may just be dropped.
            with nullcontext() if is_last else suppress(pg.InternalError_):
                try:
                    return run(self._work, bookkeeping.find_collections(ids))  # type: ignore[no-any-return]
                except pg.LockNotAvailable:
                    break
        if len(ids) > 1:
            return [each for id in ids for each in self._found([id])]
        for holder in run(self._watch, holders(ids[0]))[:1]:
            _log.warning("building indexes of collection %s waits for %s", ids[0], holder)
            _note_error(self._watch, ids[0], f"building indexes waits for {holder}")
        return []

    def has(self, id: UUID) -> bool:
        """Whether a collection is still there."""
        return bool(run(self._work, bookkeeping.list_collections([id], None)))

    def peek(self, collection: Collection) -> int:
        """Tell at most how many embeddings have no index, and add up counts that are many."""
        peek = bookkeeping.peek(collection)
        waiting, changes = self._run_interruptible(collection, peek, collection.role)
        if changes > bookkeeping.MANY_CHANGES:
            self._run_interruptible(
                collection, bookkeeping.merge_counts(collection), collection.role
            )
        return int(waiting)

    def count_without_index(self, collection: Collection) -> int:
        """Count the embeddings of a collection that has no index; 0 if it has one."""
        with suppress(pg.UndefinedTable):
            peek = bookkeeping.inspect(collection)
            examined: Inspection = run(self._work, peek, collection.role)
            return 0 if examined.segments else examined.tail
        return 0

    def note_asked(self, asked: Set[tuple[UUID, SecondaryIndex]]) -> None:
        """Keep which indexes filters missed, where the user may."""
        with suppress(pg.InsufficientPrivilege):
            self._run(bookkeeping.note_asked(asked))

    def note_error(self, id: UUID, error: str | None) -> bool:
        """Keep what stopped a build, or that nothing did, where the user may.

        False if somebody else has the collection's row, and so it has to be done again.
        """
        return _note_error(self._work, id, error)

    def compact(
        self, collection: Collection, *, is_idle: bool = True, merges_all: bool = False
    ) -> bool:
        """Do all that there is to do for a collection; false if another compactor is at it.

        Args:
            collection: Which.
            is_idle: Whether nobody seems to write to it: what can wait for that is done then.
            merges_all: Whether its segments are to become one, whatever that costs now.

        Raises:
            BuildInterruptedError: Somebody waits for the tables, or the compactor is to stop.
            psycopg.Error: PostgreSQL did not carry something out; queries go on as before.
            MissingRightError: The user may not become the tenant's role.
        """
        id = collection.tables.id
        if not run(self._work, bookkeeping.lock_collection(id)):
            return False
        try:
            if collection.role is not None:
                # Some tables may have been made without roles. They are given to it first.
                run(self._work, role_of_tenant(collection.tenant, StoreContext(0)))
            self.obstacles.pop(id, None)
            live = collection.tables if collection.dimension is not None else None
            run(self._work, advance(collection.tables, live, None), collection.role)
            while self._step(collection, is_idle=is_idle, merges_all=merges_all):
                pass
            return self._note_obstacle(collection)
        except pg.UndefinedTable:
            # It was deleted meanwhile; or its embeddings are in another table, and so a look at it
            # has to come first.
            return not self.has(id)
        except psycopg.Error:
            if self.is_broken or self.has(id):
                raise
            # It was deleted meanwhile: there is nothing left to be done for it.
            return True
        finally:
            # A connection that is lost has lost its locks.
            with suppress(psycopg.Error):
                run(self._work, bookkeeping.unlock_collection(id))

    def _note_obstacle(self, collection: Collection) -> bool:
        id = collection.tables.id
        obstacle = self.obstacles.get(id)
        with suppress(pg.InsufficientPrivilege):
            noted = run(self._work, bookkeeping.note_error(id, obstacle))
            if noted.is_new and obstacle is not None:
                _log.warning("collection %s: %s", id, obstacle)
            return bool(noted.is_done)
        return True

    def _step(self, collection: Collection, *, is_idle: bool, merges_all: bool) -> bool:
        """Do the next thing there is to do; false if there was none but to tidy up."""
        if self._stop.is_set():
            raise BuildInterruptedError
        examined = self._clean_up(collection)
        build = bookkeeping.choose_build(
            collection,
            examined,
            segment_bytes=self._settings.segment_bytes,
            memory=self._settings.memory,
            is_idle=is_idle,
            merges_all=merges_all,
        )
        if build is not None:
            self._build(collection, build)
            return True
        index = self._choose_secondary(collection, examined)
        if index is not None and is_idle:
            self._build_secondary(collection, index, examined.records)
            return True
        if collection.dimension is not None and (is_idle or merges_all):
            start = bookkeeping.sweep_start(examined, merges_all=merges_all)
            self._run_interruptible(
                collection, bookkeeping.delete_orphans(collection, start), collection.role
            )
        if merges_all:
            self._run_interruptible(collection, bookkeeping.recount(collection), collection.role)
        self._run_interruptible(collection, bookkeeping.merge_counts(collection), collection.role)
        return False

    def _choose_secondary(
        self, collection: Collection, examined: Inspection
    ) -> SecondaryIndex | None:
        is_automatic = self._settings.is_automatic
        index = bookkeeping.choose_secondary(
            collection, examined, has_trigrams=True, is_automatic=is_automatic
        )
        if index is None or index.kind != "trigrams":
            return index
        # Somebody may have created the extension, or dropped it, since the last time.
        self._trigrams_schema = self._find_trigrams()
        if self._trigrams_schema is not None:
            return index
        self.obstacles[collection.tables.id] = NO_TRIGRAMS
        return bookkeeping.choose_secondary(
            collection, examined, has_trigrams=False, is_automatic=is_automatic
        )

    def _clean_up(self, collection: Collection) -> Inspection:
        """Drop what nobody uses, and bring the catalog and PostgreSQL together."""
        has_dropped = False
        while True:
            peek = bookkeeping.inspect(collection)
            examined: Inspection = self._run_interruptible(collection, peek, collection.role)
            changed, leftovers = self._run_interruptible(
                collection, bookkeeping.reconcile(collection, examined)
            )
            if changed:
                self._analyze(collection)
            for name in leftovers:
                drop = bookkeeping.drop_index(collection, name)
                self._run_interruptible(collection, drop, is_patient=True)
                has_dropped = True
            if not (changed or leftovers):
                break
        if has_dropped and collection.dimension is not None:
            self._run_interruptible(collection, bookkeeping.vacuum(collection, examined))
        return examined

    def _build(self, collection: Collection, build: Build) -> None:
        if build.rows == 0:
            # Nothing is left in the range, so nothing finds less without its index.
            self._run_interruptible(collection, bookkeeping.drop_segments(collection, build))
            return
        self._run_interruptible(collection, bookkeeping.delete_orphans(collection), collection.role)
        most = self._settings.memory // self._memory_of_one(collection)
        if build.rows > most:
            clip = bookkeeping.limited_to(collection, build, most)
            build = self._run_interruptible(collection, clip, collection.role)
        announce = bookkeeping.announce_build(collection, build)
        segment: SegmentRow = self._run_interruptible(collection, announce)
        _log.info("building %s over %d embeddings", segment.index_name, build.rows)
        self._set_build_limits(collection, build)
        self._run_interruptible(collection, bookkeeping.disable_index_vacuum(collection))
        statement = bookkeeping.segment_statement(collection, segment)
        self._create(collection, statement, segment.index_name, build.rows)
        count = bookkeeping.live_rows(collection, segment.first_pos, segment.end_pos)
        entries = self._run_interruptible(collection, count, collection.role)
        has_replaced = self._run_interruptible(
            collection, bookkeeping.finish_build(segment, entries)
        )
        self._analyze(collection)
        if has_replaced:
            # Readers may know the old ones for a while yet, before they are dropped.
            self._stop.wait(2 * FRESH_SECONDS)

    def _build_secondary(self, collection: Collection, index: SecondaryIndex, records: int) -> None:
        name = secondary_name(collection.tables, index)
        _log.info("building %s over %d records", name, records)
        self._set("maintenance_work_mem", f"{MIN_MEMORY_BYTES >> 10}kB")
        statement = create_secondary(collection.tables, index, self._trigrams_schema)
        self._create(collection, statement, name, records)
        self._run_interruptible(
            collection, bookkeeping.set_secondary(collection, index, is_ready=True)
        )
        self._analyze(collection)

    def _analyze(self, collection: Collection) -> None:
        for statement in bookkeeping.analyze(collection):
            self._run_interruptible(collection, statement)

    def _set_build_limits(self, collection: Collection, build: Build) -> None:
        needed = build.rows * self._memory_of_one(collection)
        memory = min(max(needed, MIN_MEMORY_BYTES), self._settings.memory)
        self._set("maintenance_work_mem", f"{memory >> 10}kB")
        workers = min(max(collection.hnsw.num_threads - 1, 0), 16)
        self._set("max_parallel_maintenance_workers", str(workers))

    @staticmethod
    def _memory_of_one(collection: Collection) -> int:
        neighbors = collection.hnsw.max_neighbors
        return build_memory_per_row(collection.dimension or 0, collection.quantization, neighbors)

    def _create(self, collection: Collection, statement: Statement, name: str, rows: int) -> None:
        """Build an index, in parallel if there is room for that."""

        def tell(done: int) -> None:
            if self._progress is not None:
                self._progress(collection, name, min(done, rows), rows)

        for is_last in (False, True):
            try:
                self._run_interruptible(collection, statement, tell=tell, is_patient=True)
                return
            except psycopg.Error as error:
                # What there is of it takes room, and from every write time to keep it right.
                with suppress(psycopg.Error):
                    drop = bookkeeping.drop_index(collection, name)
                    self._run_interruptible(collection, drop, is_patient=True)
                if is_last or not isinstance(error, _SCARCE):
                    raise
            # A parallel build keeps its graph in shared memory, of which containers have little.
            _log.info("building %s again with one process", name)
            self._set("max_parallel_maintenance_workers", "0")

    def _run_interruptible(
        self,
        collection: Collection,
        step: Statement | Steps[Any],
        role: str | None = None,
        tell: Callable[[int], None] | None = None,
        is_patient: bool = False,
    ) -> Any:
        """Do what may take long, and give it up if somebody waits for the collection's tables.

        Whoever keeps it waiting is told in the log and in the collection's status. What is not
        patient gives up after a while, so that other collections have their turn.
        """
        running = _started(
            partial(self._run, step, role)
            if isinstance(step, Statement)
            else partial(run, self._work, step, role)
        )
        waiting = Waiting(TELL_SECONDS)
        try:
            while not _has_ended(running, LOOK_SECONDS):
                is_awaited, done, is_blocked = self._look(collection)
                if tell is not None:
                    tell(done)
                self._tell_waiting(collection, waiting, is_blocked=is_blocked)
                has_patience = is_patient or not waiting.lasts_for(PATIENCE_SECONDS)
                if is_awaited or self._stop.is_set() or not has_patience:
                    return self._cancel(running)
            return running.result()
        except BaseException:
            # Whoever is interrupted here must not have to wait for the end of it.
            with suppress(psycopg.Error, BuildInterruptedError):
                self._cancel(running)
            raise

    def _look(self, collection: Collection) -> tuple[bool, int, bool]:
        """Look whether somebody waits for a collection's tables, and how a build is.

        A database that is deleted takes its tables away; that counts as waiting for them.

        Returns:
            Whether somebody does; how many rows the build has read; whether it waits itself.
        """
        tables = collection.tables
        relations = [table.as_string(None) for table in (tables.records, tables.vectors)]
        if collection.dimension is None:
            relations.pop()
        found = self._watch.execute(
            _LOOK, {"pid": self._work.info.backend_pid, "relations": relations}
        ).fetchone()
        is_awaited, done, is_blocked = found or (False, 0, False)
        return is_awaited, done or 0, bool(is_blocked)

    def _tell_waiting(self, collection: Collection, waiting: Waiting, *, is_blocked: bool) -> None:
        id = collection.tables.id
        if not is_blocked:
            if waiting.is_over():
                _note_error(self._watch, id, None)
        elif waiting.is_worth_telling():
            for blocker in run(self._watch, blockers(self._work.info.backend_pid))[:1]:
                _log.warning("building indexes of collection %s waits for %s", id, blocker)
                _note_error(self._watch, id, f"building indexes waits for {blocker}")

    def _cancel(self, running: Future[Any]) -> Any:
        if not running.done():
            self._work.cancel_safe()
        # It may have ended meanwhile, which is as well.
        with suppress(pg.QueryCanceled):
            return running.result()
        raise BuildInterruptedError

    def _find_trigrams(self) -> str | None:
        found = self._work.execute(_TRIGRAMS).fetchone()
        return None if found is None else str(found[0])

    def _set(self, name: str, value: str) -> None:
        self._work.execute("select set_config(%s, %s, false)", [name, value])

    def _run(self, statement: Statement, role: str | None = None) -> None:
        run(self._work, _alone(statement), role)


def _alone(statement: Statement) -> Steps[None]:
    yield statement


def _note_error(connection: psycopg.Connection[Any], id: UUID, error: str | None) -> bool:
    with suppress(pg.InsufficientPrivilege):
        return bool(run(connection, bookkeeping.note_error(id, error)).is_done)
    return True


def _connect(conninfo: str) -> psycopg.Connection[Any]:
    connection = psycopg.connect(
        conninfo, autocommit=True, application_name=COMPACTOR, prepare_threshold=None
    )
    try:
        _refuse_pooler(connection)
        # Limits on what users ask are not meant for work that takes its time behind them.
        connection.execute(_WITHOUT_LIMITS)
        set_isolation(connection)
        add_for_session(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def _started(work: Callable[[], Any]) -> Future[Any]:
    """Run something in a thread of its own, which does not keep the process from ending."""
    future: Future[Any] = Future()

    def carry_out() -> None:
        try:
            answer = work()
        except BaseException as error:
            future.set_exception(error)
        else:
            future.set_result(answer)

    Thread(target=carry_out, name="pgchroma-build", daemon=True).start()
    return future


def _has_ended(running: Future[Any], seconds: float) -> bool:
    """Wait for something, not for longer than so many seconds; raise what it raised."""
    try:
        running.result(seconds)
    except NotYet:
        if running.done():
            raise
        return False
    return True


def _refuse_pooler(connection: psycopg.Connection[Any]) -> None:
    found = connection.execute("select pg_backend_pid()").fetchone()
    if found is None or found[0] != connection.info.backend_pid:
        raise UnavailableError(
            "the compactor needs a connection to PostgreSQL itself and there is a pooler in "
            "between: name the database's own URL in pgchroma_compaction_url (on a server "
            "compaction_url), or switch compaction off and run `pgchroma compact` elsewhere"
        )


_WITHOUT_LIMITS = """
select set_config(name, '0', false)
from pg_catalog.pg_settings
where name in (
    'statement_timeout', 'lock_timeout', 'transaction_timeout', 'idle_session_timeout'
)
"""

_TRIGRAMS = """
select n.nspname::text
from pg_catalog.pg_extension as e
join pg_catalog.pg_namespace as n on n.oid = e.extnamespace
where e.extname = 'pg_trgm'
"""

_LOOK = render(
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
