"""Databases keep a copy of their part of the catalog; a file of `sql/` has what does that."""

from __future__ import annotations

from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Leave it to the files of `sql/`, which run next."""


def downgrade() -> None:
    op.execute(
        "do $$ declare target text; begin "
        "for target in select schema_name from pgchroma.databases loop "
        "execute format('drop table if exists %I.\"~catalog\"', target); end loop; end $$"
    )
    op.execute("drop function if exists pgchroma.copy_collection() cascade")
    op.execute("drop function if exists pgchroma.forget_collections() cascade")
