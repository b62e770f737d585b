"""The way to PostgreSQL: a pooler in between."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from pgchroma.doctor.check import server_check
from pgchroma.doctor.database import Database
from pgchroma.doctor.findings import Finding, error, info, warning
from pgchroma.doctor.pooler import find_pooler

__all__ = ("CHECKS", "find_mode")


@server_check("pooler")
def _pooler(database: Database) -> Iterator[Finding]:
    (mode,) = database.shared(find_mode)
    if mode is None:
        return
    if mode == "statement":
        yield error(
            "pooler",
            "the pooler works in statement mode",
            "pgchroma needs transactions, so every request fails",
            "pool_mode = transaction",
        )
        return
    what = (
        "the pooler works in transaction mode"
        if mode == "transaction"
        else "there is a pooler in session mode, or in transaction mode and busy"
    )
    has_url = database.settings.pgchroma_compaction_url is not None
    report = info if has_url else warning
    cost = "statements are not prepared, which costs some planning time each"
    if not has_url:
        cost = f"the compactor needs a direct connection, so it builds no indexes; {cost}"
    yield report("pooler", what, cost, "PGCHROMA_COMPACTION_URL=postgresql://… (PostgreSQL itself)")


def find_mode(database: Database) -> tuple[str | None]:
    """Return the mode of the pooler in between; `None` if there is none."""
    return (find_pooler(database.connection, database.conninfo),)


CHECKS: Final = (_pooler,)
