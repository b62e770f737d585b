"""The copies of the catalog: one in each schema, which makes a dump of the schema complete."""

from __future__ import annotations

from typing import Final, LiteralString

from psycopg import sql

from pgchroma.catalog.restored import SCHEMA_ENTRY
from pgchroma.store.layout.tables import COPY
from pgchroma.store.running.steps import Statement, Steps, render
from pgchroma.store.running.transaction_settings import set_lock_timeout

__all__ = ("find_copies", "limit_waits", "write_copy")

LOCK_TIMEOUT: Final = "30s"
"""How long a statement waits for a lock."""


def find_copies() -> Steps[list[tuple[str, str | None]]]:
    """Return the schemas with a copy, each with the tenant's role if it owns the copy."""
    rows = yield Statement(_SCHEMAS, {"copy": COPY})
    return [(schema, role) for schema, role in rows]


def limit_waits() -> Steps[None]:
    """Limit how long the rest of the transaction waits for a lock."""
    yield set_lock_timeout(LOCK_TIMEOUT)


def write_copy(schema: str) -> Steps[None]:
    """Write all entries of a schema's copy, in one transaction.

    The triggers of the catalog must exist: they write the entries of collections. If the tenant's
    role owns the copy, this has to run as that role: the tenant may have attached triggers to it.
    """
    copy = sql.Identifier(schema, COPY)
    parameters = {"own": SCHEMA_ENTRY, "schema": schema}
    yield (
        set_lock_timeout(LOCK_TIMEOUT),
        Statement(render(_SCHEMA_ENTRY, copy=copy), parameters),
        Statement(_TOUCH, {"schema": schema}),
    )


_SCHEMAS = render(
    """
    select d.schema_name, case when pg_get_userbyid(c.relowner) = t.role_name then t.role_name end
    from pgchroma.databases as d
    join pgchroma.tenants as t on t.name = d.tenant
    join pg_catalog.pg_namespace as n on n.nspname = d.schema_name
    join pg_catalog.pg_class as c
        on c.relnamespace = n.oid and c.relname = %(copy)s and c.relkind = 'r'
    order by 1
    """
)

_SCHEMA_ENTRY: LiteralString = """
insert into {copy} (id, entry)
select %(own)s, jsonb_build_object('id', id, 'tenant', tenant, 'name', name)
from pgchroma.databases where schema_name = %(schema)s
on conflict (id) do update set entry = excluded.entry
"""

# The triggers fire for this column.
_TOUCH = render(
    """
    update pgchroma.collections as c set layout_version = layout_version
    from pgchroma.databases as d
    where d.id = c.database_id and d.schema_name = %(schema)s
    """
)
