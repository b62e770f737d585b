"""Transactions of ours are read committed, whatever the role or the database has as its default.

A write locks rows in one statement and changes them in the next, which has to see what was
committed in between. And nobody who reads here could do anything about a serialization failure.

What begins a transaction says so. A statement on its own has the session's default. That default
is asked for once per connection, along with its first statement; where it is another, each
statement gets a transaction that says it. Nothing is set for the session, which a pooler may hand
to others. Whether transactions are read only by default is left as it is: it is there to protect.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple
from weakref import WeakKeyDictionary

from psycopg import BaseConnection, Connection, IsolationLevel
from psycopg.pq import TransactionStatus

from pgchroma.store.running.steps import Rows, Statement

__all__ = (
    "ASKING",
    "COMMITTED",
    "NO_BRACKETS",
    "READ_COMMITTED",
    "ROLLED_BACK",
    "UNDONE",
    "Brackets",
    "brackets_for",
    "is_idle",
    "note_isolation",
    "set_isolation",
)

READ_COMMITTED: Final = IsolationLevel.READ_COMMITTED


class Brackets(NamedTuple):
    """What goes before and behind statements that belong together.

    It is sent along with them: psycopg's own transactions take round trips of their own.
    """

    before: tuple[Statement, ...] = ()
    after: tuple[Statement, ...] = ()


def is_idle(connection: BaseConnection[Any]) -> bool:
    """Whether a statement would be a transaction of its own."""
    is_between = connection.info.transaction_status is TransactionStatus.IDLE
    return connection.autocommit and is_between


def brackets_for(connection: BaseConnection[Any]) -> Brackets:
    """Make a statement on its own read committed, if it would not be."""
    if not is_idle(connection):
        return NO_BRACKETS
    is_default = _are_default.get(connection)
    if is_default is None:
        return ASKING
    return NO_BRACKETS if is_default else COMMITTED


def note_isolation(connection: BaseConnection[Any], answer: Rows) -> None:
    """Take in what `ASKING` was answered."""
    _are_default[connection] = answer[0][0] == "read committed"


def set_isolation(connection: Connection[Any]) -> None:
    """Let a session that is ours alone be read committed.

    Its statements can then be some that PostgreSQL runs in no transaction block.
    """
    connection.execute(_SET)
    _are_default[connection] = True


def _bracket(*texts: bytes) -> tuple[Statement, ...]:
    return tuple(Statement(text, reuses_plan=False) for text in texts)


_are_default: WeakKeyDictionary[BaseConnection[Any], bool] = WeakKeyDictionary()
"""Whether read committed is what the session of a connection has as its default."""

_BEGIN: Final = b"begin isolation level read committed"
_ASK: Final = b"show default_transaction_isolation"
_SET: Final = "set default_transaction_isolation to 'read committed'"

NO_BRACKETS: Final = Brackets()
COMMITTED: Final = Brackets(_bracket(_BEGIN), _bracket(b"commit"))
ASKING: Final = Brackets(_bracket(_BEGIN, _ASK), _bracket(b"commit"))
ROLLED_BACK: Final = Brackets(_bracket(_BEGIN), _bracket(b"rollback"))
UNDONE: Final = Brackets(
    _bracket(b"savepoint pgchroma"),
    _bracket(b"rollback to savepoint pgchroma", b"release savepoint pgchroma"),
)
