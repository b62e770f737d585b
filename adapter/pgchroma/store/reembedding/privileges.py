"""Privileges on a new table of embeddings."""

from __future__ import annotations

from typing import LiteralString

from psycopg import sql

from pgchroma.errors import MissingRightError
from pgchroma.store.layout.tables import CollectionTables
from pgchroma.store.reembedding.state import EmbeddingVersions
from pgchroma.store.running.steps import Statement, Steps, render, text_of

__all__ = ("check_owner", "copy_grants")


def check_owner(versions: EmbeddingVersions) -> Steps[None]:
    """Check, before anything is embedded, that the user may switch to new embeddings.

    Raises:
        MissingRightError: The user does not own the tables.
    """
    vectors = sql.Literal(versions.current.vectors.as_string(None))
    owner, is_owner = (yield Statement(render(_OWNER, vectors=vectors)))[0]
    if not is_owner:
        raise MissingRightError(
            f"only the owner of the tables of collection [{versions.name}] can switch to new "
            f"embeddings: connect as {owner}, or as a member of that role"
        )


def copy_grants(versions: EmbeddingVersions, shadow: CollectionTables) -> Steps[None]:
    """Grant the privileges on the current embeddings on those that will replace them as well."""
    parameters = {"current": versions.current.vectors_name, "schema": shadow.schema}
    grants = yield Statement(_GRANTS, parameters)
    for privileges, grantee, option in grants:
        parts = sql.SQL("grant "), sql.SQL(privileges), sql.SQL(" on "), shadow.vectors
        ending = sql.SQL(" to "), sql.SQL(grantee), sql.SQL(option)
        yield Statement(text_of(sql.Composed([*parts, *ending])))


_OWNER: LiteralString = """
select pg_get_userbyid(c.relowner)::text, pg_has_role(c.relowner, 'usage')
from pg_catalog.pg_class as c where c.oid = {vectors}::regclass
"""

_GRANTS = render(
    """
    select
        string_agg(g.privilege_type, ', '),
        case g.grantee when 0 then 'public' else g.grantee::regrole::text end,
        case when g.is_grantable then ' with grant option' else '' end
    from pg_catalog.pg_class as c
    join pg_catalog.pg_namespace as n on n.oid = c.relnamespace
    cross join lateral aclexplode(c.relacl) as g
    where c.relname = %(current)s and n.nspname = %(schema)s and g.grantee <> c.relowner
    group by g.grantee, g.is_grantable
    """
)
