"""SQLAlchemy's errors, the URL of an engine for messages, and transactions not yet begun."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, Final

import psycopg
from psycopg.conninfo import make_conninfo
from psycopg.pq import TransactionStatus
from sqlalchemy import URL
from sqlalchemy.exc import DBAPIError, PendingRollbackError, ResourceClosedError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from pgchroma.backends.urls import address_of
from pgchroma.errors import InvalidArgumentError, UnavailableError

__all__ = ("BEGIN", "USED_AT", "check_driver", "engine_address", "is_idle", "sqlalchemy_errors")

BEGIN: Final = "select 1"
"""psycopg begins a transaction with the first statement, SQLAlchemy only notes that it did."""

USED_AT: Final = "pgchroma_used_at"
"""The key in the `info` of an engine's connection for the time when it was last returned."""


def check_driver(driver: str) -> None:
    """Refuse an engine on another driver than psycopg 3.

    Raises:
        InvalidArgumentError: The driver is another one.
    """
    if not driver.startswith("psycopg") or driver == "psycopg2":
        raise InvalidArgumentError(
            f"the SQLAlchemy engine uses the driver {driver}; pgchroma runs on psycopg 3: make "
            "the engine with a URL that starts with postgresql+psycopg://"
        )


def is_idle(driver: psycopg.BaseConnection[Any]) -> bool:
    """Whether the caller's connection has not begun its transaction.

    A savepoint of ours would then be the transaction, and would be committed.
    """
    return not driver.autocommit and driver.info.transaction_status is TransactionStatus.IDLE


def engine_address(url: URL) -> str:
    """Return user, host, port and database of an engine's URL, for messages."""
    parts = {"user": url.username, "host": url.host, "port": url.port, "dbname": url.database}
    return address_of(make_conninfo("", **parts))


@contextmanager
def sqlalchemy_errors() -> Generator[None, None, None]:
    """Raise SQLAlchemy's errors inside as psycopg's errors or the product's."""
    try:
        yield
    except DBAPIError as error:
        raise error.orig or error from error
    except PoolTimeoutError as error:
        raise UnavailableError(f"the engine has no connection left: {error}") from error
    except (ResourceClosedError, PendingRollbackError) as error:
        raise InvalidArgumentError(f"the connection cannot be used: {error}") from error
