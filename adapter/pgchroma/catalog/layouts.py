"""Upgrading the tables of older collections to the present layout, some at a time.

Each transaction upgrades a few collections and holds few locks. If it is interrupted, the next
upgrade continues. Writers to a collection wait while its tables are upgraded.
"""

from __future__ import annotations

from typing import Any

from psycopg import sql

from pgchroma.store.layout.names import NAME_BYTES, view_name
from pgchroma.store.layout.tables import (
    LAYOUT_VERSION,
    CollectionTables,
    create_counts,
    create_zero_vector_index,
)
from pgchroma.store.running.search_path import ADD_SCHEMA
from pgchroma.store.running.steps import Statement, Steps, render

__all__ = ("upgrade_some",)

BATCH = 50
"""Collections upgraded in one transaction."""


def upgrade_some() -> Steps[bool]:
    """Upgrade the tables of some collections; return whether there were any."""
    yield ADD_SCHEMA
    rows = yield Statement(_SELECT, {"version": LAYOUT_VERSION, "limit": BATCH})
    for row in rows:
        yield from _upgrade(*row)
    yield Statement(_UPDATE, {"version": LAYOUT_VERSION, "ids": [row[0] for row in rows]})
    return bool(rows)


def _upgrade(id: Any, schema: str, name: str, space: str, dimension: int | None) -> Steps[None]:
    """Upgrade from layout 1 to 2, which adds counts and the index of zero vectors."""
    tables = CollectionTables(schema, id)
    if name.startswith("counts_") and len(name) <= NAME_BYTES:
        # The view has a name that is reserved for tables from this layout on.
        old, new = sql.Identifier(schema, name), sql.Identifier(view_name(name))
        yield Statement(render("alter view if exists {old} rename to {new}", old=old, new=new))
    parts = {"records": tables.records, "counts": tables.counts, "log": tables.log_literal}
    yield Statement(render("lock table {records} in share row exclusive mode", **parts))
    yield create_counts(tables)
    yield Statement(render(_COUNT, **parts))
    owner = (yield Statement(_OWNER, {"relation": tables.records.as_string(None)}))[0][0]
    give = "alter table {counts} owner to {owner}"
    yield Statement(render(give, counts=tables.counts, owner=sql.Identifier(owner)))
    if dimension is not None and space == "cosine":
        yield create_zero_vector_index(tables)


_SELECT = render(
    """
    select c.id, d.schema_name, c.name, c.configuration -> 'hnsw' ->> 'space', c.dimension
    from pgchroma.collections as c
    join pgchroma.databases as d on d.id = c.database_id
    where c.layout_version < %(version)s
    order by c.id
    limit %(limit)s
    for update of c
    """
)

_COUNT = """
insert into {counts} (place, change) select nextval({log}), count(*) from {records}
"""

_OWNER = render(
    """
    select pg_get_userbyid(relowner)::text from pg_catalog.pg_class
    where oid = %(relation)s::text::regclass
    """
)

_UPDATE = render(
    "update pgchroma.collections set layout_version = %(version)s where id = any(%(ids)s)"
)
