"""Run the revisions on the connection that `pgchroma.catalog` passes, or print their SQL."""

from __future__ import annotations

from alembic import context

from pgchroma.catalog.tables import SCHEMA, metadata

options = {
    "target_metadata": metadata,
    "version_table_schema": SCHEMA,
    "include_schemas": True,
    "transaction_per_migration": False,
}

if context.is_offline_mode():
    # The transaction is part of what it is printed into.
    context.configure(
        dialect_name="postgresql", literal_binds=True, transactional_ddl=False, **options
    )
    context.run_migrations()
else:
    context.configure(connection=context.config.attributes["connection"], **options)
    context.run_migrations()
