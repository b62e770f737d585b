"""Resolve the directory that a caller names, and reject text that names something else.

A URL, an address or a connection string is also a valid file name. Used as one, it would create an
empty database in a directory whose name may contain a password.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from psycopg import ProgrammingError
from psycopg.conninfo import conninfo_to_dict

from pgchroma._version import DOCUMENTATION
from pgchroma.errors import InvalidArgumentError, UnavailableError

__all__ = ("SWITCH_NOTE", "check_exists", "check_new", "check_switched", "resolved")

SWITCH_NOTE: Final = "pgchroma.upgrade"
"""The file in a directory while an upgrade exchanges its data directories."""

MAX_SHOWN: Final = 80
"""Characters of a path that an error message shows."""

# `Path` turns `://` into `:/`. One letter before the colon would be a drive of Windows.
_URL: Final = re.compile(r"(?:jdbc:)?(?P<scheme>[a-z][a-z0-9+.-]+):/", re.ASCII | re.IGNORECASE)
_ADDRESS: Final = re.compile(
    r"(?://)?(?:[^/@\s]+@)?(?P<host>\[[0-9a-f:.]+\]|[a-z0-9]([a-z0-9._-]*[a-z0-9])?):(?P<port>[0-9]{1,5})(/.*)?",
    re.ASCII | re.IGNORECASE,
)
_LOGIN: Final = re.compile(r"[^/:@\s]+:[^/@\s]+@[^/@\s]+(/.*)?")
_REMOTE: Final = {"host", "hostaddr", "dbname", "password", "service"}

_OTHERS: Final = (
    ("Chroma", "chroma.sqlite3"),
    ("Chroma before 0.4", "chroma-*.parquet"),
    ("LanceDB", "*.lance"),
)

_AS_DIRECTORY: Final = "if it is a directory's name, pass the directory's absolute path"


def resolved(path: str | Path) -> Path:
    """Return the absolute directory that `path` names.

    Raises:
        InvalidArgumentError: It names a database or a server, or cannot be a directory.
    """
    text = str(path).strip()
    _refuse_empty(text)
    _refuse_url(text)
    _refuse_address(text)
    _refuse_conninfo(text)
    try:
        directory = Path(path).expanduser().resolve()
    except (OSError, RuntimeError, ValueError) as error:
        raise InvalidArgumentError(f"{_cut(text)!r} cannot be a directory: {error}") from error
    if "\n" in str(directory):
        # PostgreSQL writes the path on a line of its pid file.
        raise InvalidArgumentError(f"{_cut(text)!r} contains a line break: choose another path")
    return directory


def check_exists(directory: Path) -> None:
    """Raise if pgchroma has not created a database in a directory yet.

    Raises:
        InvalidArgumentError: There is no database.
    """
    if not _has_database(directory):
        raise InvalidArgumentError(
            f"there is no database in {directory}: check the path; PersistentClient and"
            " `pgchroma run` create one"
        )


def check_switched(directory: Path) -> None:
    """Raise if an upgrade was interrupted while it exchanged the data directories.

    Raises:
        UnavailableError: It was. The data may have another name.
    """
    if (directory / SWITCH_NOTE).exists():
        raise UnavailableError(
            f"an upgrade of {directory} was interrupted at its end: run `pgchroma upgrade-data"
            f" --path {directory}` to complete it"
        )


def check_new(directory: Path) -> None:
    """Raise if a directory has files of Chroma or LanceDB, whose data a new database would lack.

    Raises:
        InvalidArgumentError: There are such files.
    """
    if _has_database(directory) or not directory.is_dir():
        return
    for product, pattern in _OTHERS:
        if found := next(directory.glob(pattern), None):
            raise InvalidArgumentError(
                f"{directory} contains data of {product} ({_cut(found.name)}), which pgchroma does"
                " not read: choose another path and copy the records as"
                f" {DOCUMENTATION}/importing.md shows"
            )


def _has_database(directory: Path) -> bool:
    names = ("postgres/PG_VERSION", SWITCH_NOTE)
    return any((directory / name).exists() for name in names)


def _refuse_empty(text: str) -> None:
    if not text:
        raise InvalidArgumentError(
            'the path is empty: pass the path of a directory; "." is the current one'
        )


def _refuse_url(text: str) -> None:
    if text.lower() == ":memory:":
        raise InvalidArgumentError(f"{text} is not a directory: use EphemeralClient()")
    found = _URL.match(text)
    if found is None:
        return
    # The rest of the URL may contain a password.
    scheme = found["scheme"].lower()
    raise InvalidArgumentError(
        f"a URL that begins with {_cut(scheme)}:// is not the path of a directory:"
        f" {_remedy(scheme)}"
    )


def _remedy(scheme: str) -> str:
    kind = scheme.partition("+")[0]
    if kind in {"postgresql", "postgres"}:
        return "for a PostgreSQL database use PostgresClient(url), on the command line --url"
    if kind in {"http", "https"}:
        return "for a server use HttpClient(url)"
    if kind == "memory":
        return "use EphemeralClient()"
    if kind == "file":
        return "pass the path without file://"
    return "pass the path of a directory on this machine"


def _refuse_address(text: str) -> None:
    found = _ADDRESS.fullmatch(text)
    if found is None or not 0 < int(found["port"]) < 1 << 16:
        if _LOGIN.fullmatch(text):
            raise InvalidArgumentError(
                "the login of a server is not the path of a directory: for PostgreSQL use"
                f" PostgresClient(url) with postgresql://…; {_AS_DIRECTORY}"
            )
        return
    shown = f"{found['host']}:{found['port']}"
    raise InvalidArgumentError(
        f"{_cut(shown)!r} is the address of a server, not the path of a directory: for a Chroma"
        f" server use HttpClient(url) with http://{_cut(shown)}, for PostgreSQL"
        f" PostgresClient(url); {_AS_DIRECTORY}"
    )


def _refuse_conninfo(text: str) -> None:
    if "=" not in text:
        return
    try:
        keywords = conninfo_to_dict(text).keys()
    except ProgrammingError:
        return
    if keywords & _REMOTE:
        raise InvalidArgumentError(
            "a connection string is not the path of a directory: pass it to PostgresClient(url);"
            f" {_AS_DIRECTORY}"
        )


def _cut(text: str) -> str:
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}…"
