"""Versions of collections, and the keys that were discovered in their metadata."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0007"
down_revision = "0006"

SCHEMA = "pgchroma"
TABLE = "collections"


def upgrade() -> None:
    version = sa.Column("version", sa.BigInteger, nullable=False, server_default=sa.text("0"))
    for column in (
        version,
        sa.Column("discovered_keys", JSONB),
        sa.Column("compacted_operations", sa.BigInteger),
        sa.Column("compacted_pos", sa.BigInteger),
    ):
        op.add_column(TABLE, column, schema=SCHEMA)


def downgrade() -> None:
    op.execute(
        "create or replace trigger copy_collection "
        "after insert or update of name, metadata, configuration, layout_version "
        "on pgchroma.collections "
        "for each row execute function pgchroma.copy_collection('id')"
    )
    for column in ("compacted_pos", "compacted_operations", "discovered_keys", "version"):
        op.drop_column(TABLE, column, schema=SCHEMA)
