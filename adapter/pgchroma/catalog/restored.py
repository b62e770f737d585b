"""What a restored dump has: schemas and collections that the catalog does not know yet.

A dump has one schema, or some of its tables. The catalog's entries for a schema are in its table
"~catalog". Without that table, as much as possible is derived from the other tables.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, LiteralString
from uuid import UUID

import orjson
from psycopg import sql

from pgchroma.model.configuration import CollectionConfiguration
from pgchroma.model.filterable import FilterableKeys, SparseIndex, TextIndex
from pgchroma.model.types import Space
from pgchroma.store.layout.tables import COPY, create_copy
from pgchroma.store.running.steps import Statement, Steps, render

__all__ = (
    "SCHEMA_ENTRY",
    "RestoredCollection",
    "derive_entry",
    "find_collections",
    "find_schemas",
    "read_entries",
    "relation_exists",
)

SCHEMA_ENTRY: Final = UUID(int=0)
"""The id of the entry for the schema itself, in its copy of the catalog."""


@dataclass(frozen=True, slots=True)
class RestoredCollection:
    """The tables of a collection that is not in the catalog.

    Attributes:
        vectors: The tables of embeddings: name, whether it is a shadow table, generation and
            dimension.
        is_cosine: Whether it has the index that only collections with cosine distance have.
        operators: The operator class of its HNSW indexes.
        views: The views that read its records.
        sparse: Its indexes of sparse vectors, by key.
        text: Its full-text index.
    """

    id: UUID
    vectors: tuple[tuple[str, bool, int, int], ...]
    is_cosine: bool
    operators: str | None
    views: tuple[str, ...]
    sparse: Mapping[str, SparseIndex]
    text: TextIndex | None

    @property
    def current(self) -> tuple[int, int | None]:
        """The generation and the dimension of the current embeddings."""
        for _, is_shadow, generation, dimension in self.vectors:
            if not is_shadow:
                return generation, dimension
        return 1, None

    def has_shadow(self, generation: int) -> bool:
        """Whether it has a shadow table of this generation."""
        return any(
            is_shadow and generation == its_generation
            for _, is_shadow, its_generation, _ in self.vectors
        )


def find_schemas(schema: str | None) -> Steps[list[tuple[str, UUID | None]]]:
    """Return schemas with tables of pgchroma, and the id of the database if the catalog has it.

    Args:
        schema: The only schema to look for; `None` means all.
    """
    rows = yield Statement(_SCHEMAS, {"schema": schema})
    return [(name, database_id) for name, database_id in rows]


def find_collections(schema: str) -> Steps[list[RestoredCollection]]:
    """Return the collections of a schema that are not in the catalog, in the order of their ids."""
    rows = yield Statement(_COLLECTIONS, {"schema": schema})
    return [_collection(row) for row in rows]


def read_entries(schema: str) -> Steps[dict[UUID, dict[str, Any]]]:
    """Return the entries of a schema's copy of the catalog, which is created if it is missing."""
    copy = sql.Identifier(schema, COPY)
    if not (yield from relation_exists(copy)):
        yield create_copy(schema)
        return {}
    rows = yield Statement(render(_ENTRIES, copy=copy))
    # Metadata stays text, because numbers in it may be too large for other types.
    return {id: {**orjson.loads(entry), "metadata": metadata} for id, entry, metadata in rows}


def relation_exists(name: sql.Identifier) -> Steps[bool]:
    """Return whether a table exists."""
    rows = yield Statement(_EXISTS, {"name": name.as_string(None)})
    return bool(rows[0][0])


def derive_entry(collection: RestoredCollection, space: Space | None) -> dict[str, Any] | str:
    """Derive a collection's entry from its tables; return the reason if that is not possible.

    Args:
        collection: The collection.
        space: Its distance, if the tables do not show it.
    """
    derived_space = _space(collection) or space
    if derived_space is None:
        return "its distance is unknown; give --space"
    name = next((view for view in collection.views if "~" not in view), None)
    if name is None:
        return "its name is unknown, because it has no view"
    configuration = CollectionConfiguration.parse(
        {"hnsw": {"space": derived_space}},
        None,
        FilterableKeys(sparse=collection.sparse, text=collection.text),
    )
    return {"name": name, "metadata": None, "configuration": configuration.to_stored_json()}


def _space(collection: RestoredCollection) -> Space | None:
    if collection.is_cosine:
        return "cosine"
    endings: dict[str, Space] = {"_l2_ops": "l2", "_ip_ops": "ip"}
    operators = collection.operators or ""
    spaces: Iterator[Space] = (
        space for ending, space in endings.items() if operators.endswith(ending)
    )
    return next(spaces, None)


def _collection(row: Sequence[Any]) -> RestoredCollection:
    id, vectors, is_cosine, operators, views, comments, comment = row
    tables = [tuple(table) for table in orjson.loads(vectors)]
    sparse = {
        key: SparseIndex(**index)
        for comment in comments
        for key, index in orjson.loads(comment).items()
    }
    text = None if comment is None else TextIndex(**orjson.loads(comment))
    return RestoredCollection(id, tuple(tables), is_cosine, operators, tuple(views), sparse, text)


_ENTRIES: LiteralString = """
select id, (entry - 'metadata')::text, nullif(entry -> 'metadata', 'null')::text from {copy}
"""

_EXISTS = render("select to_regclass(%(name)s) is not null")

_SCHEMAS = render(
    """
    select n.nspname::text, d.id
    from pg_catalog.pg_namespace as n
    left join pgchroma.databases as d on d.schema_name = n.nspname
    where not starts_with(n.nspname::text, 'pgchroma:')
        and (n.nspname = %(schema)s or %(schema)s::text is null)
        and exists (
            select from pg_catalog.pg_class as c
            where c.relnamespace = n.oid and c.relkind = 'r'
                and (c.relname = '~catalog' or c.relname ~ '^records_[0-9a-f]{{32}}$')
        )
    order by 1
    """
)

_COLLECTIONS = render(
    """
    select
        i.id,
        (
            select coalesce(
                jsonb_agg(
                    jsonb_build_array(
                        v.relname,
                        starts_with(v.relname::text, 'spare_'),
                        coalesce(substring(v.relname from '_[0-9a-f]{{32}}_([0-9]+)$')::bigint, 1),
                        a.atttypmod
                    )
                    order by v.relname
                ),
                '[]'
            )::text
            from pg_catalog.pg_class as v
            join pg_catalog.pg_attribute as a
                on a.attrelid = v.oid and a.attname = 'embedding'
            where v.relnamespace = c.relnamespace and v.relkind = 'r'
                and v.relname ~ ('^(vectors|spare)_' || k.key || '(_[0-9]+)?$')
        ),
        exists (
            select from pg_catalog.pg_class as z
            where z.relnamespace = c.relnamespace and z.relkind = 'i'
                and z.relname ~ ('^vectors_' || k.key || '(_[0-9]+)?_zeros$')
        ),
        (
            select o.opcname::text
            from pg_catalog.pg_class as h
            join pg_catalog.pg_index as x on x.indexrelid = h.oid
            join pg_catalog.pg_opclass as o on o.oid = x.indclass[0]
            where h.relnamespace = c.relnamespace
                and h.relname ~ ('^vectors_' || k.key || '_hnsw_')
            limit 1
        ),
        array(
            select distinct v.relname::text
            from pg_catalog.pg_depend as d
            join pg_catalog.pg_rewrite as w
                on d.classid = 'pg_rewrite'::regclass and w.oid = d.objid
            join pg_catalog.pg_class as v
                on v.oid = w.ev_class and v.relnamespace = c.relnamespace
            where d.refobjid = c.oid
            order by 1
        ),
        array(
            select d.description
            from pg_catalog.pg_attribute as a
            join pg_catalog.pg_description as d
                on d.classoid = 'pg_class'::regclass and d.objoid = c.oid
                and d.objsubid = a.attnum
            where a.attrelid = c.oid and a.attname ~ '^sparse_[0-9]+$'
            order by a.attnum
        ),
        (
            select col_description(c.oid, a.attnum)
            from pg_catalog.pg_attribute as a
            where a.attrelid = c.oid and a.attname = 'lexemes'
        )
    from pg_catalog.pg_class as c
    join pg_catalog.pg_namespace as n on n.oid = c.relnamespace
    cross join substring(c.relname from 9) as k (key)
    cross join lateral (select k.key::uuid) as i (id)
    where n.nspname = %(schema)s and c.relkind = 'r'
        and c.relname ~ '^records_[0-9a-f]{{32}}$'
        and not exists (select from pgchroma.collections as known where known.id = i.id)
    order by i.id
    """
)
