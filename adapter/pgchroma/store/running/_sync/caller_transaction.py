# Generated from _async/caller_transaction.py by tools/unasync.py; edit that and run `make fmt`.
"""Run inside the caller's transaction: in a savepoint, with errors that only the caller can handle.

Above read committed, a transaction sees the database as of its beginning. A retry within it meets
the same conflict again, so an error that would be retried elsewhere ends the transaction. A
deadlock does so at any level, because the transaction keeps the locks that it already holds.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, Final

import psycopg
from psycopg import Connection

from pgchroma.store.running._sync.driver import run, transaction
from pgchroma.store.running.errors import is_retryable, is_serialization_error, serialization_error
from pgchroma.store.running.steps import Statement, Steps

__all__ = ("joined",)


@contextmanager
def joined(connection: Connection[Any]) -> Generator[None, None, None]:
    """Make a savepoint, so that an error inside leaves the caller's transaction usable.

    Raises:
        SerializationError: Only another transaction, from the beginning, may succeed.
    """
    try:
        with transaction(connection):
            yield
    except psycopg.Error as error:
        if not is_retryable(error) or connection.closed:
            raise
        if is_serialization_error(error) or run(connection, _uses_one_snapshot()):
            raise serialization_error(error) from error
        raise


def _uses_one_snapshot() -> Steps[bool]:
    rows = yield Statement(_SHOW, reuses_plan=False)
    return rows[0][0] in {"repeatable read", "serializable"}


_SHOW: Final = b"show transaction_isolation"
