"""Operations answered by PostgreSQL itself: a handler, a connection, and what to do on faults."""

from __future__ import annotations

import os
from typing import Any, TypeVar

import psycopg
from tenacity import (
    AsyncRetrying,
    RetryCallState,
    Retrying,
    retry_if_exception,
    stop_after_attempt,
    wait_random_exponential,
)

from pgchroma.backends.sources import AsyncSource, Source
from pgchroma.errors import InvalidArgumentError
from pgchroma.model.entities import Limits
from pgchroma.model.operations import Operation
from pgchroma.store import Environment, handlers, run, run_async
from pgchroma.store.faults import has_lost_connection, may_pass, translated
from pgchroma.store.roles import is_mendable, role_for

__all__ = ("AsyncDirectBackend", "DirectBackend")

R = TypeVar("R")

ATTEMPTS = 6
"""How often an operation is tried that lost a race, such as two writers of one new id."""


class DirectBackend:
    """Runs handlers on connections of a source."""

    def __init__(self, source: Source, environment: Environment) -> None:
        self._source = source
        self._environment = environment
        self._pid = os.getpid()

    def execute(self, operation: Operation[R]) -> R:
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

    def limits(self) -> Limits:
        """Tell what the settings allow."""
        return self._environment.limits

    def close(self) -> None:
        """Close the source."""
        self._source.close()

    def _attempt(self, operation: Operation[R]) -> R:
        _check_process(self._pid)
        exchange = handlers[type(operation)](operation, self._environment)
        with self._source.lend() as connection:
            if not self._source.is_joined:
                role = run(connection, role_for(operation, self._environment))
                return run(connection, exchange, role)  # type: ignore[no-any-return]
            # A savepoint, so that a fault of ours leaves the caller's transaction usable.
            with connection.transaction():
                return run(connection, exchange)  # type: ignore[no-any-return]


class AsyncDirectBackend:
    """Runs handlers on asynchronous connections of a source."""

    def __init__(self, source: AsyncSource, environment: Environment) -> None:
        self._source = source
        self._environment = environment
        self._pid = os.getpid()

    async def execute(self, operation: Operation[R]) -> R:
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

    async def limits(self) -> Limits:
        """Tell what the settings allow."""
        return self._environment.limits

    def statistics(self) -> dict[str, int]:
        """Tell how the pool is, in psycopg_pool's terms; empty where there is none of ours."""
        return self._source.statistics()

    async def close(self) -> None:
        """Close the source."""
        await self._source.close()

    async def _attempt(self, operation: Operation[R]) -> R:
        _check_process(self._pid)
        exchange = handlers[type(operation)](operation, self._environment)
        async with self._source.lend() as connection:
            if not self._source.is_joined:
                role = await run_async(connection, role_for(operation, self._environment))
                return await run_async(connection, exchange, role)  # type: ignore[no-any-return]
            async with connection.transaction():
                return await run_async(connection, exchange)  # type: ignore[no-any-return]


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

    return {
        "before": before,
        "retry": retry_if_exception(may_pass),
        "stop": stop_after_attempt(ATTEMPTS),
        "wait": wait_random_exponential(multiplier=0.01, max=0.5),
        "reraise": True,
    }
