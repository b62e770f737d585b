"""Run inside the caller's transaction: in a savepoint, with errors that only the caller can handle.

Above read committed, a transaction sees the database as of its beginning. A retry within it meets
the same conflict again, so an error that would be retried elsewhere ends the transaction. A
deadlock does so at any level, because the transaction keeps the locks that it already holds.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Final

import psycopg
from psycopg import AsyncConnection, Connection

from pgchroma.store.running.driver import run, run_async, transaction, transaction_async
from pgchroma.store.running.errors import is_retryable, is_serialization_error, serialization_error
from pgchroma.store.running.steps import Statement, Steps

__all__ = ("joined", "joined_async")


@contextmanager
def joined(connection: Connection[Any]) -> Generator[None, None, None]:
    """Make a savepoint, so that a fault of ours leaves the caller's transaction usable.

    Raises:
        SerializationError: Only another transaction, from the beginning, may succeed.
    """
    try:
        with transaction(connection):
            yield
    except psycopg.Error as error:
        if not is_retryable(error) or connection.closed:
            raise
        if is_serialization_error(error) or run(connection, _sees_one_moment()):
            raise serialization_error(error) from error
        raise


@asynccontextmanager
async def joined_async(connection: AsyncConnection[Any]) -> AsyncGenerator[None, None]:
    """Make a savepoint; see `joined`."""
    try:
        async with transaction_async(connection):
            yield
    except psycopg.Error as error:
        if not is_retryable(error) or connection.closed:
            raise
        if is_serialization_error(error) or await run_async(connection, _sees_one_moment()):
            raise serialization_error(error) from error
        raise


def _sees_one_moment() -> Steps[bool]:
    rows = yield Statement(_SHOW, reuses_plan=False)
    return rows[0][0] in {"repeatable read", "serializable"}


_SHOW: Final = b"show transaction_isolation"
