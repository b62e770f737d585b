"""Adding schemas and collections to the catalog that exist only in PostgreSQL after a restore."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, LiteralString
from uuid import UUID, uuid4

import orjson
from psycopg import sql

from pgchroma.catalog.restored import (
    SCHEMA_ENTRY,
    RestoredCollection,
    derive_entry,
    find_collections,
    find_schemas,
    read_entries,
)
from pgchroma.model.configuration import CollectionConfiguration
from pgchroma.model.types import Space
from pgchroma.store.layout.names import schema_name, view_name
from pgchroma.store.layout.tables import COPY, CollectionTables, create_view
from pgchroma.store.running.steps import Statement, Steps, Transaction, render

__all__ = ("AdoptionReport", "AdoptionRequest", "adopt_all")

UNKNOWN_LAYOUT: Final = 2
"""The layout of tables without an entry. To upgrade from it is harmless if they are newer."""


@dataclass(frozen=True, slots=True)
class AdoptionRequest:
    """What to adopt, and what cannot be read from PostgreSQL.

    Attributes:
        schema: The only schema to adopt; `None` means all.
        tenant: The tenant that the schema is to belong to; `None` means the one in its entry.
        database: The name of its database; `None` means the one in its entry.
        space: The distance of collections whose distance is unknown.
    """

    schema: str | None = None
    tenant: str | None = None
    database: str | None = None
    space: Space | None = None


@dataclass(slots=True)
class AdoptionReport:
    """The result of an adoption.

    Attributes:
        databases: The adopted databases: tenant, name and schema.
        collections: The adopted collections: schema and name.
        problems: What was not adopted, and why.
    """

    databases: list[tuple[str, str, str]] = field(default_factory=list)
    collections: list[tuple[str, str]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def adopt_all(request: AdoptionRequest) -> Steps[AdoptionReport]:
    """Adopt all schemas, or the requested one; each in its own transaction."""
    report = AdoptionReport()
    schemas = yield from find_schemas(request.schema)
    if request.schema is not None and not schemas:
        report.problems.append(f"--schema: no schema {request.schema[:63]} has pgchroma's tables")
    for schema, database_id in schemas:
        yield Transaction(_adopt_schema(schema, database_id, request, report))
    return report


def _adopt_schema(
    schema: str, database_id: UUID | None, request: AdoptionRequest, report: AdoptionReport
) -> Steps[None]:
    entries = yield from read_entries(schema)
    if database_id is None:
        names = _database_names(schema, entries.get(SCHEMA_ENTRY), request)
        if names is None:
            report.problems.append(
                f"schema {schema}: its database is unknown; give --schema, --tenant and --database"
            )
            return
        database_id = yield from _insert_database(schema, *names, entries.get(SCHEMA_ENTRY))
        if database_id is None:
            tenant, name = names
            report.problems.append(
                f"schema {schema}: tenant {tenant[:63]} already has a database {name[:63]}; give "
                "another name with --schema and --database"
            )
            return
        report.databases.append((*names, schema))
    for collection in (yield from find_collections(schema)):
        entry = entries.get(collection.id)
        yield from _adopt_collection(schema, database_id, collection, entry, request, report)


def _database_names(
    schema: str, entry: Mapping[str, Any] | None, request: AdoptionRequest
) -> tuple[str, str] | None:
    """Return the tenant and the database of a schema; `None` if they are unknown."""
    if request.schema is not None and request.database is not None:
        return request.tenant or "default_tenant", request.database
    parts = (entry["tenant"], entry["name"]) if entry else tuple(schema.split("__"))
    # A user who may write to the copy of the catalog must not choose the tenant.
    if len(parts) != 2 or schema_name(*parts) != schema:  # noqa: PLR2004
        return None
    return parts[0], parts[1]


def _insert_database(
    schema: str, tenant: str, name: str, entry: Mapping[str, Any] | None
) -> Steps[UUID | None]:
    """Insert a database, with its former id if that is free; `None` if its name is taken."""
    parameters = {
        "id": UUID(entry["id"]) if entry else uuid4(),
        "other_id": uuid4(),
        "tenant": tenant,
        "name": name,
        "schema": schema,
    }
    yield Statement(_INSERT_TENANT, parameters)
    rows = yield Statement(_INSERT_DATABASE, parameters)
    if not rows:
        return None
    id: UUID = rows[0][0]
    stored = {"id": str(id), "tenant": tenant, "name": name}
    text = render(_SET_ENTRY, copy=sql.Identifier(schema, COPY))
    yield Statement(text, {"id": SCHEMA_ENTRY, "entry": orjson.dumps(stored).decode()})
    return id


def _adopt_collection(
    schema: str,
    database_id: UUID,
    collection: RestoredCollection,
    entry: Mapping[str, Any] | None,
    request: AdoptionRequest,
    report: AdoptionReport,
) -> Steps[None]:
    known = derive_entry(collection, request.space) if entry is None else entry
    if isinstance(known, str):
        report.problems.append(f"schema {schema}, collection {collection.id}: {known}")
        return
    generation, dimension = collection.current
    rows = yield Statement(
        _INSERT_COLLECTION,
        {
            "id": collection.id,
            "database_id": database_id,
            "name": known["name"],
            "metadata": known["metadata"],
            "configuration": _json(known["configuration"]),
            "dimension": dimension,
            "layout_version": known.get("layout_version", UNKNOWN_LAYOUT),
            "created_at": known.get("created_at"),
            "generation": generation,
            "version": known.get("version", 0),
            "discovered_keys": _json(known.get("discovered_keys")),
        },
    )
    if not rows:
        report.problems.append(
            f"schema {schema}, collection {collection.id}: the name {known['name'][:63]} is taken; "
            "rename or delete the collection that has it"
        )
        return
    yield from _adopt_dependents(schema, collection, known)
    report.collections.append((schema, known["name"]))


def _adopt_dependents(
    schema: str, collection: RestoredCollection, entry: Mapping[str, Any]
) -> Steps[None]:
    """Adopt a collection's pending or previous embeddings and its indexes, and create its view."""
    reembedding = entry.get("reembedding")
    known_generation = -1 if reembedding is None else int(reembedding["generation"])
    for name, is_shadow, generation, _ in collection.vectors:
        if is_shadow and generation != known_generation:
            # No re-embedding could continue with it, and its name could collide with a later one.
            yield Statement(render("drop table {table}", table=sql.Identifier(schema, name)))
    has_shadow = collection.has_shadow(known_generation)
    for table, rows in (
        ("reembeddings", [reembedding] if has_shadow else []),
        ("segments", entry.get("segments") or []),
        ("secondary_indexes", entry.get("secondary_indexes") or []),
    ):
        if rows:
            yield Statement(_INSERT_ROWS[table], {"rows": _json(rows)})
    if view_name(entry["name"]) not in collection.views:
        generation, dimension = collection.current
        filterable = CollectionConfiguration.from_json(entry["configuration"]).filterable
        tables = CollectionTables(schema, collection.id, generation)
        yield create_view(tables, entry["name"], filterable, has_vectors=dimension is not None)


def _json(value: Any) -> str | None:
    return None if value is None else orjson.dumps(value).decode()


_INSERT_TENANT = render(
    "insert into pgchroma.tenants (name) values (%(tenant)s) on conflict do nothing"
)

_INSERT_DATABASE = render(
    """
    insert into pgchroma.databases (id, tenant, name, schema_name)
    select
        case when exists (select from pgchroma.databases where id = %(id)s)
            then %(other_id)s else %(id)s end,
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
        generation, version, discovered_keys
    )
    values (
        %(id)s, %(database_id)s, %(name)s, %(metadata)s::jsonb, %(configuration)s::jsonb,
        %(dimension)s, %(layout_version)s, coalesce(%(created_at)s::timestamptz, now()),
        %(generation)s, %(version)s, %(discovered_keys)s::jsonb
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
    # These get new ids, because other segments may have the old ones.
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
