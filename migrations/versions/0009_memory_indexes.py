"""Tokens of indexes in memory, each of a segment."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import OID, UUID

revision = "0009"
down_revision = "0008"

SCHEMA = "pgchroma"


def upgrade() -> None:
    op.create_table(
        "memory_indexes",
        sa.Column("token", UUID, nullable=False),
        sa.Column("segment_id", sa.BigInteger, nullable=False),
        sa.Column("filenode", OID, nullable=False),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()
        ),
        sa.PrimaryKeyConstraint("token", name="memory_indexes_pkey"),
        sa.ForeignKeyConstraint(
            ["segment_id"],
            ["pgchroma.segments.id"],
            name="memory_indexes_segment_id_fkey",
            ondelete="CASCADE",
        ),
        schema=SCHEMA,
    )
    op.create_index(
        "memory_indexes_segment_id_idx", "memory_indexes", ["segment_id"], schema=SCHEMA
    )
    op.execute(
        "create policy tenant on pgchroma.memory_indexes using ("
        "(select not starts_with(current_user, 'pgchroma:')) "
        "or exists (select from pgchroma.segments as s where s.id = segment_id))"
    )


def downgrade() -> None:
    op.drop_table("memory_indexes", schema=SCHEMA)
