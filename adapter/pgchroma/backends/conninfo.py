"""Connection strings, completed with the parameters that pgchroma relies on."""

from __future__ import annotations

import os
from typing import Final

from psycopg import pq
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from pgchroma.backends.urls import check_url
from pgchroma.store.running.errors import mapped_errors

__all__ = ("complete_conninfo", "plain_conninfo")

_DRIVERS: Final = ("postgresql+psycopg://", "postgresql+psycopg_async://")
"""How SQLAlchemy's URLs of databases begin that psycopg 3 connects to."""

_DEFAULTS: Final = {
    "connect_timeout": "10",
    # A peer that vanishes is noticed within a minute. Linux's defaults are two hours of silence, or
    # a quarter of an hour for data that was sent.
    "keepalives_idle": "30",
    "keepalives_interval": "10",
    "keepalives_count": "3",
    "tcp_user_timeout": "30000",
}


def plain_conninfo(url: str) -> str:
    """Return a database's URL as libpq accepts it."""
    # SQLAlchemy's URL names the driver; libpq's does not.
    for prefix in _DRIVERS:
        if url.startswith(prefix):
            return "postgresql://" + url.removeprefix(prefix)
    return check_url(url)


def complete_conninfo(url: str) -> str:
    """Return the connection string of a database with pgchroma's parameters.

    Text is sent as UTF-8. The time to wait for a peer that does not answer is that of the URL, of
    libpq's variables, or a default.

    Args:
        url: A URL, SQLAlchemy's included, or a libpq connection string.

    Raises:
        InvalidArgumentError: It is neither.
    """
    with mapped_errors():
        given = conninfo_to_dict(plain_conninfo(url))
        defaults = {key: value for key, value in _DEFAULTS.items() if not _is_set(key)}
        completed = {**defaults, **given, "client_encoding": "UTF8"}
        return make_conninfo("", **completed)


def _is_set(key: str) -> bool:
    return any(
        option.keyword.decode() == key and option.envvar and option.envvar.decode() in os.environ
        for option in pq.Conninfo.get_defaults()
    )
