"""What PostgreSQL's catalog says about the tables of a database that have vectors."""

from __future__ import annotations

from typing import Any, Final, LiteralString

import psycopg

from pgchroma.model.types import Space
from pgchroma.transfer.readers.tables.layouts import TableFacts

__all__ = ("dimension_of", "has_collections_of_pgchroma", "space_of", "tables_with_vectors")

_SPACES: Final[dict[str, Space]] = {"l2_ops": "l2", "cosine_ops": "cosine", "ip_ops": "ip"}

_TABLES: LiteralString = """
select
    n.nspname::text,
    c.relname::text,
    array_agg(a.attname::text order by a.attnum),
    array_agg(t.typname::text order by a.attnum),
    (
        select array_agg(k.attname::text order by p.place)
        from pg_index as i
        cross join unnest(i.indkey) with ordinality as p (attnum, place)
        join pg_attribute as k on k.attrelid = i.indrelid and k.attnum = p.attnum
        where i.indrelid = c.oid and i.indisprimary
    )
from pg_class as c
join pg_namespace as n on n.oid = c.relnamespace
join pg_attribute as a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
join pg_type as t on t.oid = a.atttypid
where
    c.relkind in ('r', 'p', 'm', 'v', 'f')
    and has_schema_privilege(n.oid, 'usage')
    and has_table_privilege(c.oid, 'select')
    and n.nspname not in ('pgchroma', 'chroma', 'pg_catalog', 'information_schema')
group by n.nspname, c.relname, c.oid
having bool_or(t.typname in ('vector', 'halfvec'))
order by n.nspname, c.relname
"""

_DIMENSION: LiteralString = """
select nullif(a.atttypmod, -1)
from pg_attribute as a
join pg_class as c on c.oid = a.attrelid
join pg_namespace as n on n.oid = c.relnamespace
where n.nspname = %(schema)s and c.relname = %(table)s and a.attname = %(column)s
"""

_OPERATORS: LiteralString = """
select distinct o.opcname::text
from pg_index as i
join pg_class as c on c.oid = i.indrelid
join pg_namespace as n on n.oid = c.relnamespace
join pg_attribute as a on a.attrelid = c.oid and a.attnum = i.indkey[0]
join pg_opclass as o on o.oid = i.indclass[0]
where
    n.nspname = %(schema)s and c.relname = %(table)s and a.attname = %(column)s
    and (o.opcname like 'vector%%' or o.opcname like 'halfvec%%')
"""


def tables_with_vectors(connection: psycopg.Connection[Any]) -> list[TableFacts]:
    """Return the tables that the user may read and that have a column of vectors."""
    rows = connection.execute(_TABLES).fetchall()
    return [
        TableFacts(schema, name, dict(zip(columns, types, strict=True)), tuple(key or ()))
        for schema, name, columns, types, key in rows
    ]


def has_collections_of_pgchroma(connection: psycopg.Connection[Any]) -> bool:
    """Whether the database has pgchroma's catalog."""
    row = connection.execute("select to_regclass('pgchroma.collections') is not null").fetchone()
    return bool(row and row[0])


def dimension_of(connection: psycopg.Connection[Any], table: TableFacts, column: str) -> int | None:
    """Return the length of a column's vectors, if its type fixes it."""
    row = connection.execute(_DIMENSION, _named(table, column)).fetchone()
    return row[0] if row else None


def space_of(connection: psycopg.Connection[Any], table: TableFacts, column: str) -> Space | None:
    """Return the distance of a column's indexes, if all of them have the same."""
    rows = connection.execute(_OPERATORS, _named(table, column)).fetchall()
    spaces = {_SPACES.get(name.partition("_")[2]) for (name,) in rows}
    return spaces.pop() if len(spaces) == 1 else None


def _named(table: TableFacts, column: str) -> dict[str, str]:
    return {"schema": table.schema, "table": table.name, "column": column}
