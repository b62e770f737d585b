"""The catalog's tables, in the schema ``pgchroma``, for SQLAlchemy.

Alembic's revisions create them; a test checks that both agree. The tables of collections are
created at run time and are in `pgchroma.store.layout.tables`.
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
from sqlalchemy.dialects.postgresql import JSONB, OID, UUID

__all__ = (
    "SCHEMA",
    "collections",
    "credentials",
    "databases",
    "memory_indexes",
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
    # The tenant's role in PostgreSQL; null until it is created.
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
    # The error that stopped the last attempt to build an index; null if there was none.
    Column("index_error", Text),
    # The generation of its current embeddings.
    Column("generation", BigInteger, nullable=False, server_default=text("1")),
    # Incremented by each pass of the compactor that finds something new.
    Column("version", BigInteger, nullable=False, server_default=text("0")),
    # The keys that were found in metadata, each with the kinds of its values.
    Column("discovered_keys", JSONB),
    # How many operations there were before the last pass of the compactor, and the position in the
    # log; null before the first.
    Column("compacted_operations", BigInteger),
    Column("compacted_pos", BigInteger),
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
    # The row is inserted before the index is built, so a row that is not ready shows a build.
    Column("is_ready", Boolean, nullable=False, server_default=text("false")),
    Column("quantization", Text(collation="C"), nullable=False),
    Column("max_neighbors", Integer, nullable=False),
    Column("ef_construction", Integer, nullable=False),
    # How many embeddings were in the range when the index was ready.
    Column("entries", BigInteger, nullable=False, server_default=text("0")),
    # The generation of the embeddings that it indexes.
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

memory_indexes = Table(
    "memory_indexes",
    metadata,
    # The index's file has it, too.
    Column("token", UUID, nullable=False),
    Column("segment_id", BigInteger, nullable=False),
    # PostgreSQL's file of the table of embeddings, which a restore or a truncation replaces.
    Column("filenode", OID, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    PrimaryKeyConstraint("token", name="memory_indexes_pkey"),
    ForeignKeyConstraint(
        ["segment_id"],
        ["pgchroma.segments.id"],
        name="memory_indexes_segment_id_fkey",
        ondelete="CASCADE",
    ),
    Index("memory_indexes_segment_id_idx", "segment_id"),
)
"""Indexes in the memory of hosts, each of a segment's embeddings. Only one with a row here is used:
its file may be older than the database, or another database's."""

secondary_indexes = Table(
    "secondary_indexes",
    metadata,
    Column("collection_id", UUID, nullable=False),
    Column("kind", Text(collation="C"), nullable=False),
    # A metadata key; empty for the other kinds of indexes.
    Column("key", Text(collation="C"), nullable=False),
    # How many filters would have used it while it did not exist.
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
"""Indexes of records that filters use, and those that filters missed."""

reembeddings = Table(
    "reembeddings",
    metadata,
    Column("collection_id", UUID, nullable=False),
    Column("generation", BigInteger, nullable=False),
    # The collection's configuration with these embeddings.
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
"""Pending and previous embeddings of collections."""

credentials = Table(
    "credentials",
    metadata,
    # The public part of a key, or a user's id of the same form.
    Column("id", Text(collation="C"), nullable=False),
    Column("kind", Text(collation="C"), nullable=False),
    Column("name", Text(collation="C"), nullable=False),
    Column("role", Text(collation="C"), nullable=False),
    # All three are null for everything. A collection has its database and tenant set as well.
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
"""Keys and users; only the hash of a secret is stored."""
