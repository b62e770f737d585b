"""Work inside a transaction of the caller's: a savepoint, and faults that only the caller mends.

In a transaction above read committed everything is seen as of its beginning. Whoever tries again
there meets what he met before, so what would pass elsewhere ends the transaction. A deadlock does
so at any level: the locks that the transaction holds from before stay.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Final

import psycopg
from psycopg import AsyncConnection, Connection

from pgchroma.store.running.driver import run, run_async, transaction, transaction_async
from pgchroma.store.running.errors import is_retryable, is_serialization_fault, serialization_error
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
    except psycopg.Error as fault:
        if not is_retryable(fault) or connection.closed:
            raise
        if is_serialization_fault(fault) or run(connection, _sees_one_moment()):
            raise serialization_error(fault) from fault
        raise


@asynccontextmanager
async def joined_async(connection: AsyncConnection[Any]) -> AsyncGenerator[None, None]:
    """Make a savepoint; see `joined`."""
    try:
        async with transaction_async(connection):
            yield
    except psycopg.Error as fault:
        if not is_retryable(fault) or connection.closed:
            raise
        if is_serialization_fault(fault) or await run_async(connection, _sees_one_moment()):
            raise serialization_error(fault) from fault
        raise


def _sees_one_moment() -> Steps[bool]:
    rows = yield Statement(_SHOW, reuses_plan=False)
    return rows[0][0] in {"repeatable read", "serializable"}


_SHOW: Final = b"show transaction_isolation"
