"""Handlers for collections: their rows in the catalog and their tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, LiteralString
from uuid import UUID, uuid4

import orjson

from pgchroma.errors import (
    InvalidArgumentError,
    NotFoundError,
    UniqueConstraintError,
)
from pgchroma.model.configuration import CollectionConfiguration
from pgchroma.model.discovery import read_kinds
from pgchroma.model.entities import CollectionModel, DatabaseRef
from pgchroma.model.operations import (
    CountCollections,
    CreateCollection,
    DeleteCollection,
    GetCollection,
    GetCollectionByCrn,
    GetCollectionById,
    ListCollections,
    ModifyCollection,
    ReplaceCollection,
)
from pgchroma.store.context import StoreContext
from pgchroma.store.encoding.metadata import decode_metadata, encode_metadata
from pgchroma.store.handlers import handles
from pgchroma.store.layout.tables import (
    LAYOUT_VERSION,
    CollectionTables,
    create_tables,
    drop_tables,
    rename_view,
)
from pgchroma.store.layout.upgrading import check_layout
from pgchroma.store.running.steps import Statement, Steps, Transaction, render

__all__ = (
    "count_collections",
    "create_collection",
    "delete_collection",
    "get_collection",
    "get_collection_by_crn",
    "get_collection_by_id",
    "list_collections",
    "modify_collection",
    "replace_collection",
)


@handles(CreateCollection)
def create_collection(operation: CreateCollection, context: StoreContext) -> Steps[CollectionModel]:
    """Insert a collection and create its tables, or return the one that already has the name."""
    configuration = CollectionConfiguration.parse(
        _requested_configuration(operation),
        operation.metadata,
        operation.filterable,
        context.default_index,
    )
    while True:
        created = yield Transaction(_create(operation, configuration))
        if created is not None:
            return created  # type: ignore[no-any-return]
        if not operation.get_or_create:
            raise UniqueConstraintError(f"Collection [{operation.name}] already exists")
        try:
            find = GetCollection(operation.scope, operation.name)
            return (yield from get_collection(find, context))
        except NotFoundError:
            # It was deleted between the insertion and the look-up, so its name is free again.
            continue


@handles(GetCollection)
def get_collection(operation: GetCollection, context: StoreContext) -> Steps[CollectionModel]:
    """Look a collection up by name."""
    rows = yield _select(operation.scope, "and c.name = %(name)s", {"name": operation.name})
    if not rows:
        raise NotFoundError(f"Collection [{operation.name}] does not exist")
    return _collection_from_row(rows[0])


@handles(GetCollectionById)
def get_collection_by_id(
    operation: GetCollectionById, context: StoreContext
) -> Steps[CollectionModel]:
    """Look a collection up by id."""
    collection = operation.collection
    rows = yield _select(collection.scope, "and c.id = %(id)s", {"id": collection.id})
    if not rows:
        raise NotFoundError(f"Collection [{collection.id}] does not exist")
    return _collection_from_row(rows[0])


@handles(GetCollectionByCrn)
def get_collection_by_crn(
    operation: GetCollectionByCrn, context: StoreContext
) -> Steps[CollectionModel]:
    """Look a collection up by its tenant's resource name, its database and its name."""
    crn = (operation.tenant_resource_name, operation.database, operation.name)
    rows = yield Statement(_BY_CRN, dict(zip(("resource", "database", "name"), crn, strict=True)))
    if not rows:
        raise NotFoundError(f"Collection [{':'.join(crn)}] does not exist")
    return _collection_from_row(rows[0])


@handles(ListCollections)
def list_collections(
    operation: ListCollections, context: StoreContext
) -> Steps[list[CollectionModel]]:
    """Read a page of a database's collections."""
    page = {"limit": operation.limit, "offset": operation.offset or 0}
    rows = yield _select(
        operation.scope,
        "order by c.name limit %(limit)s::bigint offset %(offset)s::bigint",
        page,
    )
    return [_collection_from_row(row) for row in rows]


@handles(CountCollections)
def count_collections(operation: CountCollections, context: StoreContext) -> Steps[int]:
    """Count a database's collections."""
    rows = yield Statement(
        _COUNT, {"tenant": operation.scope.tenant, "database": operation.scope.database}
    )
    return int(rows[0][0])


@handles(ModifyCollection)
def modify_collection(operation: ModifyCollection, context: StoreContext) -> Steps[None]:
    """Change a collection's name (and its view's), metadata and configuration."""
    yield Transaction(_modify(operation))
    context.forget_collection(operation.collection)


@handles(DeleteCollection)
def delete_collection(operation: DeleteCollection, context: StoreContext) -> Steps[None]:
    """Delete a collection's row and drop its tables."""
    yield Transaction(_delete(operation))


@handles(ReplaceCollection)
def replace_collection(operation: ReplaceCollection, context: StoreContext) -> Steps[None]:
    """Delete a collection, and rename another one to what it was called."""
    yield Transaction(_replace(operation))
    context.forget_collection(operation.collection)


def _requested_configuration(operation: CreateCollection) -> Mapping[str, Any] | None:
    """Return the configuration to create the collection with.

    For LangChain, Chroma's client sends no configuration at all: LangChain passes no embedding
    function and relies on the default one. Such a collection is stored as one whose function is
    unknown, not as one without a function.
    """
    if operation.get_or_create and operation.configuration is None and operation.filterable is None:
        return {"embedding_function": {"type": "unknown"}}
    return operation.configuration


def _create(
    operation: CreateCollection, configuration: CollectionConfiguration
) -> Steps[CollectionModel | None]:
    scope, id = operation.scope, uuid4()
    rows = yield Statement(_SELECT_DATABASE, {"tenant": scope.tenant, "database": scope.database})
    if not rows:
        raise InvalidArgumentError(f"Database [{scope.database}] does not exist")
    database_id, schema = rows[0]
    if configuration.filterable.text is not None:
        yield from _check_language(configuration.filterable.text.language)
    rows = yield Statement(
        _INSERT,
        {
            "id": id,
            "database_id": database_id,
            "name": operation.name,
            "metadata": encode_metadata(operation.metadata),
            "configuration": orjson.dumps(configuration.to_stored_json()).decode(),
            "layout_version": LAYOUT_VERSION,
        },
    )
    if not rows:
        return None
    tables = CollectionTables(schema, id)
    yield create_tables(tables, operation.name, configuration.filterable)
    return CollectionModel(
        id,
        operation.name,
        configuration,
        operation.metadata,
        None,
        scope.tenant,
        scope.database,
        generation=tables.generation,
    )


def _modify(operation: ModifyCollection) -> Steps[None]:
    collection = operation.collection
    rows = yield _select(
        collection.scope, "and c.id = %(id)s for update of c", {"id": collection.id}
    )
    if not rows:
        raise NotFoundError(f"Collection [{collection.id}] does not exist.")
    old = _collection_from_row(rows[0])
    layout, schema = rows[0][-2:]
    check_layout(collection.id, layout)
    name = old.name if operation.name is None else operation.name
    metadata = old.metadata if operation.metadata is None else operation.metadata
    if name != old.name:
        yield from _claim_name(collection.id, name)
        yield rename_view(CollectionTables(schema, collection.id), old.name, name)
    configuration = old.configuration.updated(operation.configuration or {})
    yield Statement(
        _UPDATE,
        {
            "id": collection.id,
            "metadata": encode_metadata(metadata),
            "configuration": orjson.dumps(configuration.to_stored_json()).decode(),
        },
    )


def _claim_name(id: UUID, name: str) -> Steps[None]:
    rows = yield Statement(_RENAME, {"id": id, "name": name})
    if not rows:
        raise UniqueConstraintError(f"Collection [{name}] already exists")


def _replace(operation: ReplaceCollection) -> Steps[None]:
    deleted = yield from _delete(DeleteCollection(operation.collection.scope, operation.name))
    if deleted != operation.replaced:
        raise NotFoundError(f"Collection [{operation.replaced}] is not called {operation.name} now")
    yield from _modify(ModifyCollection(operation.collection, operation.name))


def _delete(operation: DeleteCollection) -> Steps[UUID]:
    """Delete a collection, and return its id."""
    scope = operation.scope
    named = {"tenant": scope.tenant, "database": scope.database, "name": operation.name}
    # The row is locked first, so the deletion sees every table that was created until then.
    rows = yield Statement(_LOCK, named), Statement(_DELETE, named)
    if not rows:
        raise NotFoundError(f"Collection [{operation.name}] does not exist")
    layout, id, schema, generation, stored, shadow = rows[0]
    check_layout(id, layout)
    configuration = CollectionConfiguration.from_json(orjson.loads(stored))
    tables = CollectionTables(schema, id, generation)
    yield drop_tables(tables, operation.name, configuration.filterable, shadow)
    return tables.id


def _check_language(language: str) -> Steps[None]:
    rows = yield Statement(_LANGUAGES)
    languages = [name for (name,) in rows]
    if language not in languages:
        raise InvalidArgumentError(
            f"configuration.text.language: the database has no text search configuration "
            f"{language!r}, only {', '.join(languages)}"
        )


def _select(scope: DatabaseRef, ending: LiteralString, parameters: Mapping[str, Any]) -> Statement:
    named = {"tenant": scope.tenant, "database": scope.database, **parameters}
    return Statement(render(_SELECT + ending), named)


def _collection_from_row(row: Sequence[Any]) -> CollectionModel:
    id, name, configuration, metadata, dimension, tenant, database, *others = row
    generation, version, discovered, _layout, _schema = others
    return CollectionModel(
        id,
        name,
        CollectionConfiguration.from_json(orjson.loads(configuration)),
        decode_metadata(metadata),
        dimension,
        tenant,
        database,
        version,
        generation=generation,
        discovered=read_kinds(None if discovered is None else orjson.loads(discovered)),
    )


# A configuration outside of pg_catalog has the name of its schema.
_LANGUAGES = render(
    """
    select case
        when n.nspname = 'pg_catalog' then c.cfgname::text
        else n.nspname || '.' || c.cfgname
    end as name
    from pg_catalog.pg_ts_config as c
    join pg_catalog.pg_namespace as n on n.oid = c.cfgnamespace
    where has_schema_privilege(n.oid, 'usage')
    order by n.nspname = 'pg_catalog' desc, 1
    """
)

_SELECT_DATABASE = render(
    """
    select id, schema_name from pgchroma.databases
    where tenant = %(tenant)s and name = %(database)s
    """
)

_INSERT = render(
    """
    insert into pgchroma.collections (
        id, database_id, name, metadata, configuration, layout_version, compacted_operations,
        compacted_pos
    )
    values (
        %(id)s, %(database_id)s, %(name)s, %(metadata)s::jsonb, %(configuration)s::jsonb,
        %(layout_version)s, 0, 0
    )
    on conflict (database_id, name) do nothing
    returning id
    """
)

_MODELS: LiteralString = """
    select
        c.id, c.name, c.configuration::text, c.metadata::text, c.dimension, d.tenant, d.name,
        c.generation, c.version, c.discovered_keys::text, c.layout_version,
        d.schema_name
    from pgchroma.collections as c
    join pgchroma.databases as d on d.id = c.database_id
    """

_SELECT: LiteralString = _MODELS + "where d.tenant = %(tenant)s and d.name = %(database)s "

_BY_CRN = render(
    _MODELS
    + """
    join pgchroma.tenants as t on t.name = d.tenant
    where t.resource_name = %(resource)s and d.name = %(database)s and c.name = %(name)s
    """
)

_COUNT = render(
    """
    select count(*)
    from pgchroma.collections as c
    join pgchroma.databases as d on d.id = c.database_id
    where d.tenant = %(tenant)s and d.name = %(database)s
    """
)

# If the name is taken, this returns no row. A unique violation would abort the transaction.
_RENAME = render(
    """
    update pgchroma.collections as c set name = %(name)s
    where c.id = %(id)s and not exists (
        select from pgchroma.collections as other
        where other.database_id = c.database_id and other.name = %(name)s
    )
    returning c.id
    """
)

_UPDATE = render(
    """
    update pgchroma.collections
    set metadata = %(metadata)s::jsonb, configuration = %(configuration)s::jsonb
    where id = %(id)s
    """
)

_LOCK = render(
    """
    select from pgchroma.collections as c
    join pgchroma.databases as d on d.id = c.database_id
    where d.tenant = %(tenant)s and d.name = %(database)s and c.name = %(name)s
    for update of c
    """
)

_DELETE = render(
    """
    delete from pgchroma.collections as c
    using pgchroma.databases as d
    where d.id = c.database_id and d.tenant = %(tenant)s and d.name = %(database)s
        and c.name = %(name)s
    returning c.layout_version, c.id, d.schema_name, c.generation, c.configuration::text, (
        select r.generation from pgchroma.reembeddings as r where r.collection_id = c.id
    )
    """
)
