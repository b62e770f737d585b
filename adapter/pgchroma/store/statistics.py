"""What the collections of a PostgreSQL database contain and how much space they take.

Sizes come from PostgreSQL's catalog. The rows of each collection are counted, and its records are
read for the time of the last write, so a large collection takes seconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, LiteralString
from uuid import UUID

import orjson
from psycopg import sql

from pgchroma.model.configuration import CollectionConfiguration
from pgchroma.store.layout.names import RELATIONS, key_of
from pgchroma.store.layout.segments import Segment, position_range, ranges_without, segment_prefix
from pgchroma.store.layout.tables import CollectionTables
from pgchroma.store.running.steps import Statement, Steps, render

__all__ = (
    "CollectionStatistics",
    "Sizes",
    "StoredCollection",
    "collection_statistics",
    "stored_collections",
)


@dataclass(frozen=True, slots=True)
class Sizes:
    """The space that the parts of a collection take, in bytes.

    Attributes:
        records: Ids, documents, URIs and metadata.
        record_indexes: The indexes of records, including those of metadata and documents.
        embeddings: The embeddings and the indexes of their positions.
        segments: The HNSW indexes.
        sparse: Sparse vectors and full-text indexes.
        shadow: Pending or previous embeddings of a re-embedding.
        other: The counts of records and the sequence of the log.
    """

    records: int = 0
    record_indexes: int = 0
    embeddings: int = 0
    segments: int = 0
    sparse: int = 0
    shadow: int = 0
    other: int = 0

    @property
    def total(self) -> int:
        """The sum of all parts."""
        return sum(self.parts().values())

    def parts(self) -> dict[str, int]:
        """Return the sizes by the names of the parts."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


@dataclass(frozen=True, slots=True)
class StoredCollection:
    """A collection as the catalog has it, and its sizes.

    Attributes:
        role: The tenant's role, if it owns the tables.
        segments: The segments of the embeddings in use whose indexes are ready.
    """

    tenant: str
    database: str
    name: str
    tables: CollectionTables
    dimension: int | None
    configuration: CollectionConfiguration
    index_error: str | None
    role: str | None
    sizes: Sizes
    segments: tuple[Segment, ...] = ()

    @property
    def embedding_function(self) -> str | None:
        """The name of the embedding function; `None` if the collection stores none."""
        return self.configuration.function_name


@dataclass(frozen=True, slots=True)
class CollectionStatistics:
    """What a collection contains.

    Attributes:
        stored: Its entry in the catalog and its sizes.
        records: How many records it has.
        embeddings: How many rows its table of embeddings has.
        tail: How many of them no index covers, so that searches scan them.
        indexed: How many embeddings the indexes had when they were built.
        last_write: When a record that still exists was last written; `None` without records.
    """

    stored: StoredCollection
    records: int
    embeddings: int
    tail: int
    indexed: int = 0
    last_write: datetime | None = None

    @property
    def dead_share(self) -> float:
        """The share of the indexes' entries whose embedding was deleted or replaced, 0 to 1."""
        if not self.indexed:
            return 0.0
        return max(0.0, 1 - (self.embeddings - self.tail) / self.indexed)


def stored_collections(
    tenant: str | None = None, database: str | None = None, name: str | None = None
) -> Steps[list[StoredCollection]]:
    """Return the collections of a database of Chroma's, of a tenant or of all, with their sizes.

    Args:
        tenant: Only collections of this tenant.
        database: Only collections of databases of this name.
        name: Only collections of this name.

    Returns:
        The collections in the order of their tenants, databases and names.
    """
    parameters = {"tenant": tenant, "database": database, "name": name}
    rows = yield Statement(_COLLECTIONS, parameters)
    return [_stored(row) for row in rows]


def collection_statistics(stored: StoredCollection) -> Steps[CollectionStatistics]:
    """Count what a collection contains. Run this as the collection's role, if it has one."""
    tables = stored.tables
    if stored.dimension is None:
        embeddings: sql.Composable = sql.SQL("0")
        tail = embeddings
    else:
        embeddings = sql.SQL("(select count(*) from {})").format(tables.vectors)
        bounds = [position_range("pos", *each) for each in ranges_without(stored.segments)]
        tail = sql.SQL("(select count(*) from {} where {})").format(
            tables.vectors, sql.SQL(" or ").join(bounds)
        )
    text = render(
        _CONTENT,
        count=tables.record_count,
        embeddings=embeddings,
        tail=tail,
        records=tables.records,
    )
    rows = yield Statement(text)
    records, rows_of_embeddings, in_tail, last_write = rows[0]
    indexed = sum(segment.entries for segment in stored.segments)
    return CollectionStatistics(stored, records, rows_of_embeddings, in_tail, indexed, last_write)


def _stored(row: Sequence[Any]) -> StoredCollection:
    tenant, database, name, id, schema, dimension, configuration, generation, *rest = row
    index_error, role, sizes, segments = rest
    tables = CollectionTables(schema, UUID(str(id)), generation)
    return StoredCollection(
        tenant,
        database,
        name,
        tables,
        dimension,
        CollectionConfiguration.from_json(orjson.loads(configuration)),
        index_error,
        role,
        _sizes(tables, sizes or []),
        tuple(Segment(*segment) for segment in segments or ()),
    )


def _sizes(tables: CollectionTables, relations: Sequence[tuple[str, str | None, int]]) -> Sizes:
    """Add up the sizes of tables and indexes by part."""
    parts = dict.fromkeys(Sizes.__dataclass_fields__, 0)
    for table, index, size in relations:
        parts[_part(tables, table, index)] += size
    return Sizes(**parts)


def _part(tables: CollectionTables, table: str, index: str | None) -> str:
    kind = table.partition("_")[0]
    if kind == "records":
        return "records" if index is None else "record_indexes"
    if kind == "vectors":
        is_segment = index is not None and index.startswith(segment_prefix(tables))
        return "segments" if is_segment else "embeddings"
    return {"sparse": "sparse", "spare": "shadow"}.get(kind, "other")


_COLLECTIONS = render(
    """
    with wanted as (
        select c.*, d.tenant, d.name as database, d.schema_name, replace(c.id::text, '-', '') as key
        from pgchroma.collections as c
        join pgchroma.databases as d on d.id = c.database_id
        where (d.tenant = %(tenant)s::text or %(tenant)s::text is null)
            and (d.name = %(database)s::text or %(database)s::text is null)
            and (c.name = %(name)s::text or %(name)s::text is null)
    ),
    tables as (
        select w.id, r.oid, r.relname
        from wanted as w
        join pg_catalog.pg_namespace as n on n.nspname = w.schema_name
        join pg_catalog.pg_class as r on r.relnamespace = n.oid and w.key = {key}
        where r.relkind in ('r', 'S')
    ),
    relations as (
        select t.id, t.relname as name, null as index, pg_table_size(t.oid) as bytes
        from tables as t
        union all
        select t.id, t.relname, x.relname, pg_table_size(x.oid)
        from tables as t
        join pg_catalog.pg_index as i on i.indrelid = t.oid
        join pg_catalog.pg_class as x on x.oid = i.indexrelid
    ),
    sizes as (
        -- A table that was dropped since has no size.
        select id, jsonb_agg(jsonb_build_array(name, index, bytes)) as relations
        from relations
        where bytes is not null
        group by id
    ),
    segments as (
        select
            s.collection_id, s.generation,
            jsonb_agg(
                jsonb_build_array(s.first_pos, s.end_pos, s.index_name, s.entries, s.quantization)
                order by s.first_pos
            ) as ready
        from pgchroma.segments as s
        where s.is_ready
        group by s.collection_id, s.generation
    )
    select
        w.tenant, w.database, w.name, w.id, w.schema_name, w.dimension, w.configuration::text,
        w.generation, w.index_error,
        (
            select t.role_name
            from pgchroma.tenants as t
            join pg_catalog.pg_class as r
                on r.oid = to_regclass(format('%%I.%%I', w.schema_name, 'records_' || w.key))
            where t.name = w.tenant and pg_get_userbyid(r.relowner) = t.role_name
        ),
        z.relations, g.ready
    from wanted as w
    left join sizes as z on z.id = w.id
    left join segments as g on g.collection_id = w.id and g.generation = w.generation
    order by w.tenant, w.database, w.name
    """,
    key=key_of("r.relname", *RELATIONS),
)

_CONTENT: LiteralString = """
select
    ({count}), {embeddings}, {tail}, (select max(updated_at) from {records})
"""
