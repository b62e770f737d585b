# Generated from _async/direct.py by tools/unasync.py; edit that and run `make fmt`.
"""A backend on PostgreSQL itself: runs the handler of an operation on a connection."""

from __future__ import annotations

import os
import weakref
from contextlib import AbstractContextManager, nullcontext, suppress
from typing import Any, Final, TypeVar, cast

import psycopg
from psycopg import errors as pg
from tenacity import Retrying

from pgchroma.backends._sync.io import in_thread, together
from pgchroma.backends._sync.limits import limited
from pgchroma.backends._sync.sources import ConnectionSource
from pgchroma.backends.retries import final_errors, is_retried, retry_policy
from pgchroma.compactor.thread import Compactor
from pgchroma.errors import ChromaError, InvalidArgumentError, MissingRightError
from pgchroma.model.entities import Limits
from pgchroma.model.operations import Operation, QueryRecords
from pgchroma.store import StoreContext, handlers
from pgchroma.store.layout.upgrading import OldLayoutError, upgrade_collection
from pgchroma.store.refusals import missing_right, refusal_behind
from pgchroma.store.roles import role_for
from pgchroma.store.running._sync.caller_transaction import joined
from pgchroma.store.running._sync.driver import run
from pgchroma.store.running._sync.io import is_heavy
from pgchroma.store.running.errors import mapped_errors
from pgchroma.store.running.search_path import add_schema, lacks_schema

__all__ = ("DirectBackend",)

R = TypeVar("R")

MIN_PART: Final = 8
"""The number of queries that are worth another connection."""


class DirectBackend:
    """Runs handlers on connections of a source."""

    def __init__(
        self,
        source: ConnectionSource,
        context: StoreContext,
        compactor: Compactor | None = None,
        query_connections: int = 1,
        request_timeout: float | None = None,
    ) -> None:
        self._source = source
        self._context = context
        self._compactor = compactor
        self._query_connections = query_connections
        self._request_timeout = request_timeout
        if compactor is not None:
            # Its thread would outlive a client that is dropped without being closed.
            weakref.finalize(self, compactor.stop)
        if context.proposers is not None:
            weakref.finalize(self, context.proposers.stop)
        self._pid = os.getpid()

    @property
    def in_caller_transaction(self) -> bool:
        """Whether every operation runs inside the caller's transaction."""
        return self._source.in_caller_transaction

    def execute(self, operation: Operation[R]) -> R:
        """Execute an operation; many queries run on several connections at once."""
        try:
            parts = _split(operation, self._query_connections)
            if not parts:
                return self._execute(operation)
            answers = together(self._execute, parts)
        except MissingRightError as error:
            raise (self._explained(operation, error)) from error.__cause__
        return cast("R", [answer for part in answers for answer in part])

    def limits(self) -> Limits:
        """Return the limits that the settings set."""
        return self._context.limits

    def statistics(self) -> dict[str, int]:
        """Return the state of the pool, by name; empty if it is not pgchroma's."""
        return self._source.statistics()

    def compact(self) -> None:
        """Build missing indexes from now on, before anything is written."""
        if self._compactor is not None:
            self._compactor.start()

    def close(self) -> None:
        """Stop what works in the background, and close the source."""
        in_thread(self.close_now)

    def close_now(self) -> None:
        """Do what `close` does. This blocks."""
        if self._compactor is not None:
            self._compactor.close()
        if self._context.proposers is not None:
            self._context.proposers.close()
        self._source.close()

    def _explained(self, operation: Operation[Any], error: MissingRightError) -> MissingRightError:
        """Return an error that names the missing right, if it can be determined."""
        refusal = refusal_behind(error)
        if refusal is None:
            return error
        with suppress(psycopg.Error, ChromaError), mapped_errors():
            with self._source.connection() as connection:
                steps = missing_right(operation, refusal)
                return run(connection, steps)  # type: ignore[no-any-return]
        return error

    def _execute(self, operation: Operation[R]) -> R:
        """Execute an operation, and retry it if that may help and cannot do harm."""
        with final_errors(operation, self._source):
            try:
                return self._attempt(operation)
            except psycopg.Error as error:
                if not is_retried(error, operation, self._source, self._context):
                    raise
            policy = retry_policy(operation, self._source, self._context)
            answer: R = Retrying(**policy)(self._attempt, operation)
            return answer

    def _attempt(self, operation: Operation[R]) -> R:
        _check_process(self._pid)
        with self._source.connection() as connection:
            with self._limited(connection):
                while True:
                    try:
                        return self._run(connection, operation)
                    except OldLayoutError as error:
                        self._upgrade(connection, error)

    def _upgrade(self, connection: psycopg.Connection[Any], refusal: OldLayoutError) -> None:
        """Upgrade the tables of a collection, as the user that is logged in.

        Raises:
            OldLayoutError: The user may not.
        """
        steps = upgrade_collection(refusal.id)
        try:
            if not self._source.in_caller_transaction:
                run(connection, steps)
                return
            with joined(connection):
                run(connection, steps)
        except pg.InsufficientPrivilege as error:
            raise refusal from error

    def _run(self, connection: psycopg.Connection[Any], operation: Operation[R]) -> R:
        steps = handlers[type(operation)](operation, self._context)
        heavy = is_heavy(operation, has_proposers=self._context.proposers is not None)
        if not self._source.in_caller_transaction:
            role = run(connection, role_for(operation, self._context))
            return run(connection, steps, role, is_heavy=heavy)  # type: ignore[no-any-return]
        with joined(connection):
            if lacks_schema(connection):
                run(connection, add_schema())
            return run(connection, steps, is_heavy=heavy)  # type: ignore[no-any-return]

    def _limited(self, connection: psycopg.Connection[Any]) -> AbstractContextManager[None]:
        seconds = self._request_timeout
        return nullcontext() if seconds is None else limited(connection, seconds, cancels=True)


def _split(operation: Operation[Any], connections: int) -> list[QueryRecords]:
    """Divide queries between connections; empty if one is enough."""
    if connections < 2 or not isinstance(operation, QueryRecords):  # noqa: PLR2004
        return []
    parts = operation.split(min(connections, len(operation.embeddings) // MIN_PART))
    return parts if len(parts) > 1 else []


def _check_process(pid: int) -> None:
    # A forked child has its parent's sockets; a message on one of them would garble both sides.
    if os.getpid() != pid:
        raise InvalidArgumentError(
            "this client was opened before the process forked; open it again in the child"
        )
