"""The handler that describes a collection's view."""

from __future__ import annotations

from pgchroma.errors import NotFoundError
from pgchroma.model.operations import GetCollectionView
from pgchroma.model.view import CollectionView
from pgchroma.store.context import StoreContext
from pgchroma.store.handlers import handles
from pgchroma.store.layout.names import view_name
from pgchroma.store.layout.view import OWN_COLUMNS
from pgchroma.store.resolving import resolve
from pgchroma.store.running.steps import Statement, Steps, render

__all__ = ("get_collection_view",)


@handles(GetCollectionView)
def get_collection_view(
    operation: GetCollectionView, context: StoreContext
) -> Steps[CollectionView]:
    """Read the columns of the view as it is, whatever version of pgchroma created it."""
    resolved = yield from resolve(operation.collection, context)
    id = operation.collection.id
    rows = yield Statement(_NAME, {"id": id})
    if not rows:
        raise NotFoundError(f"Collection [{id}] does not exist.")
    name = view_name(rows[0][0])
    schema = resolved.tables.schema
    columns = yield Statement(_COLUMNS, {"schema": schema, "name": name})
    keys = tuple((key, kind) for key, kind in columns if key not in OWN_COLUMNS)
    return CollectionView(schema, name, resolved.dimension, keys)


_NAME = render("select name from pgchroma.collections where id = %(id)s")

_COLUMNS = render(
    """
    select a.attname::text, pg_catalog.format_type(a.atttypid, null)
    from pg_catalog.pg_attribute as a
    join pg_catalog.pg_class as c on c.oid = a.attrelid
    join pg_catalog.pg_namespace as n on n.oid = c.relnamespace
    where n.nspname = %(schema)s::text and c.relname = %(name)s::text
        and a.attnum > 0 and not a.attisdropped
    order by a.attnum
    """
)
