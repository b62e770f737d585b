"""Give the space of dead rows back: ``vacuum`` on the tables of collections."""

from __future__ import annotations

from typing import Final

from psycopg import sql

from pgchroma.store.layout.names import key_of
from pgchroma.store.running.steps import Statement, Steps, render

__all__ = ("reclaim", "tables_of")


def tables_of(id: str, schema: str) -> Steps[list[sql.Identifier]]:
    """Return the tables of a collection that exist.

    Args:
        id: The collection's id in hexadecimal digits, as it is in the names of its tables.
        schema: The schema of its database.
    """
    rows = yield Statement(_TABLES, {"id": id, "schema": schema})
    return [sql.Identifier(schema, name) for (name,) in rows]


def reclaim(table: sql.Identifier, *, rewrites: bool) -> Statement:
    """Vacuum a table, outside of a transaction.

    Args:
        table: The table.
        rewrites: Whether to write the table and its indexes again, so that the disk gets all of
            the space back. The table cannot be read while that lasts. Otherwise later rows use the
            space, and the disk gets what is at the end of the table.
    """
    option = sql.SQL("(full, analyze)" if rewrites else "(analyze, parallel 0)")
    return Statement(render("vacuum {option} {table}", option=option, table=table))


_TABLES: Final = render(
    """
    select r.relname::text
    from pg_catalog.pg_class as r
    join pg_catalog.pg_namespace as n on n.oid = r.relnamespace
    where n.nspname = %(schema)s and r.relkind = 'r'
        and {key} = %(id)s
    order by r.relname
    """,
    key=key_of("r.relname"),
)
