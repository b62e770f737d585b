"""URLs of databases: those that psycopg does not connect by, and how a message names one."""

from __future__ import annotations

import re
from typing import Final

from psycopg.conninfo import conninfo_to_dict, make_conninfo

from pgchroma.errors import InvalidArgumentError

__all__ = ("address_of", "check_url", "without_secrets")

_URL: Final = re.compile(
    r"(?P<jdbc>jdbc:)?(?P<scheme>[a-z0-9]+)(\+(?P<driver>\w+))?://", re.IGNORECASE
)
_POSTGRES: Final = ("postgresql", "postgres")
_SECRETS: Final = ("password", "sslpassword", "scram_client_key", "oauth_client_secret")


def check_url(url: str) -> str:
    """Return `url` unless it is one of another driver, or of something other than PostgreSQL.

    Raises:
        InvalidArgumentError: It is; the message says how to write it, and shows nothing of it but
            its beginning.
    """
    if not url.strip():
        raise InvalidArgumentError("the URL is empty: give that of a database")
    found = _URL.match(url)
    if found is None:
        return url
    scheme, driver = found["scheme"].lower(), found["driver"]
    if scheme in ("http", "https"):
        raise InvalidArgumentError(
            f"{scheme}:// begins the URL of a server, and a database's is needed: postgresql://…; "
            "for a client of the server use HttpClient(url)"
        )
    if scheme not in _POSTGRES:
        raise InvalidArgumentError(
            f"{found[0][:40]} is not the URL of a PostgreSQL database; write postgresql://…"
        )
    if driver is not None or found["jdbc"]:
        raise InvalidArgumentError(
            f"pgchroma connects through psycopg: write postgresql:// instead of {found[0][:40]}"
        )
    return url


def without_secrets(url: str) -> str:
    """Return a URL or connection string as a connection string without passwords and keys."""
    scheme, separator, rest = url.partition("://")
    plain = f"{scheme.partition('+')[0]}://{rest}" if separator else url
    parts = {name: value for name, value in conninfo_to_dict(plain).items() if name not in _SECRETS}
    return make_conninfo("", **parts)


def address_of(conninfo: str) -> str:
    """Return user, host, port and database of a connection string, for messages: no password."""
    given = conninfo_to_dict(conninfo)
    user, host, port, name = (
        str(given.get(key) or "") for key in ("user", "host", "port", "dbname")
    )
    address = f"{host or 'localhost'}:{port}" if port else host or "localhost"
    return f"{user}@{address}/{name}" if user else f"{address}/{name}"
