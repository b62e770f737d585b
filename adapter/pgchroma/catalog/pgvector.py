"""The versions of pgvector that pgchroma works with, and how to upgrade from older ones.

There are two versions: that of the extension in the database, and that of the files on the server.
New files take effect in a database only with ``alter extension vector update``.
"""

from __future__ import annotations

import re
from typing import Final

from pgchroma.errors import VersionMismatchError

__all__ = ("MIN_PGVECTOR", "check_creatable", "check_version", "is_too_old")

MIN_PGVECTOR: Final = (0, 8, 4)

_FIXES: Final = (
    ((0, 8, 2), "a buffer overflow in parallel builds of HNSW indexes"),
    ((0, 8, 3), "possible corruption of HNSW indexes by vacuum"),
    ((0, 8, 4), "the error 'hnsw graph not repaired' in vacuum"),
)
"""Fixes according to pgvector's changelog, with the version that has each."""


def is_too_old(version: str) -> bool:
    """Whether this version lacks what pgchroma relies on."""
    return _numbers(version) < MIN_PGVECTOR


def check_creatable(available: str | None, server_version: int) -> None:
    """Check that the extension can be created from the server's files as pgchroma needs it.

    Args:
        available: The version of the server's files; `None` if there are none.
        server_version: PostgreSQL's version number, such as 180006.

    Raises:
        VersionMismatchError: There are no files, or they are too old.
    """
    package = _package(server_version)
    if available is None:
        raise VersionMismatchError(
            f"pgvector is not installed on this server. Install its package ({package})"
        )
    if is_too_old(available):
        raise VersionMismatchError(
            f"pgvector {available} on this server is too old: {_reason(available)}. Install a "
            f"newer pgvector on the server ({package})"
        )


def check_version(installed: str, available: str | None, server_version: int) -> None:
    """Check that the extension is not too old.

    Args:
        installed: The version of the extension in the database.
        available: The version of the server's files; `None` if there are none.
        server_version: PostgreSQL's version number, such as 180006.

    Raises:
        VersionMismatchError: It is too old. The message has the command that upgrades it.
    """
    if not is_too_old(installed):
        return
    update = (
        "alter extension vector update; then rebuild each HNSW index that is there already: "
        "reindex index concurrently NAME"
    )
    if available is not None and not is_too_old(available):
        raise VersionMismatchError(
            f"the extension vector in this database is pgvector {installed}, which is too old: "
            f"{_reason(installed)}. The server has pgvector {available}. As the extension's owner "
            f"or a superuser, run: {update}"
        )
    raise VersionMismatchError(
        f"pgvector {installed} is too old: {_reason(installed)}. Install a newer pgvector on the "
        f"server ({_package(server_version)}). Then run: {update}"
    )


def _reason(version: str) -> str:
    minimum = ".".join(map(str, MIN_PGVECTOR))
    fixes = [
        f"{what} ({'.'.join(map(str, fixed))})"
        for fixed, what in _FIXES
        if _numbers(version) < fixed
    ]
    return f"pgchroma needs {minimum} or newer; since {version} were fixed: {', '.join(fixes)}"


def _package(server_version: int) -> str:
    return f"on Debian: apt-get install postgresql-{server_version // 10_000}-pgvector"


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version)[:3])
