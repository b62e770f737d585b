"""How an open connection was made, to make another one like it."""

from __future__ import annotations

from typing import Any

import psycopg

__all__ = ("connection_parameters",)


def connection_parameters(connection: psycopg.BaseConnection[Any]) -> dict[str, Any]:
    """Return everything libpq was given or chose, the password included.

    `connection.info.dsn` leaves out values that equal libpq's defaults. Environment variables would
    replace those in the next connection.
    """
    options = connection.pgconn.info
    return {o.keyword.decode(): o.val.decode() for o in options if o.val is not None}
