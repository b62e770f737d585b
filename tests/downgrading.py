"""Turning a catalog into that of an older version."""

from __future__ import annotations

import psycopg

from pgchroma.catalog.revisions import migrating, run_downgrade

__all__ = ("downgrade",)


def downgrade(url: str, revision: str) -> None:
    """Undo the revisions of the catalog after the given one."""
    with psycopg.connect(url) as plain, migrating(plain) as alembic:
        run_downgrade(alembic, revision)
