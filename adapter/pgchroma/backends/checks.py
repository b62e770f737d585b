"""Checks of a database before it is used: by a server, which has no other access to PostgreSQL."""

from __future__ import annotations

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from pgchroma.backends.conninfo import plain_conninfo
from pgchroma.backends.urls import address_of
from pgchroma.catalog.server_facts import MigrationMode, ServerFacts
from pgchroma.catalog.upgrade import prepare
from pgchroma.errors import InvalidArgumentError
from pgchroma.store.running.errors import mapped_errors, reason_of

__all__ = ("check_conninfo", "prepare_database", "reason_of")


def check_conninfo(text: str) -> None:
    """Refuse a connection string or URL that libpq cannot read.

    Raises:
        InvalidArgumentError: It cannot. The message does not quote it: it may contain a password.
    """
    try:
        conninfo_to_dict(plain_conninfo(text))
    except psycopg.ProgrammingError:
        raise InvalidArgumentError(
            "is not a PostgreSQL URL or connection string; in a URL, characters such as @ : / "
            "and % of a password are percent-encoded"
        ) from None


def prepare_database(
    conninfo: str, mode: MigrationMode, *, connect_timeout: int | None = None
) -> ServerFacts:
    """Connect once, and check or upgrade the catalog; see `pgchroma.catalog.upgrade.prepare`.

    Args:
        conninfo: The database.
        mode: Whether to upgrade the catalog, to check it, or neither.
        connect_timeout: Seconds; `None` means what the connection string says.

    Raises:
        UnavailableError: The database cannot be reached; the message names it.
        VersionMismatchError: PostgreSQL, pgvector or the catalog has the wrong version.
        MissingRightError: The user lacks a right.
    """
    if connect_timeout is not None:
        conninfo = make_conninfo(conninfo, connect_timeout=connect_timeout)
    address = address_of(conninfo)
    with mapped_errors(address), psycopg.connect(conninfo, autocommit=True) as connection:
        return prepare(connection, mode)
