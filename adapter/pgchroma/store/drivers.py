"""The two that run handlers: on psycopg's connection, and on its asynchronous one.

A handler yields steps and is sent rows. These functions are all that differs between the
synchronous and the asynchronous direct client below the seam.
"""

from __future__ import annotations

from typing import Any

from psycopg import AsyncConnection, AsyncCursor, Connection, Cursor
from psycopg.rows import tuple_row

from pgchroma.store.statement import Atomic, Exchange, Rows, Statement, Step

__all__ = ("run", "run_async")


def run(connection: Connection[Any], exchange: Exchange[Any]) -> Any:
    """Run a handler to its end on a connection and return its result.

    The connection has to know how to send vectors; see `pgchroma.store.vectors.prepare_vectors`.
    """
    try:
        step = next(exchange)
        while True:
            step = exchange.send(_take(connection, step))
    except StopIteration as done:
        return done.value
    finally:
        exchange.close()


async def run_async(connection: AsyncConnection[Any], exchange: Exchange[Any]) -> Any:
    """Run a handler to its end on an asynchronous connection; see `run`."""
    try:
        step = next(exchange)
        while True:
            step = exchange.send(await _take_async(connection, step))
    except StopIteration as done:
        return done.value
    finally:
        exchange.close()


def _take(connection: Connection[Any], step: Step) -> Any:
    if isinstance(step, Statement):
        return _rows(_cursor(connection).execute(step.text, step.parameters))
    with connection.transaction():
        if isinstance(step, Atomic):
            return run(connection, step.exchange)
        with connection.pipeline():
            cursors = [_cursor(connection).execute(s.text, s.parameters) for s in step]
        return _rows(cursors[-1])


async def _take_async(connection: AsyncConnection[Any], step: Step) -> Any:
    if isinstance(step, Statement):
        cursor = _cursor_async(connection)
        return await _rows_async(await cursor.execute(step.text, step.parameters))
    async with connection.transaction():
        if isinstance(step, Atomic):
            return await run_async(connection, step.exchange)
        async with connection.pipeline():
            cursors = [await _cursor_async(connection).execute(s.text, s.parameters) for s in step]
        return await _rows_async(cursors[-1])


def _cursor(connection: Connection[Any]) -> Cursor[Any]:
    # The connection may be the caller's own, with another format and other rows.
    return connection.cursor(binary=True, row_factory=tuple_row)


def _cursor_async(connection: AsyncConnection[Any]) -> AsyncCursor[Any]:
    return connection.cursor(binary=True, row_factory=tuple_row)


def _rows(cursor: Cursor[Any]) -> Rows:
    return cursor.fetchall() if cursor.description is not None else ()


async def _rows_async(cursor: AsyncCursor[Any]) -> Rows:
    return await cursor.fetchall() if cursor.description is not None else ()
