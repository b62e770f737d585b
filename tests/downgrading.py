"""Turning a catalog into that of an older version."""

from __future__ import annotations

import io

import psycopg
from alembic import command
from sqlalchemy import create_engine, pool

from pgchroma.catalog.upgrade import _alembic

__all__ = ("downgrade",)


def downgrade(url: str, revision: str) -> None:
    """Undo the revisions of the catalog after the given one."""
    with psycopg.connect(url) as plain:
        engine = create_engine(
            "postgresql+psycopg://", creator=lambda: plain, poolclass=pool.StaticPool
        )
        configuration = _alembic(io.StringIO())
        with engine.begin() as migrating:
            configuration.attributes["connection"] = migrating
            command.downgrade(configuration, revision)
        engine.dispose()
