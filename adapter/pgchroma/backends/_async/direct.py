"""A backend on PostgreSQL itself: runs the handler of an operation on a connection."""

from __future__ import annotations

import os
import weakref
from contextlib import AbstractContextManager, nullcontext, suppress
from typing import Any, Final, TypeVar, cast

import psycopg
from psycopg import errors as pg
from tenacity import AsyncRetrying

from pgchroma.backends._async.io import in_thread, together
from pgchroma.backends._async.limits import limited
from pgchroma.backends._async.sources import AsyncConnectionSource
from pgchroma.backends.retries import final_errors, is_retried, retry_policy
from pgchroma.compactor.thread import Compactor
from pgchroma.errors import ChromaError, InvalidArgumentError, MissingRightError
from pgchroma.model.entities import Limits
from pgchroma.model.operations import Operation, QueryRecords
from pgchroma.store import StoreContext, handlers
from pgchroma.store.layout.upgrading import OldLayoutError, upgrade_collection
from pgchroma.store.refusals import missing_right, refusal_behind
from pgchroma.store.roles import role_for
from pgchroma.store.running._async.caller_transaction import joined
from pgchroma.store.running._async.driver import run
from pgchroma.store.running._async.io import is_heavy
from pgchroma.store.running.errors import mapped_errors
from pgchroma.store.running.search_path import add_schema, lacks_schema

__all__ = ("AsyncDirectBackend",)

R = TypeVar("R")

MIN_PART: Final = 8
"""The number of queries that are worth another connection."""


class AsyncDirectBackend:
    """Runs handlers on connections of a source."""

    def __init__(
        self,
        source: AsyncConnectionSource,
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

    async def execute(self, operation: Operation[R]) -> R:
        """Execute an operation; many queries run on several connections at once."""
        try:
            parts = _split(operation, self._query_connections)
            if not parts:
                return await self._execute(operation)
            answers = await together(self._execute, parts)
        except MissingRightError as error:
            raise (await self._explained(operation, error)) from error.__cause__
        return cast("R", [answer for part in answers for answer in part])

    async def limits(self) -> Limits:
        """Return the limits that the settings set."""
        return self._context.limits

    def statistics(self) -> dict[str, int]:
        """Return the state of the pool, by name; empty if it is not pgchroma's."""
        return self._source.statistics()

    def compact(self) -> None:
        """Build missing indexes from now on, before anything is written."""
        if self._compactor is not None:
            self._compactor.start()

    async def close(self) -> None:
        """Stop what works in the background, and close the source."""
        await in_thread(self.close_now)

    def close_now(self) -> None:
        """Do what `close` does. This blocks."""
        if self._compactor is not None:
            self._compactor.close()
        if self._context.proposers is not None:
            self._context.proposers.close()
        self._source.close()

    async def _explained(
        self, operation: Operation[Any], error: MissingRightError
    ) -> MissingRightError:
        """Return an error that names the missing right, if it can be determined."""
        refusal = refusal_behind(error)
        if refusal is None:
            return error
        with suppress(psycopg.Error, ChromaError), mapped_errors():
            async with self._source.connection() as connection:
                steps = missing_right(operation, refusal)
                return await run(connection, steps)  # type: ignore[no-any-return]
        return error

    async def _execute(self, operation: Operation[R]) -> R:
        """Execute an operation, and retry it if that may help and cannot do harm."""
        with final_errors(operation, self._source):
            try:
                return await self._attempt(operation)
            except psycopg.Error as error:
                if not is_retried(error, operation, self._source, self._context):
                    raise
            policy = retry_policy(operation, self._source, self._context)
            answer: R = await AsyncRetrying(**policy)(self._attempt, operation)
            return answer

    async def _attempt(self, operation: Operation[R]) -> R:
        _check_process(self._pid)
        async with self._source.connection() as connection:
            with self._limited(connection):
                while True:
                    try:
                        return await self._run(connection, operation)
                    except OldLayoutError as error:
                        await self._upgrade(connection, error)

    async def _upgrade(
        self, connection: psycopg.AsyncConnection[Any], refusal: OldLayoutError
    ) -> None:
        """Upgrade the tables of a collection, as the user that is logged in.

        Raises:
            OldLayoutError: The user may not.
        """
        steps = upgrade_collection(refusal.id)
        try:
            if not self._source.in_caller_transaction:
                await run(connection, steps)
                return
            async with joined(connection):
                await run(connection, steps)
        except pg.InsufficientPrivilege as error:
            raise refusal from error

    async def _run(self, connection: psycopg.AsyncConnection[Any], operation: Operation[R]) -> R:
        steps = handlers[type(operation)](operation, self._context)
        heavy = is_heavy(operation, has_proposers=self._context.proposers is not None)
        if not self._source.in_caller_transaction:
            role = await run(connection, role_for(operation, self._context))
            return await run(connection, steps, role, is_heavy=heavy)  # type: ignore[no-any-return]
        async with joined(connection):
            if lacks_schema(connection):
                await run(connection, add_schema())
            return await run(connection, steps, is_heavy=heavy)  # type: ignore[no-any-return]

    def _limited(self, connection: psycopg.AsyncConnection[Any]) -> AbstractContextManager[None]:
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
