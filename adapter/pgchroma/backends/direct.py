"""Operations answered by PostgreSQL itself: a handler, a connection, and what to do on faults."""

from __future__ import annotations

import asyncio
import os
import weakref
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
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

from pgchroma.backends.compactor import Compactor
from pgchroma.backends.sources import AsyncSource, Source
from pgchroma.errors import ChromaError, InvalidArgumentError, MissingRightError
from pgchroma.model.entities import Limits
from pgchroma.model.operations import Operation, QueryRecords
from pgchroma.store import Environment, handlers, run, run_async
from pgchroma.store.faults import has_lost_connection, may_pass, translated
from pgchroma.store.joining import joined, joined_async
from pgchroma.store.refusals import missing_right, refusal_behind
from pgchroma.store.roles import is_mendable, role_for
from pgchroma.store.weight import is_heavy

__all__ = ("AGAIN", "AsyncDirectBackend", "DirectBackend")

R = TypeVar("R")

LEAST_PART = 8
"""Queries that are worth a connection of their own."""

AGAIN: Final[dict[str, Any]] = {
    "retry": retry_if_exception(may_pass),
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
        environment: Environment,
        compactor: Compactor | None = None,
        query_connections: int = 1,
    ) -> None:
        self._source = source
        self._environment = environment
        self._compactor = compactor
        self._query_connections = query_connections
        if compactor is not None:
            # Its thread would outlive a client that is dropped without being closed.
            weakref.finalize(self, compactor.stop)
        self._pid = os.getpid()

    @property
    def is_joined(self) -> bool:
        """Whether all it does is part of the caller's transaction, on his one connection."""
        return self._source.is_joined

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
        with suppress(psycopg.Error, ChromaError), translated(), self._source.lend() as connection:
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

    def close(self) -> None:
        """Stop building indexes, and close the source."""
        if self._compactor is not None:
            self._compactor.close()
        self._source.close()

    def _execute(self, operation: Operation[R]) -> R:
        """Carry an operation out, again if it lost a race or looked for tables that moved on."""
        with translated():
            try:
                return self._attempt(operation)
            except psycopg.Error as fault:
                if has_lost_connection(fault):
                    self._source.renew()
                if not (may_pass(fault) or _mends(fault, self._environment)):
                    raise
            answer: R = Retrying(**_policy(self._environment))(self._attempt, operation)
            return answer

    def _attempt(self, operation: Operation[R]) -> R:
        _check_process(self._pid)
        exchange = handlers[type(operation)](operation, self._environment)
        with self._source.lend() as connection:
            if not self._source.is_joined:
                role = run(connection, role_for(operation, self._environment))
                return run(connection, exchange, role)  # type: ignore[no-any-return]
            with joined(connection):
                return run(connection, exchange)  # type: ignore[no-any-return]


class AsyncDirectBackend:
    """Runs handlers on asynchronous connections of a source."""

    def __init__(
        self,
        source: AsyncSource,
        environment: Environment,
        compactor: Compactor | None = None,
        query_connections: int = 1,
    ) -> None:
        self._source = source
        self._environment = environment
        self._compactor = compactor
        self._query_connections = query_connections
        if compactor is not None:
            # Its thread would outlive a client that is dropped without being closed.
            weakref.finalize(self, compactor.stop)
        self._pid = os.getpid()

    @property
    def is_joined(self) -> bool:
        """Whether all it does is part of the caller's transaction, on his one connection."""
        return self._source.is_joined

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
        with suppress(psycopg.Error, ChromaError), translated():
            async with self._source.lend() as connection:
                exchange = missing_right(operation, refusal)
                return await run_async(connection, exchange)  # type: ignore[no-any-return]
        return error

    async def _execute_parts(self, operation: Operation[R]) -> R:
        parts = _parts(operation, self._query_connections)
        if not parts:
            return await self._execute(operation)
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._execute(part)) for part in parts]
        return cast("R", [answer for task in tasks for answer in task.result()])

    async def limits(self) -> Limits:
        """Tell what the settings allow."""
        return self._environment.limits

    def statistics(self) -> dict[str, int]:
        """Tell how the pool is, in psycopg_pool's terms; empty where there is none of ours."""
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
        """Carry an operation out, again if it lost a race or looked for tables that moved on."""
        with translated():
            try:
                return await self._attempt(operation)
            except psycopg.Error as fault:
                if has_lost_connection(fault):
                    await self._source.renew()
                if not (may_pass(fault) or _mends(fault, self._environment)):
                    raise
            answer: R = await AsyncRetrying(**_policy(self._environment))(self._attempt, operation)
            return answer

    async def _attempt(self, operation: Operation[R]) -> R:
        _check_process(self._pid)
        exchange = handlers[type(operation)](operation, self._environment)
        async with self._source.lend() as connection:
            weight = is_heavy(operation)
            if not self._source.is_joined:
                role = await run_async(connection, role_for(operation, self._environment))
                return await run_async(connection, exchange, role, is_heavy=weight)  # type: ignore[no-any-return]
            async with joined_async(connection):
                return await run_async(connection, exchange, is_heavy=weight)  # type: ignore[no-any-return]


def _parts(operation: Operation[Any], connections: int) -> list[QueryRecords]:
    """Part queries for several connections; empty if one is enough."""
    if connections < 2 or not isinstance(operation, QueryRecords):  # noqa: PLR2004
        return []
    parts = operation.split(min(connections, len(operation.embeddings) // LEAST_PART))
    return parts if len(parts) > 1 else []


def _check_process(pid: int) -> None:
    # A fork's child has its parent's sockets; a word on one of them would garble both.
    if os.getpid() != pid:
        raise InvalidArgumentError(
            "this client was opened before the process forked; open it again in the child"
        )


def _mends(fault: BaseException, environment: Environment) -> bool:
    # Looked at again, a tenant's role is given what it lacks. It is tried once: the policy below
    # does not take such a fault for a passing one.
    return environment.has_tenant_roles and is_mendable(fault)


def _policy(environment: Environment) -> dict[str, Any]:
    def before(_: RetryCallState) -> None:
        environment.forget()

    return {"before": before, **AGAIN}
