"""Schemas and collections that are in PostgreSQL and not in the catalog, taken into it.

They come from a dump: of one schema, or of some tables of it. What the catalog knew of them is in
the schema's table "~catalog"; where that is missing, what can be is read off the tables.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, LiteralString
from uuid import UUID, uuid4

import orjson
from psycopg import sql

from pgchroma.model.configuration import CollectionConfiguration
from pgchroma.model.types import Space
from pgchroma.store.layout.tables import (
    COPY,
    LAYOUT_VERSION,
    CollectionTables,
    create_copy,
    create_view,
    schema_name,
    view_name,
)
from pgchroma.store.running.steps import Statement, Steps, Transaction, render

__all__ = ("Adopted", "Wanted", "adopt", "has_catalog")

_NIL: Final = UUID(int=0)


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be adopted, and what nothing in PostgreSQL tells.

    Attributes:
        schema: The only schema to look at; None: all.
        tenant: Whose the schema is to be, and `database` its name; None: what the schema says.
        space: The distance of collections that do not tell theirs.
    """

    schema: str | None = None
    tenant: str | None = None
    database: str | None = None
    space: Space | None = None


@dataclass(slots=True)
class Adopted:
    """What came of it.

    Attributes:
        databases: The databases that were taken in: tenant, name and schema.
        collections: The collections that were: schema and name.
        problems: What was left, and why.
    """

    databases: list[tuple[str, str, str]] = field(default_factory=list)
    collections: list[tuple[str, str]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Found:
    """The tables of a collection that the catalog does not have.

    Attributes:
        vectors: The tables of embeddings: name, whether it is spare, generation and dimension.
        is_cosine: Whether it has the index that only collections of the distance cosine have.
        operators: Of its HNSW indexes, the class of operators.
        views: The views that show it.
    """

    id: UUID
    vectors: tuple[tuple[str, bool, int, int], ...]
    is_cosine: bool
    operators: str | None
    views: tuple[str, ...]

    @property
    def live(self) -> tuple[int, int | None]:
        """The generation and the dimension of the embeddings in use."""
        for _, is_shadow, generation, dimension in self.vectors:
            if not is_shadow:
                return generation, dimension
        return 1, None


def has_catalog() -> Steps[bool]:
    """Tell whether there is a catalog."""
    rows = yield Statement(_EXISTS, {"name": "pgchroma.alembic_version"})
    return bool(rows[0][0])


def adopt(wanted: Wanted) -> Steps[Adopted]:
    """Take all there is, or what is wanted, into the catalog; each schema in one transaction."""
    adopted = Adopted()
    schemas = yield Statement(_SCHEMAS, {"schema": wanted.schema})
    if wanted.schema is not None and not schemas:
        adopted.problems.append(f"--schema: no schema {wanted.schema[:63]} has pgchroma's tables")
    for schema, database_id in schemas:
        yield Transaction(_adopt_schema(schema, database_id, wanted, adopted))
    return adopted


def _adopt_schema(
    schema: str, database_id: UUID | None, wanted: Wanted, adopted: Adopted
) -> Steps[None]:
    entries = yield from _entries(schema)
    if database_id is None:
        place = _place(schema, entries.get(_NIL), wanted)
        if place is None:
            adopted.problems.append(
                f"schema {schema}: nothing tells which database it was; give --schema, --tenant "
                "and --database"
            )
            return
        database_id = yield from _insert_database(schema, *place, entries.get(_NIL))
        if database_id is None:
            tenant, name = place
            adopted.problems.append(
                f"schema {schema}: tenant {tenant[:63]} has a database {name[:63]} already; give "
                "another name with --schema and --database"
            )
            return
        adopted.databases.append((*place, schema))
    for row in (yield Statement(_COLLECTIONS, {"schema": schema})):
        found = _found(row)
        yield from _adopt_collection(
            schema, database_id, found, entries.get(found.id), wanted.space, adopted
        )


def _entries(schema: str) -> Steps[dict[UUID, dict[str, Any]]]:
    """Read the copy of the catalog, which is made if it is missing."""
    copy = sql.Identifier(schema, COPY)
    if not (yield Statement(_EXISTS, {"name": copy.as_string(None)}))[0][0]:
        yield create_copy(schema)
        return {}
    rows = yield Statement(render(_ENTRIES, copy=copy))
    # The metadata stays text, since numbers in it may be too large for anything else.
    return {id: {**orjson.loads(entry), "metadata": metadata} for id, entry, metadata in rows}


def _place(schema: str, entry: Mapping[str, Any] | None, wanted: Wanted) -> tuple[str, str] | None:
    """Tell tenant and database of a schema; None if nothing does."""
    if wanted.schema is not None and wanted.database is not None:
        return wanted.tenant or "default_tenant", wanted.database
    parts = (entry["tenant"], entry["name"]) if entry else tuple(schema.split("__"))
    # Whoever may write the copy must not choose whose it is.
    if len(parts) != 2 or schema_name(*parts) != schema:  # noqa: PLR2004
        return None
    return parts[0], parts[1]


def _insert_database(
    schema: str, tenant: str, name: str, entry: Mapping[str, Any] | None
) -> Steps[UUID | None]:
    wanted = UUID(entry["id"]) if entry else uuid4()
    named = {"id": wanted, "spare": uuid4(), "tenant": tenant, "name": name, "schema": schema}
    yield Statement(_INSERT_TENANT, named)
    rows = yield Statement(_INSERT_DATABASE, named)
    if not rows:
        return None
    id: UUID = rows[0][0]
    stored = {"id": str(id), "tenant": tenant, "name": name}
    text = render(_SET_ENTRY, copy=sql.Identifier(schema, COPY))
    yield Statement(text, {"id": _NIL, "entry": orjson.dumps(stored).decode()})
    return id


def _adopt_collection(
    schema: str,
    database_id: UUID,
    found: _Found,
    entry: Mapping[str, Any] | None,
    space: Space | None,
    adopted: Adopted,
) -> Steps[None]:
    known = _derived(found, space) if entry is None else entry
    if isinstance(known, str):
        adopted.problems.append(f"schema {schema}, collection {found.id}: {known}")
        return
    generation, dimension = found.live
    rows = yield Statement(
        _INSERT_COLLECTION,
        {
            "id": found.id,
            "database_id": database_id,
            "name": known["name"],
            "metadata": known["metadata"],
            "configuration": _json(known["configuration"]),
            "dimension": dimension,
            "layout_version": known.get("layout_version", LAYOUT_VERSION),
            "created_at": known.get("created_at"),
            "generation": generation,
        },
    )
    if not rows:
        adopted.problems.append(
            f"schema {schema}, collection {found.id}: the name {known['name'][:63]} is taken; "
            "rename or delete the collection that has it"
        )
        return
    yield from _adopt_rest(schema, found, known)
    adopted.collections.append((schema, known["name"]))


def _adopt_rest(schema: str, found: _Found, entry: Mapping[str, Any]) -> Steps[None]:
    """Take in the second embeddings, the indexes and the view."""
    second = entry.get("reembedding")
    kept = None if second is None else second["generation"]
    for name, is_shadow, generation, _ in found.vectors:
        if is_shadow and generation != kept:
            # Nobody could go on with it, and its name would be in the next one's way.
            yield Statement(render("drop table {it}", it=sql.Identifier(schema, name)))
    for table, rows in (
        ("reembeddings", [second] if second and _has_spare(found, second) else []),
        ("segments", entry.get("segments") or []),
        ("secondary_indexes", entry.get("secondary_indexes") or []),
    ):
        if rows:
            yield Statement(_INSERT_ROWS[table], {"rows": _json(rows)})
    if view_name(entry["name"]) not in found.views:
        generation, dimension = found.live
        indexed = CollectionConfiguration.from_json(entry["configuration"]).indexed
        tables = CollectionTables(schema, found.id, generation)
        yield create_view(tables, entry["name"], indexed, has_vectors=dimension is not None)


def _has_spare(found: _Found, second: Mapping[str, Any]) -> bool:
    return any(
        is_shadow and generation == second["generation"]
        for _, is_shadow, generation, _ in found.vectors
    )


def _derived(found: _Found, space: Space | None) -> dict[str, Any] | str:
    """Read off the tables what can be; or tell why that is not enough."""
    chosen = _space(found) or space
    if chosen is None:
        return "nothing tells its distance; give --space"
    name = next((view for view in found.views if "~" not in view), None)
    if name is None:
        return "nothing tells its name: it has no view"
    configuration = CollectionConfiguration.parse({"hnsw": {"space": chosen}}, None)
    return {
        "name": name,
        "metadata": None,
        "configuration": configuration.to_stored_json(),
    }


def _space(found: _Found) -> Space | None:
    if found.is_cosine:
        return "cosine"
    named: dict[str, Space] = {"_l2_ops": "l2", "_ip_ops": "ip"}
    classes: Iterator[Space] = (
        space for ending, space in named.items() if (found.operators or "").endswith(ending)
    )
    return next(classes, None)


def _found(row: Sequence[Any]) -> _Found:
    id, vectors, is_cosine, operators, views = row
    tables = [tuple(table) for table in orjson.loads(vectors)]
    return _Found(id, tuple(tables), is_cosine, operators, tuple(views))


def _json(value: Any) -> str | None:
    return None if value is None else orjson.dumps(value).decode()


_ENTRIES: LiteralString = """
select id, (entry - 'metadata')::text, nullif(entry -> 'metadata', 'null')::text from {copy}
"""

_EXISTS = render("select to_regclass(%(name)s) is not null")

# Schemas with tables of ours, and of those in the catalog the database's id.
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

_INSERT_TENANT = render(
    "insert into pgchroma.tenants (name) values (%(tenant)s) on conflict do nothing"
)

_INSERT_DATABASE = render(
    """
    insert into pgchroma.databases (id, tenant, name, schema_name)
    select
        case when exists (select from pgchroma.databases where id = %(id)s)
            then %(spare)s else %(id)s end,
        %(tenant)s, %(name)s, %(schema)s
    on conflict (tenant, name) do nothing
    returning id
    """
)

_SET_ENTRY: LiteralString = """
insert into {copy} (id, entry) values (%(id)s, %(entry)s::jsonb)
on conflict (id) do update set entry = excluded.entry
"""

_INSERT_COLLECTION = render(
    """
    insert into pgchroma.collections (
        id, database_id, name, metadata, configuration, dimension, layout_version, created_at,
        generation
    )
    values (
        %(id)s, %(database_id)s, %(name)s, %(metadata)s::jsonb, %(configuration)s::jsonb,
        %(dimension)s, %(layout_version)s, coalesce(%(created_at)s::timestamptz, now()),
        %(generation)s
    )
    on conflict (database_id, name) do nothing
    returning id
    """
)

_INSERT_ROWS: Final = {
    "reembeddings": render(
        """
        insert into pgchroma.reembeddings
        select r.* from jsonb_populate_recordset(
            null::pgchroma.reembeddings, %(rows)s::jsonb
        ) as r
        """
    ),
    # Numbered anew: the numbers may be another segment's here.
    "segments": render(
        """
        insert into pgchroma.segments (
            collection_id, generation, first_pos, end_pos, index_name, is_ready, quantization,
            max_neighbors, ef_construction, entries
        )
        select
            r.collection_id, r.generation, r.first_pos, r.end_pos, r.index_name, r.is_ready,
            r.quantization, r.max_neighbors, r.ef_construction, r.entries
        from jsonb_populate_recordset(null::pgchroma.segments, %(rows)s::jsonb) as r
        where exists (
            select from pg_catalog.pg_class as c
            join pg_catalog.pg_index as i on i.indexrelid = c.oid
            where c.relname = r.index_name and i.indisvalid
        )
        """
    ),
    "secondary_indexes": render(
        """
        insert into pgchroma.secondary_indexes
        select r.* from jsonb_populate_recordset(
            null::pgchroma.secondary_indexes, %(rows)s::jsonb
        ) as r
        """
    ),
}
