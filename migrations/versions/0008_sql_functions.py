"""SQL users get functions; files of `sql/` have them."""

from __future__ import annotations

from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    """Leave it to the files of `sql/`, which run next."""


def downgrade() -> None:
    """Drop them; this fails if an object of a user's own depends on one.

    An older version creates its view of collections when it starts.
    """
    op.execute("drop view if exists chroma.collections")
    op.execute(
        "do $$ declare own regprocedure; begin for own in select oid from pg_catalog.pg_proc "
        "where pronamespace = to_regnamespace('chroma') and proname = "
        "any('{add,count,delete,get,matches,query,search,update,upsert}') loop "
        "execute format('drop function %s', own); end loop; end $$"
    )
    op.execute(
        "do $$ declare own oid; begin for own in select oid from pg_catalog.pg_proc "
        "where pronamespace = to_regnamespace('chroma') and starts_with(proname, '_') loop "
        # The function may have gone with one that it depends on.
        "if exists (select from pg_catalog.pg_proc where oid = own) then "
        "execute format('drop function %s cascade', own::regprocedure); end if; end loop; end $$"
    )
    for view in ("_collections", "_found", "_scored"):
        op.execute(f"drop view if exists chroma.{view}")
