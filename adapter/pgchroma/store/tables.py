"""The catalog's tables, in schema ``pgchroma``, as SQLAlchemy knows them.

Alembic's revisions make them; a test holds that both say the same. Tables of collections are
made at run time and are in `pgchroma.store.layout`.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    DateTime,
    ForeignKeyConstraint,
    Identity,
    Index,
    Integer,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    Text,
    UniqueConstraint,
    func,
)
from sqlalchemy.dialects.postgresql import JSONB, UUID

__all__ = ("SCHEMA", "collections", "databases", "metadata", "segments", "tenants")

SCHEMA = "pgchroma"

metadata = MetaData(schema=SCHEMA)

tenants = Table(
    "tenants",
    metadata,
    Column("name", Text(collation="C"), nullable=False),
    Column("resource_name", Text),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    PrimaryKeyConstraint("name", name="tenants_pkey"),
)

databases = Table(
    "databases",
    metadata,
    Column("id", UUID, nullable=False),
    Column("tenant", Text(collation="C"), nullable=False),
    Column("name", Text(collation="C"), nullable=False),
    Column("schema_name", Text(collation="C"), nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    PrimaryKeyConstraint("id", name="databases_pkey"),
    UniqueConstraint("tenant", "name", name="databases_tenant_name_key"),
    UniqueConstraint("schema_name", name="databases_schema_name_key"),
    ForeignKeyConstraint(["tenant"], ["pgchroma.tenants.name"], name="databases_tenant_fkey"),
)

collections = Table(
    "collections",
    metadata,
    Column("id", UUID, nullable=False),
    Column("database_id", UUID, nullable=False),
    Column("name", Text(collation="C"), nullable=False),
    Column("metadata", JSONB),
    Column("configuration", JSONB, nullable=False),
    Column("dimension", Integer),
    Column("layout_version", Integer, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    PrimaryKeyConstraint("id", name="collections_pkey"),
    UniqueConstraint("database_id", "name", name="collections_database_id_name_key"),
    ForeignKeyConstraint(
        ["database_id"], ["pgchroma.databases.id"], name="collections_database_id_fkey"
    ),
)

segments = Table(
    "segments",
    metadata,
    Column("id", BigInteger, Identity(always=True), nullable=False),
    Column("collection_id", UUID, nullable=False),
    # The index covers the positions from first_pos on, up to but without end_pos.
    Column("first_pos", BigInteger, nullable=False),
    Column("end_pos", BigInteger, nullable=False),
    Column("index_name", Text(collation="C"), nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    PrimaryKeyConstraint("id", name="segments_pkey"),
    ForeignKeyConstraint(
        ["collection_id"],
        ["pgchroma.collections.id"],
        name="segments_collection_id_fkey",
        ondelete="CASCADE",
    ),
    Index("segments_collection_id_idx", "collection_id"),
)
"""Ranges of a collection's log that have an index; empty until something builds one."""
