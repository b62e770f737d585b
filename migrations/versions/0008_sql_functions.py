"""SQL users get functions; files of `sql/` have them."""

from __future__ import annotations

from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    """Leave it to the files of `sql/`, which run next."""


def downgrade() -> None:
    # The view of collections is among what goes; an older version creates its own when it starts.
    op.execute("drop view if exists chroma._collections cascade")
    op.execute("drop view if exists chroma._found cascade")
    op.execute(
        "do $$ declare own oid; begin "
        "for own in select oid from pg_catalog.pg_proc "
        "where pronamespace = 'chroma'::regnamespace and (starts_with(proname, '_') or proname = "
        "any('{add,count,delete,get,matches,query,search,update,upsert}')) loop "
        # The function may have gone with one that it depends on.
        "if exists (select from pg_catalog.pg_proc where oid = own) then "
        "execute format('drop function %s cascade', own::regprocedure); end if; end loop; end $$"
    )
