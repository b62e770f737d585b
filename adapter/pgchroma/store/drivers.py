"""The two that run handlers: on psycopg's connection, and on its asynchronous one.

A handler yields steps and is sent rows. These functions are all that differs between the
synchronous and the asynchronous direct client below the seam.

With a role, every transaction of the handler's begins with becoming it and ends with leaving it.
Outside of a transaction a statement makes one with what becomes the role: PostgreSQL takes all
that a pipeline sends at once for one transaction. Should there be no such role, then the
statement behind it is not run.
"""

from __future__ import annotations

from typing import Any

from psycopg import AsyncConnection, AsyncCursor, Connection, Cursor
from psycopg.rows import tuple_row

from pgchroma.store.roles import as_role
from pgchroma.store.statement import Atomic, Exchange, Rows, Statement, Step

__all__ = ("run", "run_async")


def run(connection: Connection[Any], exchange: Exchange[Any], role: str | None = None) -> Any:
    """Run a handler to its end on a connection, as a role or as who is logged in.

    The connection has to know how to send vectors; see `pgchroma.store.vectors.prepare_vectors`.
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
    connection: AsyncConnection[Any], exchange: Exchange[Any], role: str | None = None
) -> Any:
    """Run a handler to its end on an asynchronous connection; see `run`."""
    try:
        step = next(exchange)
        while True:
            step = exchange.send(await _take_async(connection, step, role))
    except StopIteration as done:
        return done.value
    finally:
        exchange.close()


def _take(connection: Connection[Any], step: Step, role: str | None) -> Any:
    prefix = () if role is None else (as_role(role),)
    if isinstance(step, Statement):
        return _send(connection, (*prefix, step))
    with connection.transaction():
        if isinstance(step, Atomic):
            # Once is enough, and the role itself may not become another.
            _send(connection, prefix)
            return run(connection, step.exchange)
        return _send(connection, (*prefix, *step))


def _send(connection: Connection[Any], statements: tuple[Statement, ...]) -> Rows:
    if not statements:
        return ()
    if len(statements) == 1:
        return _rows(_execute(connection, statements[0]))
    with connection.pipeline():
        cursors = [_execute(connection, statement) for statement in statements]
    return _rows(cursors[-1])


async def _take_async(connection: AsyncConnection[Any], step: Step, role: str | None) -> Any:
    prefix = () if role is None else (as_role(role),)
    if isinstance(step, Statement):
        return await _send_async(connection, (*prefix, step))
    async with connection.transaction():
        if isinstance(step, Atomic):
            await _send_async(connection, prefix)
            return await run_async(connection, step.exchange)
        return await _send_async(connection, (*prefix, *step))


async def _send_async(connection: AsyncConnection[Any], statements: tuple[Statement, ...]) -> Rows:
    if not statements:
        return ()
    if len(statements) == 1:
        return await _rows_async(await _execute_async(connection, statements[0]))
    async with connection.pipeline():
        cursors = [await _execute_async(connection, statement) for statement in statements]
    return await _rows_async(cursors[-1])


def _execute(connection: Connection[Any], statement: Statement) -> Cursor[Any]:
    # The connection may be the caller's own, with another format and other rows. In binary
    # PostgreSQL takes one statement at a time: nobody can append a second.
    cursor = connection.cursor(binary=True, row_factory=tuple_row)
    return cursor.execute(statement.text, statement.parameters)


async def _execute_async(
    connection: AsyncConnection[Any], statement: Statement
) -> AsyncCursor[Any]:
    cursor = connection.cursor(binary=True, row_factory=tuple_row)
    return await cursor.execute(statement.text, statement.parameters)


def _rows(cursor: Cursor[Any]) -> Rows:
    return cursor.fetchall() if cursor.description is not None else ()


async def _rows_async(cursor: AsyncCursor[Any]) -> Rows:
    return await cursor.fetchall() if cursor.description is not None else ()
