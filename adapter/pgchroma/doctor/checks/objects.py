"""Whether the catalog and PostgreSQL have the same schemas, tables, views, copies and triggers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, LiteralString

from psycopg import sql

from pgchroma.catalog.restored import SCHEMA_ENTRY
from pgchroma.catalog.sql_files import sql_files
from pgchroma.catalog.views import functions_in, views_in
from pgchroma.doctor.check import catalog_check
from pgchroma.doctor.checks.versions import is_newer
from pgchroma.doctor.collections import known_collections
from pgchroma.doctor.database import Database
from pgchroma.doctor.findings import Finding, Fix, error, info, not_checked, warning
from pgchroma.doctor.server_settings import shown_bytes
from pgchroma.store.discarded import PREFIX
from pgchroma.store.layout.names import key_of, view_name
from pgchroma.store.layout.tables import COPY
from pgchroma.store.running.steps import render
from pgchroma.store.waits import COMPACTOR

__all__ = ("CHECKS",)

TRIGGERS: Final = (
    ("collections", "copy_collection"),
    ("collections", "forget_collections"),
    ("reembeddings", "copy_collection"),
    ("secondary_indexes", "copy_collection"),
    ("segments", "copy_collection"),
)
"""The triggers of the catalog that write the copies, each with its table."""

SHOWN: Final = 5
"""Views and functions that a finding names."""

COPIES: Final = 50
"""Copies of the catalog that one statement reads."""


@catalog_check("missing-schema")
def _missing_schemas(database: Database) -> Iterator[Finding]:
    for tenant, name, schema, collections in database.rows(_MISSING_SCHEMAS):
        yield error(
            f"{tenant}/{name}",
            f"the schema {schema} of the database does not exist",
            f"its {collections} collections cannot be used",
            f"restore the schema {schema} from a backup (pg_restore --schema)",
            collections=collections,
        )


@catalog_check("missing-table")
def _missing_tables(database: Database) -> Iterator[Finding]:
    for collection in database.shared(known_collections):
        missing = [name for name in collection.expected if name not in collection.existing]
        if missing:
            schema = collection.schema
            yield error(
                collection.subject,
                f"{', '.join(missing)} in schema {schema} does not exist",
                "the collection cannot be read, or cannot be written",
                f"restore the tables of {collection.id.hex} from a backup (pg_restore --table)",
                missing=len(missing),
            )


@catalog_check("missing-view")
def _missing_views(database: Database) -> Iterator[Finding]:
    collections = database.shared(known_collections)
    names = [view_name(each.name) for each in collections]
    parameters = {
        "ids": [each.id for each in collections],
        "collections": [each.name for each in collections],
        "views": names,
    }
    for number, kind in database.rows(_VIEWS, parameters):
        collection = collections[number - 1]
        view = sql.Identifier(collection.schema, names[number - 1]).as_string(None)
        if kind is None:
            yield warning(
                collection.subject,
                f"the view {view} does not exist",
                "SQL cannot read the collection by its name",
                "pgchroma doctor --fix",
                fix=Fix("create-view", collection.id),
            )
        else:
            yield warning(
                collection.subject,
                f"{view} is not the collection's view",
                "SQL that reads the collection by its name reads something else",
                f"alter {kind} {view} rename to …",
            )


@catalog_check("unlisted-schema")
def _unlisted_schemas(database: Database) -> Iterator[Finding]:
    for schema, size in database.rows(_UNLISTED_SCHEMAS, {"copy": COPY, "discarded": PREFIX}):
        yield warning(
            f"schema {schema}",
            "the schema has collections, and the catalog does not know it, as after a restore",
            f"clients cannot use its collections; it occupies {shown_bytes(size)}",
            f"pgchroma adopt --schema {sql.Identifier(schema).as_string(None)}",
            bytes=size,
        )


@catalog_check("leftover-tables")
def _leftover_tables(database: Database) -> Iterator[Finding]:
    for schema, name, is_known, size in database.rows(_LEFTOVER_TABLES):
        table = sql.Identifier(schema, name).as_string(None)
        if is_known:
            what = "the table has embeddings of an earlier re-embedding of the collection"
            command = f"drop table {table}"
        else:
            what = "the table belongs to a collection that is not in the catalog"
            command = f"pgchroma adopt --schema {sql.Identifier(schema).as_string(None)}"
        cost = f"it occupies {shown_bytes(size)}"
        if not is_known:
            cost += f"; if the collection was deleted, drop its tables instead (drop table {table})"
        yield warning(f"table {schema}.{name}", what, cost, command, bytes=size)


@catalog_check("discarded-schema")
def _discarded_schemas(database: Database) -> Iterator[Finding]:
    parameters = {"prefix": PREFIX, "application": COMPACTOR}
    schemas, tables, size, has_compactor = database.row(_DISCARDED, parameters)
    if not schemas:
        return
    report = info if has_compactor else warning
    yield report(
        f"database {database.connection.info.dbname}",
        f"{tables} tables of {schemas} deleted databases are not dropped yet",
        f"they occupy {shown_bytes(size)}",
        "pgchroma compact",
        fix=Fix("drop-discarded"),
        tables=tables,
        bytes=size,
    )


@catalog_check("catalog-objects")
def _catalog_objects(database: Database) -> Iterator[Finding]:
    parameters = {"tables": [pair[0] for pair in TRIGGERS], "names": [pair[1] for pair in TRIGGERS]}
    for table, name, is_disabled in database.rows(_TRIGGERS, parameters):
        yield warning(
            f"table pgchroma.{table}",
            f"the trigger {name} is {'disabled' if is_disabled else 'missing'}",
            "the copies of the catalog in the schemas become outdated, so dumps of a schema do too",
            "pgchroma doctor --fix",
            fix=Fix("restore-catalog-objects"),
        )
    # A newer version may have dropped some, and has its own.
    if not is_newer(database):
        yield from _missing_objects(database)


def _missing_objects(database: Database) -> Iterator[Finding]:
    texts = sql_files().values()
    wanted = {
        "views": [name for text in texts for name in views_in(text)],
        "functions": [name for text in texts for name in functions_in(text)],
    }
    missing = [name for (name,) in database.rows(_MISSING_OBJECTS, wanted)]
    if missing:
        more = f" and {len(missing) - SHOWN} more" if len(missing) > SHOWN else ""
        yield warning(
            "schema chroma",
            f"views or functions are missing: {', '.join(missing[:SHOWN])}{more}",
            "SQL users cannot list collections, or cannot call the functions",
            "pgchroma doctor --fix",
            fix=Fix("restore-catalog-objects"),
            missing=len(missing),
        )


@catalog_check("catalog-copy")
def _catalog_copies(database: Database) -> Iterator[Finding]:
    by_role: dict[str | None, list[tuple[str, str]]] = {}
    for schema, subject, exists, may_read, role in database.rows(_COPIES, {"copy": COPY}):
        if not exists:
            yield _incomplete_copy(subject, f'the table {schema}."{COPY}" is missing')
        elif not may_read:
            yield not_checked("catalog-copy", f'the user may not read {schema}."{COPY}"')
        else:
            by_role.setdefault(role, []).append((schema, subject))
    for role, copies in by_role.items():
        for start in range(0, len(copies), COPIES):
            yield from _outdated_copies(database, copies[start : start + COPIES], role)


def _outdated_copies(
    database: Database, copies: list[tuple[str, str]], role: str | None
) -> Iterator[Finding]:
    parts = [
        sql.SQL("select {}, id, entry ->> 'name' from {}").format(
            sql.Literal(schema), sql.Identifier(schema, COPY)
        )
        for schema, _ in copies
    ]
    text = render(_OUTDATED_COPIES, copies=sql.SQL(" union all ").join(parts))
    subjects = dict(copies)
    parameters = {"schemas": list(subjects), "own": SCHEMA_ENTRY}
    for schema, missing in database.rows(text, parameters, role):
        what = f'{missing} entries of the catalog are missing or outdated in {schema}."{COPY}"'
        yield _incomplete_copy(subjects[schema], what, missing=missing)


def _incomplete_copy(subject: str, what: str, **figures: int) -> Finding:
    return warning(
        subject,
        what,
        "a dump of the schema alone is not complete",
        "pgchroma doctor --fix",
        fix=Fix("restore-catalog-objects"),
        **figures,
    )


_MISSING_SCHEMAS: Final = render(
    """
    select d.tenant, d.name, d.schema_name, count(c.id)
    from pgchroma.databases as d
    left join pgchroma.collections as c on c.database_id = d.id
    where not exists (
        select from pg_catalog.pg_namespace as n where n.nspname = d.schema_name
    )
    group by 1, 2, 3
    having %(names)s::text[] is null or bool_or(c.name = any(%(names)s))
    order by 1, 2
    """
)

# The collections are joined again: since they were read, some may have been deleted or renamed.
_VIEWS: Final = render(
    """
    select
        v.n,
        case c.relkind
            when 'r' then 'table'
            when 'p' then 'table'
            when 'm' then 'materialized view'
            when 'S' then 'sequence'
            when 'f' then 'foreign table'
            when 'c' then 'type'
            when 'i' then 'index'
        end
    from unnest(%(ids)s::uuid[], %(collections)s::text[], %(views)s::text[])
        with ordinality as v (id, collection, name, n)
    join pgchroma.collections as k on k.id = v.id and k.name = v.collection
    join pgchroma.databases as d on d.id = k.database_id
    join pg_catalog.pg_namespace as s on s.nspname = d.schema_name
    join pg_catalog.pg_class as r
        on r.relnamespace = s.oid and r.relname = 'records_' || replace(v.id::text, '-', '')
    left join pg_catalog.pg_class as c on c.relnamespace = s.oid and c.relname = v.name
    where c.relkind is distinct from 'v'
    order by 1
    """
)

_UNLISTED_SCHEMAS: Final = render(
    """
    select
        n.nspname::text,
        sum(c.relpages)::bigint * current_setting('block_size')::bigint
    from pg_catalog.pg_namespace as n
    join pg_catalog.pg_class as c on c.relnamespace = n.oid
    where not starts_with(n.nspname::text, %(discarded)s) and not exists (
        select from pgchroma.databases as d where d.schema_name = n.nspname
    )
    group by 1
    having bool_or(
        c.relkind = 'r' and (c.relname = %(copy)s or c.relname ~ '^records_[0-9a-f]{{32}}$')
    )
    order by 1
    """
)

# Of a collection that is not in the catalog, one table is named: that of the records, if it exists.
_LEFTOVER_TABLES: Final = render(
    """
    with own as materialized (
        select
            d.schema_name, t.relname::text as name, t.relpages, m.key::uuid as id,
            split_part(t.relname::text, '_', 1) as kind,
            coalesce(substring(t.relname from '^[a-z]+_[^_]+_([0-9]{{1,18}})(?:_|$)')::bigint, 1)
                as generation
        from pgchroma.databases as d
        join pg_catalog.pg_namespace as n on n.nspname = d.schema_name
        join pg_catalog.pg_class as t on t.relnamespace = n.oid and t.relkind = 'r'
        cross join lateral (select {key}) as m (key)
        where m.key is not null and %(names)s::text[] is null
    )
    select
        o.schema_name,
        coalesce(min(o.name) filter (where o.kind = 'records'), min(o.name)),
        false,
        sum(o.relpages)::bigint * current_setting('block_size')::bigint
    from own as o
    where not exists (select from pgchroma.collections as c where c.id = o.id)
    group by o.schema_name, o.id
    union all
    select
        o.schema_name, o.name, true, o.relpages::bigint * current_setting('block_size')::bigint
    from own as o
    join pgchroma.collections as c on c.id = o.id
    where (o.kind = 'vectors' and o.generation <> c.generation) or (
        o.kind = 'spare' and not exists (
            select from pgchroma.reembeddings as r
            where r.collection_id = c.id and r.generation = o.generation
        )
    )
    order by 1, 2
    """,
    key=key_of("t.relname"),
)

_DISCARDED: Final = render(
    """
    select
        count(distinct n.oid),
        count(c.oid) filter (where c.relkind = 'r'),
        coalesce(sum(c.relpages), 0)::bigint * current_setting('block_size')::bigint,
        exists (
            select from pg_catalog.pg_stat_activity
            where application_name = %(application)s and datname = current_database()
        )
    from pg_catalog.pg_namespace as n
    left join pg_catalog.pg_class as c on c.relnamespace = n.oid
    where starts_with(n.nspname::text, %(prefix)s)
    """
)

_TRIGGERS: Final = render(
    """
    select w.relation, w.name, t.oid is not null
    from unnest(%(tables)s::text[], %(names)s::text[]) as w (relation, name)
    left join pg_catalog.pg_trigger as t
        on t.tgrelid = to_regclass(format('pgchroma.%%I', w.relation)) and t.tgname = w.name
    where t.oid is null or t.tgenabled = 'D'
    order by 1, 2
    """
)

_MISSING_OBJECTS: Final = render(
    """
    select w.name
    from unnest(%(views)s::text[]) as w (name)
    where to_regclass(format('chroma.%%I', w.name)) is null
    union all
    (
        select w.name
        from unnest(%(functions)s::text[]) as w (name)
        where not exists (
            select from pg_catalog.pg_proc as p
            where p.pronamespace = to_regnamespace('chroma') and p.proname = w.name
        )
        order by starts_with(w.name, '_'), w.name
    )
    """
)

_COPIES: Final = render(
    """
    select
        d.schema_name, d.tenant || '/' || d.name, c.oid is not null,
        case when r.role is not null
            then coalesce(pg_has_role(current_user, r.role::name, 'set'), false)
            else has_schema_privilege(n.oid, 'usage')
                and coalesce(has_table_privilege(c.oid, 'select'), false)
        end,
        r.role
    from pgchroma.databases as d
    join pg_catalog.pg_namespace as n on n.nspname = d.schema_name
    left join pgchroma.tenants as t on t.name = d.tenant
    left join pg_catalog.pg_class as c
        on c.relnamespace = n.oid and c.relname = %(copy)s and c.relkind = 'r'
    cross join lateral (
        select t.role_name where pg_get_userbyid(c.relowner) = t.role_name
        union all
        select null
        limit 1
    ) as r (role)
    where %(names)s::text[] is null or exists (
        select from pgchroma.collections as k where k.database_id = d.id and k.name = any(%(names)s)
    )
    order by 1
    """
)

_OUTDATED_COPIES: LiteralString = """
with copies (schema_name, id, name) as ({copies}),
wanted (schema_name, id, name) as (
    select d.schema_name, %(own)s::uuid, d.name from pgchroma.databases as d
    union all
    select d.schema_name, c.id, c.name
    from pgchroma.databases as d
    join pgchroma.collections as c on c.database_id = d.id
)
select w.schema_name, count(*)
from wanted as w
where w.schema_name = any(%(schemas)s) and not exists (
    select from copies as c
    where c.schema_name = w.schema_name and c.id = w.id and c.name = w.name
)
group by 1
order by 1
"""

CHECKS: Final = (
    _missing_schemas,
    _missing_tables,
    _missing_views,
    _unlisted_schemas,
    _leftover_tables,
    _discarded_schemas,
    _catalog_objects,
    _catalog_copies,
)
