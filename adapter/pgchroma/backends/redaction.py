"""PostgreSQL's errors as a log may have them: without the values of anybody's records."""

from __future__ import annotations

from typing import Final

import psycopg

__all__ = ("postgres_message", "sqlstate_of")

_SAFE_CLASSES: Final = frozenset(
    ("08", "0A", "25", "28", "3D", "3F", "40", "42", "53", "54", "55", "57", "58", "XX")
)
"""Classes of SQLSTATE whose primary messages name objects of the database, but no values."""


def sqlstate_of(error: BaseException) -> str | None:
    """Return PostgreSQL's code of an error; `None` if the error is not from PostgreSQL."""
    return error.sqlstate if isinstance(error, psycopg.Error) else None


def postgres_message(error: BaseException) -> str | None:
    """Return the message of psycopg's error where it can quote no value, and otherwise "".

    Returns:
        `None` if it is not an error of psycopg's.
    """
    if not isinstance(error, psycopg.Error):
        return None
    if error.sqlstate is None:
        # It is not from the server but from the connection to it; libpq appends what the server
        # said to the first line.
        lines = str(error).splitlines() if isinstance(error, psycopg.OperationalError) else []
        return lines[0] if lines else ""
    return (error.diag.message_primary or "") if error.sqlstate[:2] in _SAFE_CLASSES else ""
