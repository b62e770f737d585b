"""Which errors of a direct backend are retried, and which message the last one gets."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, Final, Protocol

import psycopg
from tenacity import RetryCallState, retry_if_exception, stop_after_attempt, wait_random_exponential

from pgchroma.errors import OutcomeUnknownError, ReadOnlyReplicaError
from pgchroma.model.operations import Operation
from pgchroma.store import StoreContext
from pgchroma.store.roles import is_role_error
from pgchroma.store.running.errors import (
    has_lost_connection,
    has_lost_statement,
    is_recovery_conflict,
    is_retryable,
    mapped_errors,
    primary_message,
)

__all__ = ("RETRY", "final_errors", "is_retried", "retry_policy")

RETRY: Final[dict[str, Any]] = {
    "retry": retry_if_exception(is_retryable),
    "stop": stop_after_attempt(6),
    "wait": wait_random_exponential(multiplier=0.01, max=0.5),
    "reraise": True,
}
"""How to retry after losing a race, such as that of two writers of one new id; for tenacity."""


class _Source(Protocol):
    """The part of a connection source that decides on retries."""

    in_caller_transaction: bool

    def lose_statements(self) -> None: ...


def is_retried(
    error: BaseException, operation: Operation[Any], source: _Source, context: StoreContext
) -> bool:
    """Whether an operation is retried after its first attempt; mend the cause if possible."""
    if has_lost_statement(error):
        source.lose_statements()
        return True
    # The retry looks the tenant's role up and grants what it lacks. It is tried once.
    retries_with_role = context.has_tenant_roles and is_role_error(error)
    return retries_with_role or _may_succeed(error, operation, source)


def retry_policy(
    operation: Operation[Any], source: _Source, context: StoreContext
) -> dict[str, Any]:
    """Return how an operation is retried after its first attempt; for tenacity."""

    def before(_: RetryCallState) -> None:
        context.forget()

    def may_succeed(error: BaseException) -> bool:
        # The same standby gave up the second read; a third has no better prospects.
        return _may_succeed(error, operation, source) and not _is_conflict(error, operation, source)

    return {**RETRY, "before": before, "retry": retry_if_exception(may_succeed)}


def _may_succeed(error: BaseException, operation: Operation[Any], source: _Source) -> bool:
    if has_lost_connection(error):
        # PostgreSQL may have executed it. And the caller's transaction is lost with the connection.
        return operation.only_reads and not source.in_caller_transaction
    return is_retryable(error)


def _is_conflict(error: BaseException, operation: Operation[Any], source: _Source) -> bool:
    return operation.only_reads and not source.in_caller_transaction and is_recovery_conflict(error)


@contextmanager
def final_errors(operation: Operation[Any], source: _Source) -> Generator[None, None, None]:
    """Raise the error of the last attempt as an error of the product.

    The error of a write whose answer was lost says that the write may have taken effect.
    """
    with mapped_errors():
        try:
            yield
        except psycopg.Error as error:
            if _is_conflict(error, operation, source):
                raise ReadOnlyReplicaError(
                    "the read-only replica gave up a read in favour of replication: "
                    f"{primary_message(error)}; try again, or raise max_standby_streaming_delay "
                    "on it"
                ) from error
            if (
                operation.only_reads
                or source.in_caller_transaction
                or not has_lost_connection(error)
            ):
                raise
            raise OutcomeUnknownError(
                "the connection to the database was lost after a write was sent: "
                f"{primary_message(error)}. The write took effect as a whole or not at all; read "
                "the records to find out which"
            ) from error
