"""The catalog: tenants, databases, collections, segments; and the default tenant and database."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB, UUID

revision = "0001"
down_revision = None

SCHEMA = "pgchroma"


def upgrade() -> None:
    op.create_table(
        "tenants",
        sa.Column("name", sa.Text(collation="C"), nullable=False),
        sa.Column("resource_name", sa.Text),
        _created_at(),
        sa.PrimaryKeyConstraint("name", name="tenants_pkey"),
        schema=SCHEMA,
    )
    op.create_table(
        "databases",
        sa.Column("id", UUID, nullable=False),
        sa.Column("tenant", sa.Text(collation="C"), nullable=False),
        sa.Column("name", sa.Text(collation="C"), nullable=False),
        sa.Column("schema_name", sa.Text(collation="C"), nullable=False),
        _created_at(),
        sa.PrimaryKeyConstraint("id", name="databases_pkey"),
        sa.UniqueConstraint("tenant", "name", name="databases_tenant_name_key"),
        sa.UniqueConstraint("schema_name", name="databases_schema_name_key"),
        sa.ForeignKeyConstraint(
            ["tenant"], ["pgchroma.tenants.name"], name="databases_tenant_fkey"
        ),
        schema=SCHEMA,
    )
    op.create_table(
        "collections",
        sa.Column("id", UUID, nullable=False),
        sa.Column("database_id", UUID, nullable=False),
        sa.Column("name", sa.Text(collation="C"), nullable=False),
        sa.Column("metadata", JSONB),
        sa.Column("configuration", JSONB, nullable=False),
        sa.Column("dimension", sa.Integer),
        sa.Column("layout_version", sa.Integer, nullable=False),
        _created_at(),
        sa.PrimaryKeyConstraint("id", name="collections_pkey"),
        sa.UniqueConstraint("database_id", "name", name="collections_database_id_name_key"),
        sa.ForeignKeyConstraint(
            ["database_id"], ["pgchroma.databases.id"], name="collections_database_id_fkey"
        ),
        schema=SCHEMA,
    )
    op.create_table(
        "segments",
        sa.Column("id", sa.BigInteger, sa.Identity(always=True), nullable=False),
        sa.Column("collection_id", UUID, nullable=False),
        sa.Column("first_pos", sa.BigInteger, nullable=False),
        sa.Column("end_pos", sa.BigInteger, nullable=False),
        sa.Column("index_name", sa.Text(collation="C"), nullable=False),
        _created_at(),
        sa.PrimaryKeyConstraint("id", name="segments_pkey"),
        sa.ForeignKeyConstraint(
            ["collection_id"],
            ["pgchroma.collections.id"],
            name="segments_collection_id_fkey",
            ondelete="CASCADE",
        ),
        schema=SCHEMA,
    )
    op.create_index("segments_collection_id_idx", "segments", ["collection_id"], schema=SCHEMA)
    op.execute("insert into pgchroma.tenants (name) values ('default_tenant')")
    op.execute(
        "insert into pgchroma.databases (id, tenant, name, schema_name) values ("
        "'00000000-0000-0000-0000-000000000000', 'default_tenant', 'default_database', "
        "'default_tenant__default_database')"
    )
    # It may have been restored from a dump, or made by somebody who may create schemas.
    op.execute(
        "do $$ begin if to_regnamespace('default_tenant__default_database') is null then "
        "create schema default_tenant__default_database; end if; end $$"
    )


def downgrade() -> None:
    op.execute("drop schema default_tenant__default_database")
    for table in ("segments", "collections", "databases", "tenants"):
        op.drop_table(table, schema=SCHEMA)


def _created_at() -> sa.Column:
    return sa.Column(
        "created_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()
    )
