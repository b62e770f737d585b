"""The steps of a compaction pass, without a database."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

import pytest
from psycopg import errors as pg

from pgchroma.compactor.passes import PassResult, compact_pass
from pgchroma.compactor.session import BuildInterruptedError
from pgchroma.compactor.settings import CompactionSettings
from pgchroma.compactor.state import TrackedCollection
from pgchroma.compactor.steps import AsRole, IndexDDL, PassStep, Pause, Uninterruptible
from pgchroma.model.configuration import CollectionConfiguration
from pgchroma.store.layout.tables import CollectionTables
from pgchroma.store.running.steps import Statement

COLLECTION = uuid.UUID(int=1)
TABLES = CollectionTables("s", COLLECTION)
SETTINGS = CompactionSettings(segment_bytes=0)
ROWS = 300


def _collection() -> TrackedCollection:
    configuration = CollectionConfiguration.parse({"hnsw": {"sync_threshold": 100}}, None)
    return TrackedCollection(TABLES, "papers", configuration, 4, "t", None, 0, False, False)


class Answers:
    """PostgreSQL's answers about a collection with a tail and, once it is built, a segment."""

    def __init__(self) -> None:
        self.is_built = False

    def __call__(self, text: str) -> Any:
        segment = (7, 1, ROWS + 1, "index_7", ROWS, True, "none", 16, 100)
        answers: list[tuple[str, Any]] = [
            ("select pg_try_advisory_lock", [(True,)]),
            ("select coalesce(pg_sequence_last_value", [(ROWS, ROWS)]),
            ("select id, first_pos, end_pos, index_name", [segment] if self.is_built else []),
            ("select c.relname::text, i.indisvalid", [("index_7", True)] if self.is_built else []),
            ("select coalesce(sum(change), 0)", [(ROWS,)]),
            ("select coalesce( ( select o.option_value", [(85, 0, 0, 0)]),
            ("select (select coalesce(sum(operations)", [(ROWS, ROWS)]),
            ("select compacted_operations", [(0, 0, None)]),
            ("with free as materialized", [(COLLECTION,)]),
            ("select count(*), max(pos)", [(0, None)] if self.is_built else [(ROWS, ROWS)]),
            ("select count(*) from", [(ROWS,)]),
            ("with next as", [(7, "index_7")]),
            ("with other as materialized", [(True, False)]),
        ]
        if text.startswith("create index"):
            self.is_built = True
        return next((rows for start, rows in answers if text.startswith(start)), [])


def _text(step: PassStep) -> str:
    match step:
        case AsRole(_, Statement() as statement) | Uninterruptible(Statement() as statement):
            pass
        case IndexDDL(statement):
            pass
        case Statement() as statement:
            pass
        case _:
            return type(step).__name__
    return " ".join(statement.text.decode().split())


def _run(
    collection: TrackedCollection,
    answer: Callable[[str], Any],
    error: Callable[[PassStep], BaseException | None] = lambda _: None,
) -> tuple[PassResult | BaseException, list[PassStep]]:
    """Run a pass; return its result, or the error that ended it, and its steps."""
    steps = compact_pass(collection, SETTINGS)
    taken = []
    try:
        step = next(steps)
        while True:
            taken.append(step)
            raised = error(step)
            step = steps.send(answer(_text(step))) if raised is None else steps.throw(raised)
    except StopIteration as done:
        return done.value, taken
    except (pg.Error, BuildInterruptedError) as ended:
        return ended, taken


def test_a_pass_builds_a_segment_and_releases_its_lock() -> None:
    result, steps = _run(_collection(), Answers())
    assert result == PassResult(is_done=True)
    texts = [_text(step) for step in steps]
    assert texts[0].startswith("select pg_try_advisory_lock")
    assert texts[-1].startswith("select pg_advisory_unlock")
    # A lock that was taken by an interrupted step would be held until the connection is closed.
    assert isinstance(steps[0], Uninterruptible)
    assert isinstance(steps[-1], Uninterruptible)
    assert sum(text.startswith("create index concurrently") for text in texts) == 1


def test_what_reads_or_changes_a_tenants_rows_runs_as_its_role() -> None:
    _, steps = _run(_collection(), Answers())
    names = [table.as_string(None) for table in (TABLES.records, TABLES.vectors, TABLES.counts)]
    for step in steps:
        text = _text(step)
        # PostgreSQL itself runs these with the privileges of the tables' owner.
        is_ddl = text.startswith(("create index", "drop index", "alter table", "analyze", "vacuum"))
        if not is_ddl and any(name in text for name in names):
            assert isinstance(step, AsRole), text


def test_a_parallel_build_without_memory_is_repeated_with_one_process() -> None:
    failures = [pg.OutOfMemory("no shared memory")]

    def error(step: PassStep) -> BaseException | None:
        is_build = isinstance(step, IndexDDL) and _text(step).startswith("create index")
        return failures.pop() if is_build and failures else None

    result, steps = _run(_collection(), Answers(), error)
    assert result == PassResult(is_done=True)
    ddl = [_text(step).split(" ")[0] for step in steps if isinstance(step, IndexDDL)]
    assert ddl == ["create", "drop", "create"]


@pytest.mark.parametrize("failure", [pg.DiskFull("no space left"), BuildInterruptedError()])
def test_a_pass_that_fails_releases_its_lock(failure: BaseException) -> None:
    def error(step: PassStep) -> BaseException | None:
        is_build = isinstance(step, IndexDDL) and _text(step).startswith("create index")
        return failure if is_build else None

    result, steps = _run(_collection(), Answers(), error)
    assert result is failure
    assert _text(steps[-1]).startswith("select pg_advisory_unlock")
    drops = [step for step in steps if _text(step).startswith("drop index")]
    assert bool(drops) is not isinstance(failure, BuildInterruptedError)


def test_a_pass_stops_before_it_starts_a_build() -> None:
    stopped = BuildInterruptedError()
    result, steps = _run(
        _collection(), Answers(), lambda step: stopped if isinstance(step, Pause) else None
    )
    assert result is stopped
    assert not any(isinstance(step, IndexDDL) for step in steps)
