"""A limit on how long a connection may keep a call waiting.

PostgreSQL's own limits have no effect where nothing arrives any more, for instance behind a
firewall that forgot a connection or a proxy that stopped. Then this side closes the connection.
"""

from __future__ import annotations

import os
import select
import socket
import threading
from collections.abc import Generator
from contextlib import contextmanager, suppress
from typing import Any, Final

import psycopg

from pgchroma.errors import DeadlineExceededError

__all__ = ("GRACE_SECONDS", "Limit", "has_input", "limit_errors")

GRACE_SECONDS: Final = 2.0
"""How long PostgreSQL may take to cancel a statement before the connection is closed."""


class Limit:
    """A limit that is in force.

    Attributes:
        is_over: Whether it was reached.
    """

    def __init__(self, connection: psycopg.BaseConnection[Any]) -> None:
        self.is_over = False
        self._connection = connection
        self._has_ended = False
        self._lock = threading.Lock()

    def end(self) -> None:
        """Leave the connection alone from now on."""
        with self._lock:
            self._has_ended = True

    def cut(self) -> None:
        """Shut the connection down, and with it the wait for an answer."""
        with self._lock:
            self.is_over = True
            if not self._has_ended:
                _shut_down(self._connection)


@contextmanager
def limit_errors(limit: Limit, seconds: float) -> Generator[None, None, None]:
    """Raise an error that the limit caused as `DeadlineExceededError`."""
    try:
        yield
    except psycopg.Error as error:
        if not limit.is_over:
            raise
        # A cancellation that arrives late would cancel the next statement.
        limit.cut()
        raise DeadlineExceededError(
            f"the database did not answer within {seconds:g} seconds, and the request was given "
            "up; a write may have taken effect"
        ) from error


def has_input(connection: psycopg.BaseConnection[Any]) -> bool:
    """Whether a connection received something that was not requested: usually its end."""
    try:
        poll = select.poll()
        poll.register(connection.fileno(), select.POLLIN)
        return bool(poll.poll(0))
    except (psycopg.Error, OSError, ValueError):
        return True


def _shut_down(connection: psycopg.BaseConnection[Any]) -> None:
    # On a copy of the descriptor: closing the socket object must not close libpq's own.
    with (
        suppress(psycopg.Error, OSError),
        socket.socket(fileno=os.dup(connection.fileno())) as copy,
    ):
        copy.shutdown(socket.SHUT_RDWR)
