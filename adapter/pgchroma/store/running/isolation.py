"""pgchroma's transactions are read committed, whatever the default of the role or the database is.

A write locks rows in one statement and changes them in the next, which must see the changes that
were committed in between. A reader could do nothing about a serialization failure.

The statement that begins a transaction sets its level. A single statement has the session's
default. The driver asks for that default once per connection, together with the first statement; if
it is another level, each single statement gets a transaction. Nothing is set for the session, which
a pooler may hand to others. A default of read-only transactions stays in force: it protects data.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple
from weakref import WeakKeyDictionary

from psycopg import BaseConnection, Connection, IsolationLevel
from psycopg.pq import TransactionStatus

from pgchroma.store.running.prepared_statements import ROLLBACKS_OF_READS
from pgchroma.store.running.steps import Rows, Statement

__all__ = (
    "ASKING",
    "NO_WRAPPING",
    "READ_COMMITTED",
    "Wrapping",
    "committing",
    "is_idle",
    "note_isolation",
    "rolling_back",
    "set_isolation",
    "wrapping_for",
)

READ_COMMITTED: Final = IsolationLevel.READ_COMMITTED


class Wrapping(NamedTuple):
    """Statements that begin and end the transaction of others.

    They are sent together with these: psycopg's own transactions take additional round trips.
    """

    before: tuple[Statement, ...] = ()
    after: tuple[Statement, ...] = ()


def is_idle(connection: BaseConnection[Any]) -> bool:
    """Whether a statement sent now would be a transaction by itself."""
    # `connection.info` makes an object each time.
    return connection.autocommit and connection.pgconn.transaction_status == TransactionStatus.IDLE


def wrapping_for(connection: BaseConnection[Any]) -> Wrapping:
    """Return what makes a single statement read committed."""
    if not is_idle(connection):
        return NO_WRAPPING
    is_default = _are_default.get(connection)
    if is_default is None:
        return ASKING
    return NO_WRAPPING if is_default else COMMITTED


def committing(connection: BaseConnection[Any]) -> Wrapping:
    """Return what makes statements one transaction, unless they are already part of one."""
    return COMMITTED if is_idle(connection) else NO_WRAPPING


def rolling_back(connection: BaseConnection[Any]) -> Wrapping:
    """Return what undoes the settings that statements change."""
    return ROLLED_BACK if is_idle(connection) else SAVEPOINT_ROLLED_BACK


def note_isolation(connection: BaseConnection[Any], answer: Rows) -> None:
    """Store the answer to `ASKING`."""
    _are_default[connection] = answer[0][0] == "read committed"


def set_isolation(connection: Connection[Any]) -> None:
    """Make a session that only pgchroma uses read committed.

    It can then run statements that PostgreSQL refuses in a transaction block.
    """
    connection.execute(_SET)
    _are_default[connection] = True


def _unprepared(*texts: bytes) -> tuple[Statement, ...]:
    return tuple(Statement(text, reuses_plan=False) for text in texts)


_are_default: WeakKeyDictionary[BaseConnection[Any], bool] = WeakKeyDictionary()
"""Whether the default isolation level of a connection's session is read committed."""

_BEGIN: Final = b"begin isolation level read committed"
_ASK: Final = b"show default_transaction_isolation"
_SET: Final = "set default_transaction_isolation to 'read committed'"

NO_WRAPPING: Final = Wrapping()
COMMITTED: Final = Wrapping(_unprepared(_BEGIN), _unprepared(b"commit"))
ASKING: Final = Wrapping(_unprepared(_BEGIN, _ASK), _unprepared(b"commit"))
_ROLLBACK, _ROLLBACK_TO_SAVEPOINT = ROLLBACKS_OF_READS
ROLLED_BACK: Final = Wrapping(_unprepared(_BEGIN), _unprepared(_ROLLBACK))
SAVEPOINT_ROLLED_BACK: Final = Wrapping(
    _unprepared(b"savepoint pgchroma"),
    _unprepared(_ROLLBACK_TO_SAVEPOINT, b"release savepoint pgchroma"),
)
