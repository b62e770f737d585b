"""Statements sent together take effect together or not at all; the connection stays usable."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable
from typing import Any

import psycopg
import pytest
from psycopg.pq import PipelineStatus, TransactionStatus

import pgchroma
from pgchroma.store import run, run_async
from pgchroma.store.running.steps import Statement, Step, Steps, Transaction, WithSettings

INSERT = Statement(b"insert into kept values (%(n)s)", {"n": 1})
FAIL = Statement(b"select 1 / %(n)s::int", {"n": 0})
COUNT = Statement(b"select count(*) from kept")
ROW = Statement(b"select 7")
EMPTY = Statement(b"delete from kept")
SHOW = Statement(b"show work_mem")

Work = Callable[[psycopg.AsyncConnection[Any] | psycopg.Connection[Any], Steps[Any]], Any]


@pytest.fixture
def kept(connection: psycopg.Connection[Any]) -> psycopg.Connection[Any]:
    connection.execute("create table kept (n int)")
    return connection


def _steps(*steps: Step) -> Steps[Any]:
    rows = None
    for step in steps:
        rows = yield step
    return rows


def _atomic(exchange: Steps[Any]) -> Steps[Any]:
    return (yield Transaction(exchange))


SETTING = Statement(b"set local work_mem = '1MB'")
WRONG = Statement(b"set local work_mem = '1'")
GROUPS: list[Step] = [
    (FAIL,),
    (FAIL, INSERT),
    (INSERT, FAIL, INSERT),
    (INSERT, INSERT, FAIL),
    (SETTING, INSERT, WRONG, INSERT),
    (INSERT, Statement(b"selec"), INSERT),
    (INSERT, Statement(b"select nothing from kept")),
    WithSettings((SETTING,), FAIL),
    WithSettings((WRONG,), ROW),
    WithSettings((SETTING, WRONG, SETTING), ROW),
    WithSettings((), FAIL),
]


def _is_clean(connection: psycopg.BaseConnection[Any], status: TransactionStatus) -> bool:
    info = connection.info
    return (info.transaction_status, info.pipeline_status) == (status, PipelineStatus.OFF)


@pytest.mark.parametrize("turns", [1, 8])
def test_a_failing_statement_undoes_its_group(
    kept: psycopg.Connection[Any], url: str, turns: int
) -> None:
    """From the sixth time on psycopg prepares a statement."""
    for group in GROUPS:
        run(kept, _steps(EMPTY))
        with psycopg.connect(url, autocommit=True) as connection:
            for turn in range(turns):
                with pytest.raises(psycopg.Error):
                    run(connection, _steps(INSERT, group))
                assert _is_clean(connection, TransactionStatus.IDLE), group
                assert run(connection, _steps(COUNT)) == [(turn + 1,)]
                assert run(connection, _steps(SHOW)) == [("4MB",)]
                assert run(connection, _steps((INSERT, ROW), (EMPTY,), (ROW,))) == [(7,)]
                inserts = [INSERT] * (turn + 1)
                assert run(connection, _steps(*inserts, WithSettings((SETTING,), COUNT))) == [
                    (turn + 1,)
                ]


def test_in_the_callers_transaction_only_the_group_is_undone(
    kept: psycopg.Connection[Any], url: str
) -> None:
    for group in GROUPS:
        run(kept, _steps(EMPTY))
        with psycopg.connect(url) as owner:
            owner.execute("insert into kept values (0)")
            for _ in range(7):
                # As the backends do, for each operation.
                with pytest.raises(psycopg.Error), owner.transaction():
                    run(owner, _steps(INSERT, group))
                assert _is_clean(owner, TransactionStatus.INTRANS), group
                assert run(owner, _steps(WithSettings((SETTING,), ROW))) == [(7,)]
                assert run(owner, _steps(SHOW)) == [("4MB",)]
            run(owner, _steps((INSERT, INSERT)))
            owner.commit()
        assert run(kept, _steps(COUNT)) == [(3,)]


def test_within_an_atomic_step_everything_is_undone(kept: psycopg.Connection[Any]) -> None:
    for group in GROUPS:
        run(kept, _steps(EMPTY))
        with pytest.raises(psycopg.Error):
            run(kept, _atomic(_steps(INSERT, (INSERT, ROW), group)))
        assert _is_clean(kept, TransactionStatus.IDLE), group
        assert run(kept, _steps(COUNT)) == [(0,)]
        assert run(kept, _atomic(_steps((INSERT, ROW), WithSettings((SETTING,), COUNT)))) == [(1,)]
        assert run(kept, _steps(COUNT)) == [(1,)]


def test_a_handler_that_copes_with_a_fault_is_not_resumed_after_it(
    kept: psycopg.Connection[Any],
) -> None:
    ended = []

    def handler() -> Steps[None]:
        try:
            yield (INSERT, FAIL)
        finally:
            ended.append(True)

    with pytest.raises(psycopg.errors.DivisionByZero):
        run(kept, handler())
    assert ended == [True]


def test_what_a_tuned_statement_writes_is_not_kept(kept: psycopg.Connection[Any]) -> None:
    run(kept, _steps(WithSettings((SETTING,), INSERT)))
    assert run(kept, _steps(COUNT)) == [(0,)]


async def test_asynchronous_groups_are_undone_too(kept: psycopg.Connection[Any], url: str) -> None:
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        for turn in range(8):
            for group in GROUPS:
                with pytest.raises(psycopg.Error):
                    await run_async(connection, _steps(group))
                assert _is_clean(connection, TransactionStatus.IDLE)
                with pytest.raises(psycopg.Error):
                    await run_async(connection, _atomic(_steps(INSERT, group)))
                assert _is_clean(connection, TransactionStatus.IDLE)
            found = await run_async(
                connection, _steps((INSERT, ROW), WithSettings((SETTING,), COUNT))
            )
            assert found == [(turn + 1,)]
    async with await psycopg.AsyncConnection.connect(url) as owner:
        await owner.execute("insert into kept values (0)")
        for group in GROUPS:
            with pytest.raises(psycopg.Error):
                async with owner.transaction():
                    await run_async(owner, _steps(INSERT, group))
            assert _is_clean(owner, TransactionStatus.INTRANS)
        assert await run_async(owner, _steps(COUNT)) == [(9,)]
        await owner.commit()
    assert kept.execute("select count(*) from kept").fetchone() == (9,)


SLEEP = Statement(b"select pg_sleep(0.3)")


@pytest.mark.parametrize(
    "group",
    [(INSERT, SLEEP, INSERT), (SLEEP, INSERT), WithSettings((SETTING,), SLEEP), SLEEP],
    ids=["middle", "first", "tuned", "alone"],
)
@pytest.mark.parametrize("seconds", [0.0, 0.001, 0.1])
async def test_what_is_given_up_in_the_middle_is_done_whole_or_not_at_all(
    kept: psycopg.Connection[Any], url: str, group: Step, seconds: float
) -> None:
    # A cancel request that arrives before the server has begun has no effect: all statements run.
    inserts = group.count(INSERT) if isinstance(group, tuple) else 0
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        for _ in range(3):
            task = asyncio.ensure_future(run_async(connection, _steps(group)))
            await asyncio.sleep(seconds)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            if connection.closed or connection.info.transaction_status is TransactionStatus.ACTIVE:
                # The call was abandoned before any answer: a pool replaces the connection.
                break
            assert _is_clean(connection, TransactionStatus.IDLE)
            [(found,)] = await run_async(connection, _steps((ROW,), COUNT))
            assert found in ((0, inserts) if seconds < 0.1 else (0,))
            assert await run_async(connection, _steps(EMPTY, SHOW)) == [("4MB",)]
        connection.pgconn.finish()
    assert kept.execute("select count(*) from kept").fetchone() in ((0,), (inserts,))


async def test_writes_that_are_given_up_are_written_whole_or_not_at_all(
    url: str, kept: psycopg.Connection[Any]
) -> None:
    settings = pgchroma.Settings(pgchroma_pool_size=2, pgchroma_compaction=False)
    chance = random.Random(5)
    async with pgchroma.AsyncPostgresClient(url, settings) as client:
        papers = await client.create_collection("papers", embedding_function=None)
        await papers.add(ids="seed", embeddings=[1.0, 1.0])
        done, given_up = 0, 0
        for turn in range(60):
            ids = [f"{turn}-{n}" for n in range(5)]
            try:
                async with asyncio.timeout(chance.random() * 0.012):
                    await papers.upsert(ids=ids, embeddings=[[1.0, float(turn)]] * 5)
                    done += 1
            except TimeoutError:
                given_up += 1
            found = (await papers.get(ids=ids))["ids"]
            assert len(found) in (0, 5)
            assert await papers.count() == len((await papers.get(include=[]))["ids"])
        assert done
        assert given_up


@pytest.mark.parametrize("is_async", [False, True])
async def test_a_fault_that_arrives_early_is_raised_alone(
    url: str, is_async: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """psycopg warns on standard error if another error follows the one that left the pipeline."""
    many = (FAIL, *[ROW] * 3000)
    with caplog.at_level(logging.WARNING, "psycopg"), pytest.raises(psycopg.errors.DivisionByZero):
        if is_async:
            async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
                await run_async(connection, _steps(many))
        else:
            with psycopg.connect(url, autocommit=True) as plain:
                run(plain, _steps(many))
    assert [record.message for record in caplog.records if record.name == "psycopg"] == []
