"""The versions of pgvector that pgchroma works with, and how to upgrade from older ones.

There are two versions: that of the extension in the database, and that of the files on the server.
New files take effect in a database only with ``alter extension vector update``.
"""

from __future__ import annotations

import logging
from threading import Lock
from typing import Final

from pgchroma.errors import VersionMismatchError
from pgchroma.store.layout.pgvector import PARALLEL_BUILDS, SOUND, PgvectorVersion

__all__ = (
    "MIN_PGVECTOR",
    "check_creatable",
    "check_version",
    "has_bugs",
    "is_too_old",
    "warn_of_bugs",
)

_log = logging.getLogger("pgchroma.catalog")

MIN_PGVECTOR: Final = PgvectorVersion((0, 8, 0))
"""The first version with iterative scans, which searches with a filter rely on."""

_FIXES: Final = (
    (PARALLEL_BUILDS, "a buffer overflow in parallel builds of HNSW indexes"),
    (PgvectorVersion((0, 8, 3)), "possible corruption of HNSW indexes by vacuum"),
    (SOUND, "the error 'hnsw graph not repaired' in vacuum"),
)
"""Fixes according to pgvector's changelog, with the version that has each."""

_warned: set[str] = set()
_warned_lock = Lock()


def is_too_old(version: str) -> bool:
    """Whether this version lacks what pgchroma relies on."""
    return PgvectorVersion.parse(version) < MIN_PGVECTOR


def has_bugs(version: str) -> bool:
    """Whether this version has bugs that pgchroma avoids, or is too old."""
    return PgvectorVersion.parse(version) < SOUND


def warn_of_bugs(installed: str, available: str | None, server_version: int) -> None:
    """Log a warning if the extension has bugs that pgchroma avoids; one for each process.

    Args:
        installed: The version of the extension in the database.
        available: The version of the server's files; `None` if there are none.
        server_version: PostgreSQL's version number, such as 180006.
    """
    if not has_bugs(installed):
        return
    with _warned_lock:
        if installed in _warned:
            return
        _warned.add(installed)
    _log.warning(
        "pgvector %s has bugs that newer versions fix: %s. pgchroma avoids them: %s. %s",
        installed,
        _fixes(installed),
        _avoidance(installed),
        _advice(available, server_version),
    )


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
            f"pgvector {available} on this server is too old: {_REASON}. Install a newer pgvector "
            f"on the server ({package})"
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
            f"{_REASON}. The server has pgvector {available}. As the extension's owner or a "
            f"superuser, run: {update}"
        )
    raise VersionMismatchError(
        f"pgvector {installed} is too old: {_REASON}. Install a newer pgvector on the server "
        f"({_package(server_version)}). Then run: {update}"
    )


_REASON: Final = f"pgchroma needs {MIN_PGVECTOR} or newer, which has iterative index scans"


def _fixes(version: str) -> str:
    return ", ".join(
        f"{what} ({fixed})" for fixed, what in _FIXES if PgvectorVersion.parse(version) < fixed
    )


def _avoidance(version: str) -> str:
    ways = ["it never vacuums HNSW indexes but rebuilds them"]
    if not PgvectorVersion.parse(version).builds_in_parallel:
        ways.insert(0, "it builds HNSW indexes with one process")
    return " and ".join(ways)


def _advice(available: str | None, server_version: int) -> str:
    if available is not None and not has_bugs(available):
        return f"The server has pgvector {available}: run alter extension vector update"
    return (
        f"Install pgvector {SOUND} or newer on the server ({_package(server_version)}), or "
        "upgrade when your provider offers it"
    )


def _package(server_version: int) -> str:
    return f"on Debian: apt-get install postgresql-{server_version // 10_000}-pgvector"
