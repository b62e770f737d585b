"""The two that run handlers: on psycopg's connection, and on its asynchronous one.

A handler yields steps and is sent rows. These functions are all that differs between the
synchronous and the asynchronous direct client below the seam.

With a role, every transaction of the handler's begins with becoming it and ends with leaving it.
Outside of a transaction a statement makes one with what becomes the role: PostgreSQL takes all
that a pipeline sends at once for one transaction. Should there be no such role, then the
statement behind it is not run.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Final, ParamSpec, TypeVar

import psycopg
from psycopg import AsyncConnection, AsyncCursor, BaseConnection, Connection, Cursor, Rollback
from psycopg.pq import PipelineStatus
from psycopg.rows import tuple_row

from pgchroma.store.records.text_arrays import pack_lists
from pgchroma.store.roles import set_role
from pgchroma.store.running.isolation import (
    ASKING,
    COMMITTED,
    NO_BRACKETS,
    READ_COMMITTED,
    ROLLED_BACK,
    UNDONE,
    Brackets,
    brackets_for,
    is_idle,
    note_isolation,
)
from pgchroma.store.running.prepared_statements import may_prepare
from pgchroma.store.running.search_path import ADD_SCHEMA, lacks_schema
from pgchroma.store.running.steps import (
    Attempt,
    Rows,
    Statement,
    Step,
    Steps,
    Transaction,
    WithSettings,
)

__all__ = ("run", "run_async", "transaction", "transaction_async")

P = ParamSpec("P")
T = TypeVar("T")

PAGE: Final = 500
"""Rows that are taken over at a time; an event loop is let go in between."""


def run(connection: Connection[Any], exchange: Steps[Any], role: str | None = None) -> Any:
    """Run a handler to its end on a connection, as a role or as who is logged in.

    The connection has to know how to send vectors; see
    `pgchroma.store.records.vectors.prepare_vectors`.
    """
    try:
        step = next(exchange)
        while True:
            step = exchange.send(_take(connection, step, role))
    except StopIteration as done:
        return done.value
    finally:
        exchange.close()


async def run_async(
    connection: AsyncConnection[Any],
    exchange: Steps[Any],
    role: str | None = None,
    *,
    is_heavy: bool = False,
) -> Any:
    """Run a handler to its end on an asynchronous connection; see `run`.

    Args:
        connection: Where its statements are sent.
        exchange: The handler.
        role: As which role it is run.
        is_heavy: Whether it does its own work in a thread, beside the event loop.
    """
    answer: Any = None
    try:
        while True:
            if is_heavy or _has_many_rows(answer):
                step = await _in_thread(_advance, exchange, answer)
            else:
                step = _advance(exchange, answer)
            if isinstance(step, _Done):
                return step.value
            answer = await _take_async(connection, step, role, is_heavy=is_heavy)
    finally:
        exchange.close()


@dataclass(frozen=True, slots=True)
class _Done:
    """What a handler returned; a `StopIteration` cannot pass through a thread's future."""

    value: Any


def _advance(exchange: Steps[Any], answer: Any) -> Step | _Done:
    try:
        return exchange.send(answer)
    except StopIteration as done:
        return _Done(done.value)


def _has_many_rows(answer: Any) -> bool:
    return isinstance(answer, list) and len(answer) > PAGE


async def _in_thread(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Do work in a thread, and let it end before this is cancelled: it uses what is closed then."""
    task = asyncio.ensure_future(asyncio.to_thread(work, *args, **kwargs))
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        task.exception()
        raise cancelled
    return task.result()


def _take(connection: Connection[Any], step: Step, role: str | None) -> Any:
    prefix = _prefix(connection, role)
    match step:
        case Statement():
            return _send(connection, (*prefix, step), brackets_for(connection))
        case WithSettings(settings, statement):
            brackets = _undone_for(connection)
            return _send(connection, (*prefix, *settings, statement), brackets)
        case Transaction(exchange):
            if is_idle(connection):
                connection.isolation_level = READ_COMMITTED
            with transaction(connection):
                # Once is enough, and the role itself may not become another.
                _send(connection, prefix)
                return run(connection, exchange)
        case Attempt(exchange):
            try:
                return _take(connection, Transaction(exchange), role)
            except psycopg.Error as error:
                return error
        case statements:
            return _send(connection, (*prefix, *statements), _kept_for(connection))


def _send(
    connection: Connection[Any],
    statements: tuple[Statement, ...],
    brackets: Brackets = NO_BRACKETS,
) -> Rows:
    if not statements:
        return ()
    if len(statements) == 1 and brackets is NO_BRACKETS:
        return _rows(_execute(connection, statements[0]))
    is_alone = is_idle(connection)
    try:
        cursors = _pipelined(connection, (*brackets.before, *statements, *brackets.after))
    except BaseException:
        # Whatever it is part of is undone by whoever began that.
        with suppress(psycopg.Error):
            if _is_stuck(connection):
                connection.close()
            elif is_alone:
                _undo(connection)
        if is_alone and not is_idle(connection):
            # The undoing was itself cancelled.
            connection.close()
        raise
    if brackets is ASKING:
        note_isolation(connection, _rows(cursors[len(brackets.before) - 1]))
    return _rows(cursors[-1 - len(brackets.after)])


def _pipelined(connection: Connection[Any], statements: tuple[Statement, ...]) -> list[Cursor[Any]]:
    first = None
    cursors: list[Cursor[Any]] = []
    try:
        with connection.pipeline():
            # psycopg writes a warning if a fault leaves the pipeline and another one follows.
            try:
                cursors.extend(_execute(connection, statement) for statement in statements)
            except psycopg.Error as error:
                first = error
    except psycopg.Error:
        if first is None:
            raise
    if first is not None:
        raise first
    return cursors


def _undo(connection: Connection[Any]) -> None:
    # Statements behind the one that failed were not prepared, and psycopg thinks that they were:
    # it forgets when it rolls back, and it does that only within a transaction.
    connection.rollback()
    with connection.transaction():
        raise Rollback


@contextmanager
def transaction(connection: Connection[Any]) -> Generator[None, None, None]:
    """Make a transaction or a savepoint; of a lost connection nothing is logged."""
    block = connection.transaction()
    block.__enter__()
    try:
        yield
    except BaseException as error:
        if not connection.closed:
            block.__exit__(type(error), error, error.__traceback__)
        raise
    block.__exit__(None, None, None)


async def _take_async(
    connection: AsyncConnection[Any], step: Step, role: str | None, *, is_heavy: bool
) -> Any:
    prefix = _prefix(connection, role)
    if is_heavy:
        step = await _in_thread(_packed, step)
    match step:
        case Statement():
            return await _send_async(connection, (*prefix, step), brackets_for(connection))
        case WithSettings(settings, statement):
            brackets = _undone_for(connection)
            return await _send_async(connection, (*prefix, *settings, statement), brackets)
        case Transaction(exchange):
            if is_idle(connection):
                await connection.set_isolation_level(READ_COMMITTED)
            async with transaction_async(connection):
                await _send_async(connection, prefix)
                return await run_async(connection, exchange, is_heavy=is_heavy)
        case Attempt(exchange):
            try:
                return await _take_async(connection, Transaction(exchange), role, is_heavy=is_heavy)
            except psycopg.Error as error:
                return error
        case statements:
            return await _send_async(connection, (*prefix, *statements), _kept_for(connection))


def _packed(step: Step) -> Step:
    match step:
        case Statement():
            return pack_lists(step)
        case WithSettings(settings, statement):
            return WithSettings(settings, pack_lists(statement))
        case Transaction() | Attempt():
            return step
        case statements:
            return tuple(map(pack_lists, statements))


async def _send_async(
    connection: AsyncConnection[Any],
    statements: tuple[Statement, ...],
    brackets: Brackets = NO_BRACKETS,
) -> Rows:
    if not statements:
        return ()
    if len(statements) == 1 and brackets is NO_BRACKETS:
        return await _rows_async(await _execute_async(connection, statements[0]))
    is_alone = is_idle(connection)
    try:
        cursors = await _pipelined_async(
            connection, (*brackets.before, *statements, *brackets.after)
        )
    except BaseException:
        with suppress(psycopg.Error):
            if _is_stuck(connection):
                await connection.close()
            elif is_alone:
                await _undo_async(connection)
        if is_alone and not is_idle(connection):
            await connection.close()
        raise
    if brackets is ASKING:
        note_isolation(connection, await _rows_async(cursors[len(brackets.before) - 1]))
    return await _rows_async(cursors[-1 - len(brackets.after)])


async def _pipelined_async(
    connection: AsyncConnection[Any], statements: tuple[Statement, ...]
) -> list[AsyncCursor[Any]]:
    first = None
    cursors: list[AsyncCursor[Any]] = []
    try:
        async with connection.pipeline():
            try:
                for statement in statements:
                    cursors.append(await _execute_async(connection, statement))
            except psycopg.Error as error:
                first = error
    except psycopg.Error:
        if first is None:
            raise
    if first is not None:
        raise first
    return cursors


async def _undo_async(connection: AsyncConnection[Any]) -> None:
    await connection.rollback()
    async with connection.transaction():
        raise Rollback


@asynccontextmanager
async def transaction_async(connection: AsyncConnection[Any]) -> AsyncGenerator[None, None]:
    """Make a transaction or a savepoint; see `transaction`."""
    block = connection.transaction()
    await block.__aenter__()
    try:
        yield
    except BaseException as error:
        if not connection.closed:
            await block.__aexit__(type(error), error, error.__traceback__)
        raise
    await block.__aexit__(None, None, None)


def _kept_for(connection: BaseConnection[Any]) -> Brackets:
    """Make a transaction of statements, unless they are part of one."""
    return COMMITTED if is_idle(connection) else NO_BRACKETS


def _prefix(connection: BaseConnection[Any], role: str | None) -> tuple[Statement, ...]:
    """What a transaction begins with. The role comes last: it may set nothing."""
    path = (ADD_SCHEMA,) if lacks_schema(connection) and is_idle(connection) else ()
    return path if role is None else (*path, set_role(role))


def _undone_for(connection: BaseConnection[Any]) -> Brackets:
    """Undo what statements set."""
    return ROLLED_BACK if is_idle(connection) else UNDONE


def _is_stuck(connection: BaseConnection[Any]) -> bool:
    """Whether somebody was interrupted so early that psycopg did not get out of its pipeline."""
    return connection.pgconn.pipeline_status != PipelineStatus.OFF


def _execute(connection: Connection[Any], statement: Statement) -> Cursor[Any]:
    # The connection may be the caller's own, with another format and other rows. In binary
    # PostgreSQL takes one statement at a time: nobody can append a second.
    cursor = connection.cursor(binary=True, row_factory=tuple_row)
    return cursor.execute(
        statement.text, statement.parameters, prepare=_prepares(connection, statement)
    )


async def _execute_async(
    connection: AsyncConnection[Any], statement: Statement
) -> AsyncCursor[Any]:
    cursor = connection.cursor(binary=True, row_factory=tuple_row)
    return await cursor.execute(
        statement.text, statement.parameters, prepare=_prepares(connection, statement)
    )


def _prepares(connection: BaseConnection[Any], statement: Statement) -> bool | None:
    return None if statement.reuses_plan and may_prepare(connection) else False


def _rows(cursor: Cursor[Any]) -> Rows:
    return cursor.fetchall() if cursor.description is not None else ()


async def _rows_async(cursor: AsyncCursor[Any]) -> Rows:
    if cursor.description is None:
        return ()
    rows = await cursor.fetchmany(PAGE)
    page = rows
    while len(page) == PAGE:
        await asyncio.sleep(0)
        page = await cursor.fetchmany(PAGE)
        rows += page
    return rows
