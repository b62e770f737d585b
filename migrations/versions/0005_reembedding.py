"""Second embeddings of a collection, by another function."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB, UUID

revision = "0005"
down_revision = "0004"

SCHEMA = "pgchroma"


def upgrade() -> None:
    for table in ("collections", "segments"):
        generation = sa.Column(
            "generation", sa.BigInteger, nullable=False, server_default=sa.text("1")
        )
        op.add_column(table, generation, schema=SCHEMA)
    op.create_table(
        "reembeddings",
        sa.Column("collection_id", UUID, nullable=False),
        sa.Column("generation", sa.BigInteger, nullable=False),
        sa.Column("configuration", JSONB, nullable=False),
        sa.Column("dimension", sa.Integer, nullable=False),
        sa.Column("is_previous", sa.Boolean, nullable=False, server_default=sa.false()),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()
        ),
        sa.PrimaryKeyConstraint("collection_id", name="reembeddings_pkey"),
        sa.ForeignKeyConstraint(
            ["collection_id"],
            ["pgchroma.collections.id"],
            name="reembeddings_collection_id_fkey",
            ondelete="CASCADE",
        ),
        schema=SCHEMA,
    )
    op.execute(
        "create policy tenant on pgchroma.reembeddings using ("
        "(select not starts_with(current_user, 'pgchroma:')) "
        "or exists (select from pgchroma.collections as c where c.id = collection_id))"
    )


def downgrade() -> None:
    op.drop_table("reembeddings", schema=SCHEMA)
    for table in ("segments", "collections"):
        op.drop_column(table, "generation", schema=SCHEMA)
