"""A role for each tenant, which sees its own rows of the catalog and nobody else's.

The policies rest until the first server with `role_per_tenant` enables them: with them a dump takes
a user whom they do not bind.

The policies tell such a role by its name's beginning. All others see what their grants say, as
before: they need no membership that would have to exist wherever this database is restored.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

SCHEMA = "pgchroma"

# A subselect of its own is evaluated once for a statement.
OTHERS = "(select not starts_with(current_user, 'pgchroma:'))"

VISIBLE = {
    "tenants": "role_name = current_user",
    "databases": "tenant = (select name from pgchroma.tenants where role_name = current_user)",
    "collections": "exists (select from pgchroma.databases as d where d.id = database_id)",
    "segments": "exists (select from pgchroma.collections as c where c.id = collection_id)",
}


def upgrade() -> None:
    op.add_column("tenants", sa.Column("role_name", sa.Text(collation="C")), schema=SCHEMA)
    op.create_unique_constraint("tenants_role_name_key", "tenants", ["role_name"], schema=SCHEMA)
    for table, condition in VISIBLE.items():
        op.execute(f"create policy tenant on {SCHEMA}.{table} using ({OTHERS} or {condition})")
    op.create_unique_constraint(
        "tenants_resource_name_key", "tenants", ["resource_name"], schema=SCHEMA
    )


def downgrade() -> None:
    op.drop_constraint("tenants_resource_name_key", "tenants", schema=SCHEMA)
    for table in VISIBLE:
        op.execute(f"alter table {SCHEMA}.{table} disable row level security")
        op.execute(f"drop policy tenant on {SCHEMA}.{table}")
    op.drop_constraint("tenants_role_name_key", "tenants", schema=SCHEMA)
    op.drop_column("tenants", "role_name", schema=SCHEMA)
