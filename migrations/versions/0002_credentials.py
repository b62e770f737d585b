"""Credentials: keys and users, what each may do and where."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import UUID

revision = "0002"
down_revision = "0001"

SCHEMA = "pgchroma"


def upgrade() -> None:
    op.create_table(
        "credentials",
        sa.Column("id", sa.Text(collation="C"), nullable=False),
        sa.Column("kind", sa.Text(collation="C"), nullable=False),
        sa.Column("name", sa.Text(collation="C"), nullable=False),
        sa.Column("role", sa.Text(collation="C"), nullable=False),
        sa.Column("tenant", sa.Text(collation="C")),
        sa.Column("database_id", UUID),
        sa.Column("collection_id", UUID),
        sa.Column("secret_hash", sa.Text(collation="C"), nullable=False),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()
        ),
        sa.Column("expires_at", sa.DateTime(timezone=True)),
        sa.Column("revoked_at", sa.DateTime(timezone=True)),
        sa.PrimaryKeyConstraint("id", name="credentials_pkey"),
        # A right dies with what it is a right to: a namesake made later does not inherit it.
        _scope("tenant", "tenants.name"),
        _scope("database_id", "databases.id"),
        _scope("collection_id", "collections.id"),
        schema=SCHEMA,
    )
    op.create_index(
        "credentials_name_key",
        "credentials",
        ["name"],
        unique=True,
        schema=SCHEMA,
        postgresql_where=sa.text("revoked_at is null"),
    )
    for column in ("tenant", "database_id", "collection_id"):
        op.create_index(f"credentials_{column}_idx", "credentials", [column], schema=SCHEMA)


def downgrade() -> None:
    op.drop_table("credentials", schema=SCHEMA)


def _scope(column: str, target: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(
        [column], [f"{SCHEMA}.{target}"], name=f"credentials_{column}_fkey", ondelete="CASCADE"
    )
