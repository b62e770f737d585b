"""The driver: runs a handler on a connection of psycopg.

A handler yields steps, and the driver sends it their rows.

With a role, every transaction of the handler begins with setting the role and ends with resetting
it. Outside a transaction, a statement and the one that sets the role form a transaction: PostgreSQL
runs everything that a pipeline sends at once as one transaction. If there is no such role, the
statement that follows is not run.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from typing import Any

import psycopg
from psycopg import AsyncConnection, AsyncCursor, BaseConnection, Rollback
from psycopg.pq import PipelineStatus

from pgchroma.store.encoding.text_arrays import pack_lists
from pgchroma.store.running._async.cursors import PrepareInPipeline, StepCursor
from pgchroma.store.running._async.io import (
    RETURNED,
    fetch,
    has_many_rows,
    in_thread,
    send_in_thread,
)
from pgchroma.store.running._async.prepared import execute_prepared
from pgchroma.store.running.isolation import (
    ASKING,
    NO_WRAPPING,
    READ_COMMITTED,
    Wrapping,
    committing,
    is_idle,
    note_isolation,
    rolling_back,
    wrapping_for,
)
from pgchroma.store.running.prepared_statements import may_prepare
from pgchroma.store.running.search_path import ADD_SCHEMA, lacks_schema
from pgchroma.store.running.session_settings import settings_of
from pgchroma.store.running.steps import (
    Attempt,
    Reads,
    Rows,
    Statement,
    Step,
    Steps,
    Transaction,
    WithSettings,
)
from pgchroma.store.running.transaction_settings import set_role

__all__ = ("run", "transaction")


async def run(
    connection: AsyncConnection[Any],
    steps: Steps[Any],
    role: str | None = None,
    *,
    is_heavy: bool = False,
) -> Any:
    """Run a handler to its end on a connection.

    The connection must know how to send vectors; see
    `pgchroma.store.encoding.vectors.prepare_vectors`.

    Args:
        connection: Where the handler's statements are sent.
        steps: The handler.
        role: The role to run it as; `None` means the user that is logged in.
        is_heavy: Whether the handler's own work is done in a thread, off the event loop.
    """
    answer: Any = None
    try:
        while True:
            step = (
                await send_in_thread(steps, answer)
                if is_heavy or has_many_rows(answer)
                else steps.send(answer)
            )
            answer = await _run_step(connection, step, role, is_heavy=is_heavy)
    except RETURNED as done:
        return done.value
    finally:
        steps.close()


async def _run_step(
    connection: AsyncConnection[Any], step: Step, role: str | None, *, is_heavy: bool
) -> Any:
    prefix = _prefix(connection, role)
    if is_heavy:
        step = await in_thread(_packed, step)
    match step:
        case Statement():
            return await _pipeline(connection, (*prefix, step), wrapping_for(connection))
        case WithSettings():
            (rows,) = await _run_reads(connection, prefix, (step,))
            return rows
        case Reads(reads):
            return await _run_reads(connection, prefix, reads)
        case Transaction(steps):
            if is_idle(connection):
                await connection.set_isolation_level(READ_COMMITTED)
            async with transaction(connection):
                # The role is set once for all steps; the role itself may not set another.
                await _pipeline(connection, prefix)
                return await run(connection, steps, is_heavy=is_heavy)
        case Attempt(steps):
            try:
                return await _run_step(connection, Transaction(steps), role, is_heavy=is_heavy)
            except psycopg.Error as error:
                return error
        case statements:
            return await _pipeline(connection, (*prefix, *statements), committing(connection))


async def _run_reads(
    connection: AsyncConnection[Any], prefix: tuple[Statement, ...], reads: tuple[WithSettings, ...]
) -> list[Rows]:
    kept = None if prefix else settings_of(connection)
    missing = None if kept is None else kept.missing(reads)
    if kept is not None and missing is not None:
        rows = await _run_alone(connection, missing, reads)
        kept.note(reads)
        return rows
    statements, positions = list(prefix), []
    for read in reads:
        statements += [*read.settings, read.statement]
        positions.append(len(statements) - 1)
    wrapping = rolling_back(connection)
    cursors = await _send_all(connection, tuple(statements), wrapping)
    return [await fetch(cursors[len(wrapping.before) + position]) for position in positions]


async def _run_alone(
    connection: AsyncConnection[Any], before: tuple[Statement, ...], reads: tuple[WithSettings, ...]
) -> list[Rows]:
    """Run reads without a transaction of their own, after statements that set something."""
    statements = (*before, *(read.statement for read in reads))
    if len(statements) == 1:
        return [await _pipeline(connection, statements)]
    cursors = await _send_all(connection, statements, NO_WRAPPING)
    return [await fetch(cursor) for cursor in cursors[len(before) :]]


def _packed(step: Step) -> Step:
    match step:
        case Statement():
            return _with_packed_lists(step)
        case WithSettings():
            return _read_packed(step)
        case Reads(reads):
            return Reads(tuple(map(_read_packed, reads)))
        case Transaction() | Attempt():
            return step
        case statements:
            return tuple(map(_with_packed_lists, statements))


def _read_packed(read: WithSettings) -> WithSettings:
    return replace(read, statement=_with_packed_lists(read.statement))


def _with_packed_lists(statement: Statement) -> Statement:
    return replace(statement, parameters=pack_lists(statement.parameters))


async def _pipeline(
    connection: AsyncConnection[Any],
    statements: tuple[Statement, ...],
    wrapping: Wrapping = NO_WRAPPING,
) -> Rows:
    """Send statements in one round trip, and return the rows of the last one."""
    if not statements:
        return ()
    if len(statements) == 1 and wrapping is NO_WRAPPING:
        rows = await execute_prepared(connection, statements[0])
        if rows is not None:
            return rows
        try:
            cursor = await _execute(connection, statements[0])
        except PrepareInPipeline:
            pass
        else:
            return await fetch(cursor)
    cursors = await _send_all(connection, statements, wrapping)
    if wrapping is ASKING:
        note_isolation(connection, await fetch(cursors[len(wrapping.before) - 1]))
    return await fetch(cursors[-1 - len(wrapping.after)])


async def _send_all(
    connection: AsyncConnection[Any], statements: tuple[Statement, ...], wrapping: Wrapping
) -> list[AsyncCursor[Any]]:
    """Send statements in one round trip, and return the cursors of all of them."""
    is_alone = is_idle(connection)
    try:
        return await _send(connection, (*wrapping.before, *statements, *wrapping.after))
    except BaseException:
        # If they are part of a transaction, the code that began it rolls it back.
        with suppress(psycopg.Error):
            if _is_in_pipeline(connection):
                await connection.close()
            elif is_alone:
                await _forget_prepared(connection)
        if is_alone and not is_idle(connection):
            # The rollback was itself cancelled.
            await connection.close()
        raise


async def _send(
    connection: AsyncConnection[Any], statements: tuple[Statement, ...]
) -> list[AsyncCursor[Any]]:
    first = None
    cursors: list[AsyncCursor[Any]] = []
    try:
        async with connection.pipeline():
            # psycopg logs a warning if an error leaves the pipeline and another one follows.
            try:
                for statement in statements:
                    cursors.append(await _execute(connection, statement))
            except psycopg.Error as error:
                first = error
    except psycopg.Error:
        if first is None:
            raise
    if first is not None:
        raise first
    return cursors


async def _forget_prepared(connection: AsyncConnection[Any]) -> None:
    # The statements after the one that failed were not prepared, although psycopg assumes so. It
    # forgets them when it rolls back, which it does only within a transaction.
    await connection.rollback()
    async with connection.transaction():
        raise Rollback


@asynccontextmanager
async def transaction(connection: AsyncConnection[Any]) -> AsyncGenerator[None, None]:
    """Make a transaction or a savepoint; of a lost connection nothing is logged."""
    block = connection.transaction()
    await block.__aenter__()
    try:
        yield
    except BaseException as error:
        if not connection.closed:
            await block.__aexit__(type(error), error, error.__traceback__)
        raise
    await block.__aexit__(None, None, None)


def _prefix(connection: BaseConnection[Any], role: str | None) -> tuple[Statement, ...]:
    """Return the statements that begin a transaction. The role comes last: it may set nothing."""
    path = (ADD_SCHEMA,) if lacks_schema(connection) and is_idle(connection) else ()
    return path if role is None else (*path, set_role(role))


def _is_in_pipeline(connection: BaseConnection[Any]) -> bool:
    """Whether a call was interrupted so early that psycopg did not leave its pipeline."""
    return connection.pgconn.pipeline_status != PipelineStatus.OFF


async def _execute(connection: AsyncConnection[Any], statement: Statement) -> AsyncCursor[Any]:
    is_prepared: bool | None = False
    parameters = statement.parameters
    if statement.reuses_plan and may_prepare(connection):
        # By default, psycopg prepares a statement when it is executed for the sixth time.
        is_prepared = statement.prepares_at_once or None
        # It is prepared for the types of parameters that `execute_prepared` sends.
        parameters = pack_lists(parameters)
    cursor = StepCursor(connection)
    return await cursor.execute(statement.text, parameters, prepare=is_prepared)
