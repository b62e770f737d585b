"""What the compactor knows: how segments are built, which indexes filters use or ask for."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import UUID

revision = "0004"
down_revision = "0003"

SCHEMA = "pgchroma"


def upgrade() -> None:
    op.add_column("collections", sa.Column("index_error", sa.Text), schema=SCHEMA)
    # Nothing has built a segment before this revision.
    for column in (
        sa.Column("is_ready", sa.Boolean, nullable=False, server_default=sa.false()),
        sa.Column("quantization", sa.Text(collation="C"), nullable=False),
        sa.Column("max_neighbors", sa.Integer, nullable=False),
        sa.Column("ef_construction", sa.Integer, nullable=False),
        sa.Column("entries", sa.BigInteger, nullable=False, server_default=sa.text("0")),
    ):
        op.add_column("segments", column, schema=SCHEMA)
    op.create_table(
        "secondary_indexes",
        sa.Column("collection_id", UUID, nullable=False),
        sa.Column("kind", sa.Text(collation="C"), nullable=False),
        sa.Column("key", sa.Text(collation="C"), nullable=False),
        sa.Column("asked", sa.BigInteger, nullable=False, server_default=sa.text("0")),
        sa.Column("is_ready", sa.Boolean, nullable=False, server_default=sa.false()),
        sa.PrimaryKeyConstraint("collection_id", "kind", "key", name="secondary_indexes_pkey"),
        sa.ForeignKeyConstraint(
            ["collection_id"],
            ["pgchroma.collections.id"],
            name="secondary_indexes_collection_id_fkey",
            ondelete="CASCADE",
        ),
        schema=SCHEMA,
    )
    op.execute(
        "create policy tenant on pgchroma.secondary_indexes using ("
        "(select not starts_with(current_user, 'pgchroma:')) "
        "or exists (select from pgchroma.collections as c where c.id = collection_id))"
    )


def downgrade() -> None:
    op.drop_table("secondary_indexes", schema=SCHEMA)
    for column in ("entries", "ef_construction", "max_neighbors", "quantization", "is_ready"):
        op.drop_column("segments", column, schema=SCHEMA)
    op.drop_column("collections", "index_error", schema=SCHEMA)
