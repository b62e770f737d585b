"""Whether a database refuses a login for a reason that retrying does not remove."""

from __future__ import annotations

import os
import re
import select
import sys
import time
from typing import Final

from psycopg import pq
from psycopg.conninfo import make_conninfo

__all__ = ("is_refused_for_good",)

SECONDS: Final = 5.0
"""How long to wait for the answer, in seconds."""

_FOR_GOOD: Final = ("28", "3D")
"""Classes of SQLSTATE: the login is not valid, the database does not exist."""

_SQLSTATE: Final = re.compile(rb'ErrorResponse.* C "([0-9A-Z]{5})"')


def is_refused_for_good(conninfo: str) -> bool:
    """Whether connecting fails for a wrong login, a missing database, or a malformed parameter.

    A server that is starting, or has no connection left, refuses only for a while.
    """
    return _is_malformed(conninfo) or (_sqlstate(conninfo) or "").startswith(_FOR_GOOD)


def _is_malformed(conninfo: str) -> bool:
    # No server is there: a ping of a host that does not answer would block every thread.
    nowhere = make_conninfo(conninfo, host="/nonexistent", hostaddr="", port="5432")
    return pq.PGconn.ping(nowhere.encode()) == pq.Ping.NO_ATTEMPT


def _sqlstate(conninfo: str) -> str | None:
    """Log in, and return the SQLSTATE of the refusal, if there is one.

    libpq does not expose the code of a login's error, but writes it to a trace.
    """
    if sys.platform != "linux":
        return None
    connection = pq.PGconn.connect_start(conninfo.encode())
    # The trace also contains the password, and is in memory only.
    trace = os.memfd_create("login")
    try:
        if connection.status == pq.ConnStatus.BAD:
            return None
        connection.trace(trace)
        _log_in(connection)
        connection.untrace()
        found = _SQLSTATE.search(os.pread(trace, 1 << 16, 0))
        return None if found is None else found[1].decode()
    finally:
        connection.finish()
        os.close(trace)


def _log_in(connection: pq.abc.PGconn) -> None:
    deadline = time.monotonic() + SECONDS
    while (seconds := deadline - time.monotonic()) > 0:
        match connection.connect_poll():
            case pq.PollingStatus.READING:
                select.select([connection.socket], [], [], seconds)
            case pq.PollingStatus.WRITING:
                select.select([], [connection.socket], [], seconds)
            case _:
                return
