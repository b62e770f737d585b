"""Settings that stay on a session that only pgchroma uses.

A read with settings is otherwise a transaction: it begins, sets them, reads, and is rolled back.
That takes as much of the process's time as the read itself. Only settings of pgvector's HNSW stay:
they concern nothing else, and every statement that may search an HNSW index sets the same ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final
from weakref import WeakKeyDictionary

from psycopg import BaseConnection

from pgchroma.store.running.isolation import NO_WRAPPING, is_idle, wrapping_for
from pgchroma.store.running.steps import Statement, WithSettings

__all__ = ("SessionSettings", "keep_settings", "settings_of")

_LOCAL: Final = b"set local "
_KEPT: Final = b"set local hnsw."


class SessionSettings:
    """The settings of a session."""

    def __init__(self) -> None:
        self._set: dict[bytes, bytes] = {}

    def missing(self, reads: Sequence[WithSettings]) -> tuple[Statement, ...] | None:
        """Return the statements that set what reads need; they have to be sent, and then noted.

        Until they are noted, it is not known whether the session has these settings: the call may
        be cancelled in between.

        `None` means that the reads need a transaction, because their settings differ from each
        other or concern other statements.
        """
        wanted = reads[0].settings
        texts = [statement.text for statement in wanted]
        are_alike = all(read.settings == wanted for read in reads[1:])
        if not are_alike or not all(text.startswith(_KEPT) for text in texts):
            return None
        missing = [text for text in texts if self._set.get(_name(text)) != text]
        for text in missing:
            self._set.pop(_name(text), None)
        return tuple(
            Statement(b"set " + text.removeprefix(_LOCAL), reuses_plan=False) for text in missing
        )

    def note(self, reads: Sequence[WithSettings]) -> None:
        """Store that the session has the settings of reads, which have succeeded."""
        self._set.update((_name(each.text), each.text) for each in reads[0].settings)


def keep_settings(connection: BaseConnection[Any]) -> None:
    """Let settings stay on a session that only pgchroma uses."""
    _sessions[connection] = SessionSettings()


def settings_of(connection: BaseConnection[Any]) -> SessionSettings | None:
    """Return the settings of a connection's session; `None` if a read needs a transaction."""
    kept = _sessions.get(connection)
    if kept is None or not is_idle(connection) or wrapping_for(connection) is not NO_WRAPPING:
        return None
    return kept


def _name(text: bytes) -> bytes:
    return text.partition(b" = ")[0]


_sessions: WeakKeyDictionary[BaseConnection[Any], SessionSettings] = WeakKeyDictionary()
