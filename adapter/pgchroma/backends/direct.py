"""Operations answered by PostgreSQL itself: a handler, a connection, and what to do on faults."""

from __future__ import annotations

import asyncio
import os
import weakref
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from typing import Any, Final, TypeVar, cast

import psycopg
from tenacity import (
    AsyncRetrying,
    RetryCallState,
    Retrying,
    retry_if_exception,
    stop_after_attempt,
    wait_random_exponential,
)

from pgchroma.backends.limits import limited, limited_async
from pgchroma.backends.sources import AsyncSource, Source
from pgchroma.compactor.thread import Compactor
from pgchroma.errors import (
    ChromaError,
    InvalidArgumentError,
    MissingRightError,
    OutcomeUnknownError,
    ReadOnlyReplicaError,
)
from pgchroma.model.entities import Limits
from pgchroma.model.operations import Operation, QueryRecords
from pgchroma.store import StoreContext, handlers, run, run_async
from pgchroma.store.refusals import missing_right, refusal_behind
from pgchroma.store.roles import is_role_error, role_for
from pgchroma.store.running._async.caller_transaction import joined as joined_async
from pgchroma.store.running._sync.caller_transaction import joined
from pgchroma.store.running.errors import (
    has_lost_connection,
    has_lost_statement,
    is_recovery_conflict,
    is_retryable,
    mapped_errors,
    primary_message,
)
from pgchroma.store.running.search_path import add_schema, lacks_schema
from pgchroma.store.running.weight import is_heavy

__all__ = ("RETRY", "AsyncDirectBackend", "DirectBackend")

R = TypeVar("R")

MIN_PART = 8
"""Queries that are worth a connection of their own."""

RETRY: Final[dict[str, Any]] = {
    "retry": retry_if_exception(is_retryable),
    "stop": stop_after_attempt(6),
    "wait": wait_random_exponential(multiplier=0.01, max=0.5),
    "reraise": True,
}
"""How what lost a race, such as two writers of one new id, is tried again, in tenacity's words."""


class DirectBackend:
    """Runs handlers on connections of a source."""

    def __init__(
        self,
        source: Source,
        context: StoreContext,
        compactor: Compactor | None = None,
        query_connections: int = 1,
        request_timeout: float | None = None,
    ) -> None:
        self._source = source
        self._environment = context
        self._compactor = compactor
        self._query_connections = query_connections
        self._request_timeout = request_timeout
        if compactor is not None:
            # Its thread would outlive a client that is dropped without being closed.
            weakref.finalize(self, compactor.stop)
        self._pid = os.getpid()

    @property
    def in_caller_transaction(self) -> bool:
        """Whether every operation runs inside the caller's transaction."""
        return self._source.in_caller_transaction

    def execute(self, operation: Operation[R]) -> R:
        """Carry an operation out, many queries on several connections at once."""
        try:
            return self._execute_parts(operation)
        except MissingRightError as error:
            raise self._explained(operation, error) from error.__cause__

    def _explained(self, operation: Operation[Any], error: MissingRightError) -> MissingRightError:
        """Say which right is missing, if that can be found out."""
        refusal = refusal_behind(error)
        if refusal is None:
            return error
        with (
            suppress(psycopg.Error, ChromaError),
            mapped_errors(),
            self._source.lend() as connection,
        ):
            exchange = missing_right(operation, refusal)
            return run(connection, exchange)  # type: ignore[no-any-return]
        return error

    def _execute_parts(self, operation: Operation[R]) -> R:
        parts = _parts(operation, self._query_connections)
        if not parts:
            return self._execute(operation)
        with ThreadPoolExecutor(len(parts) - 1, "pgchroma-query") as pool:
            others = [pool.submit(self._execute, part) for part in parts[1:]]
            answers = [self._execute(parts[0]), *(other.result() for other in others)]
        return cast("R", [answer for part in answers for answer in part])

    def limits(self) -> Limits:
        """Tell what the settings allow."""
        return self._environment.limits

    def compact(self) -> None:
        """Build indexes that are missing from now on, before anything is written."""
        if self._compactor is not None:
            self._compactor.start()

    def close(self) -> None:
        """Stop building indexes, and close the source."""
        if self._compactor is not None:
            self._compactor.close()
        self._source.close()

    def _execute(self, operation: Operation[R]) -> R:
        """Carry an operation out, again where that may mend a fault and does no harm."""
        with mapped_errors(), _outcome_told(operation, self._source):
            try:
                return self._attempt(operation)
            except psycopg.Error as error:
                if not _is_repeated(error, operation, self._source, self._environment):
                    raise
            policy = _policy(operation, self._source, self._environment)
            answer: R = Retrying(**policy)(self._attempt, operation)
            return answer

    def _attempt(self, operation: Operation[R]) -> R:
        _check_process(self._pid)
        with self._source.lend() as connection, self._bounded(connection):
            exchange = handlers[type(operation)](operation, self._environment)
            if not self._source.in_caller_transaction:
                role = run(connection, role_for(operation, self._environment))
                return run(connection, exchange, role)  # type: ignore[no-any-return]
            with joined(connection):
                if lacks_schema(connection):
                    run(connection, add_schema())
                return run(connection, exchange)  # type: ignore[no-any-return]

    def _bounded(self, connection: psycopg.Connection[Any]) -> AbstractContextManager[None]:
        seconds = self._request_timeout
        return nullcontext() if seconds is None else limited(connection, seconds, cancels=True)


class AsyncDirectBackend:
    """Runs handlers on asynchronous connections of a source."""

    def __init__(
        self,
        source: AsyncSource,
        context: StoreContext,
        compactor: Compactor | None = None,
        query_connections: int = 1,
        request_timeout: float | None = None,
    ) -> None:
        self._source = source
        self._environment = context
        self._compactor = compactor
        self._query_connections = query_connections
        self._request_timeout = request_timeout
        if compactor is not None:
            # Its thread would outlive a client that is dropped without being closed.
            weakref.finalize(self, compactor.stop)
        self._pid = os.getpid()

    @property
    def in_caller_transaction(self) -> bool:
        """Whether every operation runs inside the caller's transaction."""
        return self._source.in_caller_transaction

    async def execute(self, operation: Operation[R]) -> R:
        """Carry an operation out, many queries on several connections at once."""
        try:
            return await self._execute_parts(operation)
        except MissingRightError as error:
            raise (await self._explained(operation, error)) from error.__cause__

    async def _explained(
        self, operation: Operation[Any], error: MissingRightError
    ) -> MissingRightError:
        """Say which right is missing, if that can be found out."""
        refusal = refusal_behind(error)
        if refusal is None:
            return error
        with suppress(psycopg.Error, ChromaError), mapped_errors():
            async with self._source.lend() as connection:
                exchange = missing_right(operation, refusal)
                return await run_async(connection, exchange)  # type: ignore[no-any-return]
        return error

    async def _execute_parts(self, operation: Operation[R]) -> R:
        parts = _parts(operation, self._query_connections)
        if not parts:
            return await self._execute(operation)
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(self._execute(part)) for part in parts]
        except BaseExceptionGroup as errors:
            # The parts are one request, so their first fault is the request's.
            raise errors.exceptions[0] from None
        return cast("R", [answer for task in tasks for answer in task.result()])

    async def limits(self) -> Limits:
        """Tell what the settings allow."""
        return self._environment.limits

    def statistics(self) -> dict[str, int]:
        """Tell how the pool is, by name; empty where there is none of ours."""
        return self._source.statistics()

    def compact(self) -> None:
        """Build indexes that are missing from now on, before anything is written."""
        if self._compactor is not None:
            self._compactor.start()

    async def close(self) -> None:
        """Stop building indexes, and close the source."""
        if self._compactor is not None:
            await asyncio.to_thread(self._compactor.close)
        await self._source.close()

    async def _execute(self, operation: Operation[R]) -> R:
        """Carry an operation out, again where that may mend a fault and does no harm."""
        with mapped_errors(), _outcome_told(operation, self._source):
            try:
                return await self._attempt(operation)
            except psycopg.Error as error:
                if not _is_repeated(error, operation, self._source, self._environment):
                    raise
            policy = _policy(operation, self._source, self._environment)
            answer: R = await AsyncRetrying(**policy)(self._attempt, operation)
            return answer

    async def _attempt(self, operation: Operation[R]) -> R:
        _check_process(self._pid)
        async with self._source.lend() as connection:
            with self._bounded(connection):
                exchange = handlers[type(operation)](operation, self._environment)
                weight = is_heavy(operation)
                if not self._source.in_caller_transaction:
                    role = await run_async(connection, role_for(operation, self._environment))
                    return await run_async(connection, exchange, role, is_heavy=weight)  # type: ignore[no-any-return]
                async with joined_async(connection):
                    if lacks_schema(connection):
                        await run_async(connection, add_schema())
                    return await run_async(connection, exchange, is_heavy=weight)  # type: ignore[no-any-return]

    def _bounded(self, connection: psycopg.AsyncConnection[Any]) -> AbstractContextManager[None]:
        seconds = self._request_timeout
        return (
            nullcontext() if seconds is None else limited_async(connection, seconds, cancels=True)
        )


def _parts(operation: Operation[Any], connections: int) -> list[QueryRecords]:
    """Part queries for several connections; empty if one is enough."""
    if connections < 2 or not isinstance(operation, QueryRecords):  # noqa: PLR2004
        return []
    parts = operation.split(min(connections, len(operation.embeddings) // MIN_PART))
    return parts if len(parts) > 1 else []


def _check_process(pid: int) -> None:
    # A fork's child has its parent's sockets; a word on one of them would garble both.
    if os.getpid() != pid:
        raise InvalidArgumentError(
            "this client was opened before the process forked; open it again in the child"
        )


def _is_repeated(
    error: BaseException,
    operation: Operation[Any],
    source: Source | AsyncSource,
    context: StoreContext,
) -> bool:
    """Whether a first attempt is followed by others, after what made it fail was mended."""
    if has_lost_statement(error):
        source.lose_statements()
        return True
    # Looked at again, a tenant's role is given what it lacks. That is tried once.
    is_mendable_role = context.has_tenant_roles and is_role_error(error)
    return is_mendable_role or _may_pass(error, operation, source)


def _may_pass(
    error: BaseException, operation: Operation[Any], source: Source | AsyncSource
) -> bool:
    if has_lost_connection(error):
        # What was asked may have been done. And the caller's transaction is gone with it.
        return operation.only_reads and not source.in_caller_transaction
    return is_retryable(error)


def _is_conflict(
    error: BaseException, operation: Operation[Any], source: Source | AsyncSource
) -> bool:
    return operation.only_reads and not source.in_caller_transaction and is_recovery_conflict(error)


def _policy(
    operation: Operation[Any], source: Source | AsyncSource, context: StoreContext
) -> dict[str, Any]:
    def before(_: RetryCallState) -> None:
        context.forget()

    def may_pass_again(error: BaseException) -> bool:
        # The second read was given up by the same standby; a third has no better prospects.
        return _may_pass(error, operation, source) and not _is_conflict(error, operation, source)

    retry = retry_if_exception(may_pass_again)
    return {**RETRY, "before": before, "retry": retry}


@contextmanager
def _outcome_told(
    operation: Operation[Any], source: Source | AsyncSource
) -> Generator[None, None, None]:
    """Tell of a write whose answer was lost that it may have taken effect."""
    try:
        yield
    except psycopg.Error as error:
        if _is_conflict(error, operation, source):
            raise ReadOnlyReplicaError(
                f"the read-only replica gave up a read in favour of replication: "
                f"{primary_message(error)}; try again, or raise max_standby_streaming_delay on it"
            ) from error
        if operation.only_reads or source.in_caller_transaction or not has_lost_connection(error):
            raise
        raise OutcomeUnknownError(
            "the connection to the database was lost after a write was sent: "
            f"{primary_message(error)}. The write took effect as a whole or not at all; read the "
            "records to find out which"
        ) from error
