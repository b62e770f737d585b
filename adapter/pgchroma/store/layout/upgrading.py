"""Upgrading the tables of older collections to the present layout, some at a time.

An operation on a collection with an older layout is refused with `OldLayoutError`, and nothing has
been read or written then. Backends upgrade the collection and run the operation again. Compactors
upgrade the collections that are not used, and `pgchroma migrate` upgrades all of them.

Each transaction upgrades a few collections and holds few locks. If it is interrupted, the next
upgrade continues. Writers to a collection wait while its tables are upgraded.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, LiteralString
from uuid import UUID

from psycopg import sql

from pgchroma.errors import VersionMismatchError
from pgchroma.store.layout.names import NAME_BYTES, view_name
from pgchroma.store.layout.sparse import SparseTables, create_weights
from pgchroma.store.layout.tables import (
    LAYOUT_VERSION,
    CollectionTables,
    create_counts,
    create_zero_vector_index,
)
from pgchroma.store.running.search_path import ADD_SCHEMA
from pgchroma.store.running.steps import Rows, Statement, Steps, Transaction, render
from pgchroma.store.running.transaction_settings import set_lock_timeout

__all__ = (
    "OldCollection",
    "OldLayoutError",
    "check_layout",
    "find_old",
    "layout_statements",
    "upgrade_collection",
    "upgrade_some",
)

BATCH: Final = 50
"""Collections upgraded in one transaction."""


class OldLayoutError(VersionMismatchError, name="VersionMismatchError", status=500):
    """The tables of a collection have an older layout.

    Attributes:
        id: The collection.
    """

    def __init__(self, id: UUID) -> None:
        super().__init__(
            f"the tables of collection {id} have an older layout. Run: pgchroma migrate --url URL"
        )
        self.id = id


def check_layout(id: UUID, version: int) -> None:
    """Check the layout of a collection's tables.

    Raises:
        OldLayoutError: It is older than this code's.
    """
    if version < LAYOUT_VERSION:
        raise OldLayoutError(id)


@dataclass(frozen=True, slots=True)
class OldCollection:
    """A collection whose tables have an older layout.

    Attributes:
        version: The layout of its tables.
        space: Its distance.
        sparse: The numbers of its indexes of sparse vectors and words.
        owner: The owner of its tables.
        rows: How many records it has, as PostgreSQL estimates it; -1 if it has not counted yet.
    """

    id: UUID
    schema: str
    name: str
    version: int
    space: str
    dimension: int | None
    sparse: tuple[int, ...]
    owner: str
    rows: int

    @property
    def tables(self) -> CollectionTables:
        """Its tables."""
        return CollectionTables(self.schema, self.id)


def upgrade_some() -> Steps[bool]:
    """Upgrade the tables of some collections; return whether there were any."""
    return bool((yield from _upgrade(limit=BATCH)))


def upgrade_collection(id: UUID, lock_timeout: str | None = None) -> Steps[None]:
    """Upgrade the tables of a collection, in a transaction, unless they have the present layout.

    Args:
        id: The collection.
        lock_timeout: The longest wait for each lock, such as ``500ms``; `None` means no limit.
    """
    yield Transaction(_upgrade(id=id, lock_timeout=lock_timeout))


def _upgrade(
    *, id: UUID | None = None, limit: int | None = None, lock_timeout: str | None = None
) -> Steps[Rows]:
    yield ADD_SCHEMA
    if lock_timeout is not None:
        yield set_lock_timeout(lock_timeout)
    rows: Rows = yield Statement(_SELECT_FOR_UPDATE, _parameters(id=id, limit=limit))
    for row in rows:
        yield from layout_statements(_old_collection(row))
    yield Statement(_UPDATE, {"version": LAYOUT_VERSION, "ids": [row[0] for row in rows]})
    return rows


def find_old() -> Steps[list[OldCollection]]:
    """Return all collections whose tables have an older layout, in the order of the upgrade."""
    rows = yield Statement(_SELECT, _parameters())
    return [_old_collection(row) for row in rows]


def layout_statements(old: OldCollection) -> Iterator[Statement]:
    """Yield the statements that upgrade the tables of a collection."""
    tables, owner = old.tables, sql.Identifier(old.owner)
    yield Statement(
        render("lock table {records} in share row exclusive mode", records=tables.records)
    )
    if old.version == 1:
        yield from _add_counts(tables, old.name, owner)
        if old.dimension is not None and old.space == "cosine":
            yield create_zero_vector_index(tables)
    parts = {"records": tables.records, "counts": tables.counts, "log": tables.log_literal}
    for template in _ADD_OPERATIONS:
        yield Statement(render(template, **parts))
    for number in old.sparse:
        yield from _empty_blocks(tables, tables.sparse(number), owner)


def _parameters(*, id: UUID | None = None, limit: int | None = None) -> dict[str, Any]:
    return {"version": LAYOUT_VERSION, "id": id, "limit": limit}


def _old_collection(row: Sequence[Any]) -> OldCollection:
    id, schema, name, version, space, dimension, sparse, owner, rows = row
    return OldCollection(id, schema, name, version, space, dimension, tuple(sparse), owner, rows)


def _add_counts(tables: CollectionTables, name: str, owner: sql.Identifier) -> Iterator[Statement]:
    """Add the table of counts, which layout 1 does not have."""
    if name.startswith("counts_") and len(name) <= NAME_BYTES:
        # The view has a name that is reserved for tables from this layout on.
        old, new = sql.Identifier(tables.schema, name), sql.Identifier(view_name(name))
        yield Statement(render("alter view if exists {old} rename to {new}", old=old, new=new))
    yield create_counts(tables)
    parts = {"records": tables.records, "counts": tables.counts, "log": tables.log_literal}
    yield Statement(render(_COUNT, **parts))
    yield Statement(render(_GIVE, table=tables.counts, owner=owner))


def _empty_blocks(
    tables: CollectionTables, sparse: SparseTables, owner: sql.Identifier
) -> Iterator[Statement]:
    """Create the table of weights again. Up to layout 2, each of its rows has a single term.

    All vectors become changes, and the compactor builds the blocks again.
    """
    parts = {
        "records": tables.records,
        "column": sparse.column,
        "vectors": sparse.vectors,
        "changes": sparse.changes,
        "blocks": sparse.blocks,
        "slots": sparse.slots,
        "weights": sparse.weights,
        "removed": sparse.removed,
    }
    for template in _EMPTY:
        yield Statement(render(template, **parts))
    yield create_weights(sparse)
    yield Statement(render(_GIVE, table=sparse.weights, owner=owner))


_OLD: Final[LiteralString] = """
select
    c.id, d.schema_name, c.name, c.layout_version, c.configuration -> 'hnsw' ->> 'space',
    c.dimension,
    array(
        select (s.entry ->> 'number')::int
        from jsonb_each(c.configuration #> '{{indexed,sparse}}') as s (key, entry)
        where s.entry ->> 'number' is not null
        order by 1
    ),
    coalesce(pg_get_userbyid(r.relowner), current_user)::text,
    coalesce(r.reltuples, 0)::bigint
from pgchroma.collections as c
join pgchroma.databases as d on d.id = c.database_id
left join pg_catalog.pg_class as r on r.oid = to_regclass(
    format('%%I.%%I', d.schema_name, 'records_' || replace(c.id::text, '-', ''))
)
where c.layout_version < %(version)s and (c.id = %(id)s::uuid or %(id)s::uuid is null)
order by c.id
limit %(limit)s
"""

_SELECT = render(_OLD)
_SELECT_FOR_UPDATE = render(_OLD + "for update of c")

_COUNT = """
insert into {counts} (place, change) select nextval({log}), count(*) from {records}
"""

# What was written before counts as one operation for each record.
_ADD_OPERATIONS: Final[tuple[LiteralString, ...]] = (
    "alter table {counts} add column if not exists operations bigint not null default 0",
    """
    insert into {counts} (place, change, operations)
    select nextval({log}), 0, count(*) from {records}
    having count(*) > 0 and not exists (select from {counts} where operations > 0)
    """,
)

_GIVE = "alter table {table} owner to {owner}"

# Writers wait for the lock of the records, and a compactor for that of the changes.
_EMPTY: Final[tuple[LiteralString, ...]] = (
    "lock table {changes} in share row exclusive mode",
    "delete from {changes}",
    "delete from {blocks}",
    "delete from {slots}",
    "delete from {removed}",
    """
    delete from {vectors} as v
    where not exists (
        select from {records} as r where r.seq = v.seq and r.{column} = v.pos
    )
    """,
    """
    insert into {changes} (pos, is_removed, is_plain)
    select pos, false, is_plain from {vectors} order by pos
    """,
    "drop table {weights}",
)

_UPDATE = render(
    "update pgchroma.collections set layout_version = %(version)s where id = any(%(ids)s)"
)
