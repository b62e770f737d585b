# Generated from _async/driver.py by tools/unasync.py; edit that and run `make fmt`.
"""The driver: runs a handler on a connection of psycopg.

A handler yields steps, and the driver sends it their rows.

With a role, every transaction of the handler begins with setting the role and ends with resetting
it. Outside a transaction, a statement and the one that sets the role form a transaction: PostgreSQL
runs everything that a pipeline sends at once as one transaction. If there is no such role, the
statement that follows is not run.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any

import psycopg
from psycopg import BaseConnection, Connection, Cursor, Rollback
from psycopg.pq import PipelineStatus

from pgchroma.store.encoding.text_arrays import pack_lists
from pgchroma.store.running._sync.cursors import PrepareInPipeline, StepCursor
from pgchroma.store.running._sync.io import (
    RETURNED,
    fetch,
    has_many_rows,
    in_thread,
    send_in_thread,
)
from pgchroma.store.running._sync.prepared import execute_prepared
from pgchroma.store.running.isolation import (
    ASKING,
    NO_WRAPPING,
    READ_COMMITTED,
    Wrapping,
    committing,
    is_idle,
    note_isolation,
    rolling_back,
    wrapping_for,
)
from pgchroma.store.running.prepared_statements import may_prepare
from pgchroma.store.running.search_path import ADD_SCHEMA, lacks_schema
from pgchroma.store.running.session_settings import settings_of
from pgchroma.store.running.steps import (
    Attempt,
    Reads,
    Rows,
    Statement,
    Step,
    Steps,
    Transaction,
    WithSettings,
)
from pgchroma.store.running.transaction_settings import set_role

__all__ = ("run", "transaction")


def run(
    connection: Connection[Any],
    steps: Steps[Any],
    role: str | None = None,
    *,
    is_heavy: bool = False,
) -> Any:
    """Run a handler to its end on a connection.

    The connection must know how to send vectors; see
    `pgchroma.store.encoding.vectors.prepare_vectors`.

    Args:
        connection: Where the handler's statements are sent.
        steps: The handler.
        role: The role to run it as; `None` means the user that is logged in.
        is_heavy: Whether the handler's own work is done in a thread, off the event loop.
    """
    answer: Any = None
    try:
        while True:
            step = (
                send_in_thread(steps, answer)
                if is_heavy or has_many_rows(answer)
                else steps.send(answer)
            )
            answer = _run_step(connection, step, role, is_heavy=is_heavy)
    except RETURNED as done:
        return done.value
    finally:
        steps.close()


def _run_step(connection: Connection[Any], step: Step, role: str | None, *, is_heavy: bool) -> Any:
    prefix = _prefix(connection, role)
    if is_heavy:
        step = in_thread(_packed, step)
    match step:
        case Statement():
            return _pipeline(connection, (*prefix, step), wrapping_for(connection))
        case WithSettings():
            (rows,) = _run_reads(connection, prefix, (step,))
            return rows
        case Reads(reads):
            return _run_reads(connection, prefix, reads)
        case Transaction(steps):
            if is_idle(connection):
                connection.set_isolation_level(READ_COMMITTED)
            with transaction(connection):
                # The role is set once for all steps; the role itself may not set another.
                _pipeline(connection, prefix)
                return run(connection, steps, is_heavy=is_heavy)
        case Attempt(steps):
            try:
                return _run_step(connection, Transaction(steps), role, is_heavy=is_heavy)
            except psycopg.Error as error:
                return error
        case statements:
            return _pipeline(connection, (*prefix, *statements), committing(connection))


def _run_reads(
    connection: Connection[Any], prefix: tuple[Statement, ...], reads: tuple[WithSettings, ...]
) -> list[Rows]:
    kept = None if prefix else settings_of(connection)
    missing = None if kept is None else kept.missing(reads)
    if kept is not None and missing is not None:
        rows = _run_alone(connection, missing, reads)
        kept.note(reads)
        return rows
    statements, positions = list(prefix), []
    for read in reads:
        statements += [*read.settings, read.statement]
        positions.append(len(statements) - 1)
    wrapping = rolling_back(connection)
    cursors = _send_all(connection, tuple(statements), wrapping)
    return [fetch(cursors[len(wrapping.before) + position]) for position in positions]


def _run_alone(
    connection: Connection[Any], before: tuple[Statement, ...], reads: tuple[WithSettings, ...]
) -> list[Rows]:
    """Run reads without a transaction of their own, after statements that set something."""
    statements = (*before, *(read.statement for read in reads))
    if len(statements) == 1:
        return [_pipeline(connection, statements)]
    cursors = _send_all(connection, statements, NO_WRAPPING)
    return [fetch(cursor) for cursor in cursors[len(before) :]]


def _packed(step: Step) -> Step:
    match step:
        case Statement():
            return _with_packed_lists(step)
        case WithSettings():
            return _read_packed(step)
        case Reads(reads):
            return Reads(tuple(map(_read_packed, reads)))
        case Transaction() | Attempt():
            return step
        case statements:
            return tuple(map(_with_packed_lists, statements))


def _read_packed(read: WithSettings) -> WithSettings:
    return replace(read, statement=_with_packed_lists(read.statement))


def _with_packed_lists(statement: Statement) -> Statement:
    return replace(statement, parameters=pack_lists(statement.parameters))


def _pipeline(
    connection: Connection[Any],
    statements: tuple[Statement, ...],
    wrapping: Wrapping = NO_WRAPPING,
) -> Rows:
    """Send statements in one round trip, and return the rows of the last one."""
    if not statements:
        return ()
    if len(statements) == 1 and wrapping is NO_WRAPPING:
        rows = execute_prepared(connection, statements[0])
        if rows is not None:
            return rows
        try:
            cursor = _execute(connection, statements[0])
        except PrepareInPipeline:
            pass
        else:
            return fetch(cursor)
    cursors = _send_all(connection, statements, wrapping)
    if wrapping is ASKING:
        note_isolation(connection, fetch(cursors[len(wrapping.before) - 1]))
    return fetch(cursors[-1 - len(wrapping.after)])


def _send_all(
    connection: Connection[Any], statements: tuple[Statement, ...], wrapping: Wrapping
) -> list[Cursor[Any]]:
    """Send statements in one round trip, and return the cursors of all of them."""
    is_alone = is_idle(connection)
    try:
        return _send(connection, (*wrapping.before, *statements, *wrapping.after))
    except BaseException:
        # If they are part of a transaction, the code that began it rolls it back.
        with suppress(psycopg.Error):
            if _is_in_pipeline(connection):
                connection.close()
            elif is_alone:
                _forget_prepared(connection)
        if is_alone and not is_idle(connection):
            # The rollback was itself cancelled.
            connection.close()
        raise


def _send(connection: Connection[Any], statements: tuple[Statement, ...]) -> list[Cursor[Any]]:
    first = None
    cursors: list[Cursor[Any]] = []
    try:
        with connection.pipeline():
            # psycopg logs a warning if an error leaves the pipeline and another one follows.
            try:
                for statement in statements:
                    cursors.append(_execute(connection, statement))
            except psycopg.Error as error:
                first = error
    except psycopg.Error:
        if first is None:
            raise
    if first is not None:
        raise first
    return cursors


def _forget_prepared(connection: Connection[Any]) -> None:
    # The statements after the one that failed were not prepared, although psycopg assumes so. It
    # forgets them when it rolls back, which it does only within a transaction.
    connection.rollback()
    with connection.transaction():
        raise Rollback


@contextmanager
def transaction(connection: Connection[Any]) -> Generator[None, None, None]:
    """Make a transaction or a savepoint; of a lost connection nothing is logged."""
    block = connection.transaction()
    block.__enter__()
    try:
        yield
    except BaseException as error:
        if not connection.closed:
            block.__exit__(type(error), error, error.__traceback__)
        raise
    block.__exit__(None, None, None)


def _prefix(connection: BaseConnection[Any], role: str | None) -> tuple[Statement, ...]:
    """Return the statements that begin a transaction. The role comes last: it may set nothing."""
    path = (ADD_SCHEMA,) if lacks_schema(connection) and is_idle(connection) else ()
    return path if role is None else (*path, set_role(role))


def _is_in_pipeline(connection: BaseConnection[Any]) -> bool:
    """Whether a call was interrupted so early that psycopg did not leave its pipeline."""
    return connection.pgconn.pipeline_status != PipelineStatus.OFF


def _execute(connection: Connection[Any], statement: Statement) -> Cursor[Any]:
    is_prepared: bool | None = False
    parameters = statement.parameters
    if statement.reuses_plan and may_prepare(connection):
        # By default, psycopg prepares a statement when it is executed for the sixth time.
        is_prepared = statement.prepares_at_once or None
        # It is prepared for the types of parameters that `execute_prepared` sends.
        parameters = pack_lists(parameters)
    cursor = StepCursor(connection)
    return cursor.execute(statement.text, parameters, prepare=is_prepared)
