"""Connection strings of the embedded server, which ignore libpq's environment variables.

Such variables are set for another database: its options, its encoding, its authentication.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final
from urllib.parse import quote, urlencode

from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.pq import Conninfo

__all__ = ("ignore_missing_service", "private_conninfo", "url_of")

_NEUTRAL: Final = {
    "application_name": "pgchroma",
    "client_encoding": "UTF8",
    "connect_timeout": "10",
    "gssencmode": "disable",
    "max_protocol_version": "3.0",
    "min_protocol_version": "3.0",
    "sslmode": "disable",
    "sslcertmode": "disable",
}
"""Values for parameters whose default does not suit a Unix socket, or must not be set to empty."""

_SINCE_16: Final = frozenset(
    {
        "gssdelegation",
        "load_balance_hosts",
        "max_protocol_version",
        "min_protocol_version",
        "require_auth",
        "sslcertmode",
        "sslnegotiation",
    }
)
"""Keywords that an older psql, which may get the string, does not know."""


def private_conninfo(**address: str) -> str:
    """Return a connection string that sets every parameter which has a variable."""
    parameters = {}
    for option in Conninfo.get_defaults():
        keyword, variable = option.keyword.decode(), (option.envvar or b"").decode()
        is_needed = keyword not in _SINCE_16 or variable in os.environ
        # libpq also looks an empty service up; see below.
        if variable and is_needed and keyword != "service":
            parameters[keyword] = _NEUTRAL.get(keyword, (option.compiled or b"").decode())
    return make_conninfo("", **{**parameters, **address})


def url_of(conninfo: str) -> str:
    """Return the URL of a server on a Unix socket, short enough to display and type."""
    given = {key: str(value) for key, value in conninfo_to_dict(conninfo).items()}
    where = urlencode({"host": given["host"], "port": given["port"], "sslmode": "disable"})
    return f"postgresql://{quote(given['user'])}@/{quote(given['dbname'])}?{where}"


def ignore_missing_service() -> str | None:
    """Unset PGSERVICE if no file defines that service, and return the service's name.

    libpq looks the service up even if the connection string is complete. While it is missing, this
    process cannot connect at all, so unsetting the variable breaks nothing.
    """
    name = os.environ.get("PGSERVICE")
    if name is None or any(_defines(file, name) for file in _service_files()):
        return None
    del os.environ["PGSERVICE"]
    return name


def _service_files() -> list[Path]:
    named = os.environ.get("PGSERVICEFILE")
    if named is not None and not Path(named).is_file():
        return []  # libpq looks no further.
    files = [Path(os.path.expanduser("~/.pg_service.conf") if named is None else named)]  # noqa: PTH111
    if directory := os.environ.get("PGSYSCONFDIR"):
        files.append(Path(directory, "pg_service.conf"))
    return files


def _defines(file: Path, name: str) -> bool:
    try:
        lines = file.read_text(errors="replace").splitlines()
    except OSError:
        return False
    return any(line.strip().startswith(f"[{name}]") for line in lines)
