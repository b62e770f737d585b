"""The catalog's tables, in schema ``pgchroma``, as SQLAlchemy knows them.

Alembic's revisions make them; a test holds that both say the same. Tables of collections are
made at run time and are in `pgchroma.store.layout.tables`.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
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
    text,
)
from sqlalchemy.dialects.postgresql import JSONB, UUID

__all__ = (
    "SCHEMA",
    "collections",
    "credentials",
    "databases",
    "metadata",
    "reembeddings",
    "secondary_indexes",
    "segments",
    "tenants",
)

SCHEMA = "pgchroma"

metadata = MetaData(schema=SCHEMA)

tenants = Table(
    "tenants",
    metadata,
    Column("name", Text(collation="C"), nullable=False),
    Column("resource_name", Text),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    # The tenant's own role in PostgreSQL; null until one is made.
    Column("role_name", Text(collation="C")),
    PrimaryKeyConstraint("name", name="tenants_pkey"),
    UniqueConstraint("role_name", name="tenants_role_name_key"),
    UniqueConstraint("resource_name", name="tenants_resource_name_key"),
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
    # What stopped the last attempt to build an index; null if nothing did.
    Column("index_error", Text),
    # Which of its tables of embeddings is in use.
    Column("generation", BigInteger, nullable=False, server_default=text("1")),
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
    # Written before the index is built, so that one that is not ready tells of a build.
    Column("is_ready", Boolean, nullable=False, server_default=text("false")),
    Column("quantization", Text(collation="C"), nullable=False),
    Column("max_neighbors", Integer, nullable=False),
    Column("ef_construction", Integer, nullable=False),
    # How many embeddings were in the range when the index was ready.
    Column("entries", BigInteger, nullable=False, server_default=text("0")),
    # The table of embeddings that it is of.
    Column("generation", BigInteger, nullable=False, server_default=text("1")),
    PrimaryKeyConstraint("id", name="segments_pkey"),
    ForeignKeyConstraint(
        ["collection_id"],
        ["pgchroma.collections.id"],
        name="segments_collection_id_fkey",
        ondelete="CASCADE",
    ),
    Index("segments_collection_id_idx", "collection_id"),
)
"""Ranges of a collection's log that have an HNSW index, or are getting one."""

secondary_indexes = Table(
    "secondary_indexes",
    metadata,
    Column("collection_id", UUID, nullable=False),
    Column("kind", Text(collation="C"), nullable=False),
    # A metadata key; empty for an index of something else.
    Column("key", Text(collation="C"), nullable=False),
    # How many filters would have used it while there was none.
    Column("asked", BigInteger, nullable=False, server_default=text("0")),
    Column("is_ready", Boolean, nullable=False, server_default=text("false")),
    PrimaryKeyConstraint("collection_id", "kind", "key", name="secondary_indexes_pkey"),
    ForeignKeyConstraint(
        ["collection_id"],
        ["pgchroma.collections.id"],
        name="secondary_indexes_collection_id_fkey",
        ondelete="CASCADE",
    ),
)
"""Indexes of records that filters use, and those that filters ask for."""

reembeddings = Table(
    "reembeddings",
    metadata,
    Column("collection_id", UUID, nullable=False),
    Column("generation", BigInteger, nullable=False),
    # What the collection's will be, or was, with these embeddings.
    Column("configuration", JSONB, nullable=False),
    Column("dimension", Integer, nullable=False),
    Column("is_previous", Boolean, nullable=False, server_default=text("false")),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    PrimaryKeyConstraint("collection_id", name="reembeddings_pkey"),
    ForeignKeyConstraint(
        ["collection_id"],
        ["pgchroma.collections.id"],
        name="reembeddings_collection_id_fkey",
        ondelete="CASCADE",
    ),
)
"""Embeddings of collections that are not in use: being made, or kept from before."""

credentials = Table(
    "credentials",
    metadata,
    # A key's public part, or a user's number of the same form.
    Column("id", Text(collation="C"), nullable=False),
    Column("kind", Text(collation="C"), nullable=False),
    Column("name", Text(collation="C"), nullable=False),
    Column("role", Text(collation="C"), nullable=False),
    # All three null: everything. A narrower one comes with the wider ones.
    Column("tenant", Text(collation="C")),
    Column("database_id", UUID),
    Column("collection_id", UUID),
    Column("secret_hash", Text(collation="C"), nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("expires_at", DateTime(timezone=True)),
    Column("revoked_at", DateTime(timezone=True)),
    PrimaryKeyConstraint("id", name="credentials_pkey"),
    ForeignKeyConstraint(
        ["tenant"], ["pgchroma.tenants.name"], name="credentials_tenant_fkey", ondelete="CASCADE"
    ),
    ForeignKeyConstraint(
        ["database_id"],
        ["pgchroma.databases.id"],
        name="credentials_database_id_fkey",
        ondelete="CASCADE",
    ),
    ForeignKeyConstraint(
        ["collection_id"],
        ["pgchroma.collections.id"],
        name="credentials_collection_id_fkey",
        ondelete="CASCADE",
    ),
    Index("credentials_name_key", "name", unique=True, postgresql_where=text("revoked_at is null")),
    Index("credentials_tenant_idx", "tenant"),
    Index("credentials_database_id_idx", "database_id"),
    Index("credentials_collection_id_idx", "collection_id"),
)
"""Keys and users; a secret is here only as its hash."""
