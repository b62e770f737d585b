"""The copies of the catalog: one in each schema, which makes a dump of the schema complete."""

from __future__ import annotations

from typing import LiteralString

from psycopg import sql

from pgchroma.catalog.restored import SCHEMA_ENTRY
from pgchroma.store.layout.tables import COPY
from pgchroma.store.running.steps import Statement, Steps, render

__all__ = ("write_copies",)


def write_copies() -> Steps[None]:
    """Write the entries of all databases and collections into the copies that exist.

    The triggers of the catalog must exist: they write the entries of collections.
    """
    for (schema,) in (yield Statement(_SCHEMAS, {"copy": COPY})):
        text = render(_SCHEMA_ENTRY, copy=sql.Identifier(schema, COPY))
        yield Statement(text, {"own": SCHEMA_ENTRY, "schema": schema})
    yield Statement(_TOUCH)


_SCHEMAS = render(
    """
    select d.schema_name
    from pgchroma.databases as d
    join pg_catalog.pg_namespace as n on n.nspname = d.schema_name
    join pg_catalog.pg_class as c on c.relnamespace = n.oid and c.relname = %(copy)s
    where c.relkind = 'r'
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
_TOUCH = render("update pgchroma.collections set layout_version = layout_version")
