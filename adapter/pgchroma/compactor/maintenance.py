"""Statements that the compactor runs on a collection's tables: index builds, and cleaning up.

Rows of a tenant's tables are changed in the tenant's role, if it has one. PostgreSQL itself builds
an index with the privileges of the table's owner.
"""

from __future__ import annotations

from typing import LiteralString

from psycopg import sql

from pgchroma.compactor import state
from pgchroma.compactor.state import SegmentRow, TrackedCollection
from pgchroma.compactor.steps import AsRole
from pgchroma.store.layout.segments import create_segment
from pgchroma.store.running.steps import Statement, Steps, render

__all__ = (
    "analyze",
    "analyze_vectors",
    "create_segment_index",
    "delete_orphans",
    "disable_index_vacuum",
    "drop_index",
    "merge_counts",
    "recount",
    "set_fillfactor",
    "set_for_session",
    "vacuum",
)


def create_segment_index(collection: TrackedCollection, segment: SegmentRow) -> Statement:
    """Build a segment's index while others read and write."""
    spec = segment.spec
    return create_segment(
        collection.tables,
        segment.index_name,
        (segment.first_pos, segment.end_pos),
        collection.hnsw.space,
        collection.dimension or 0,
        spec.quantization,
        max_neighbors=spec.max_neighbors,
        ef_construction=spec.ef_construction,
    )


def drop_index(collection: TrackedCollection, name: str) -> Statement:
    """Drop an index while others read and write."""
    index = sql.Identifier(collection.tables.schema, name)
    return Statement(render("drop index concurrently if exists {index}", index=index))


def disable_index_vacuum(collection: TrackedCollection) -> Statement:
    """Keep vacuum from removing dead entries from the indexes of embeddings by default.

    Removing entries from an HNSW index one by one takes longer than rebuilding it.
    """
    text = "alter table {vectors} set (vacuum_index_cleanup = off)"
    return Statement(render(text, vectors=collection.tables.vectors))


def set_fillfactor(collection: TrackedCollection, percent: int) -> Statement:
    """Set how full inserts make the pages of records; existing pages stay as they are."""
    text = "alter table {records} set (fillfactor = {percent})"
    tables = collection.tables
    return Statement(render(text, records=tables.records, percent=sql.Literal(percent)))


def delete_orphans(collection: TrackedCollection, start: int = 1) -> AsRole:
    """Delete the embeddings, from a position on, that belong to no record."""
    tables = collection.tables
    text = render(_DELETE_ORPHANS, records=tables.records, vectors=tables.vectors)
    return AsRole(collection.role, Statement(text, {"start": start}))


def merge_counts(collection: TrackedCollection) -> AsRole:
    """Replace many rows of counts by their sum."""
    tables = collection.tables
    text = render(_MERGE_COUNTS, counts=tables.counts, log=tables.log_literal)
    return AsRole(collection.role, Statement(text, {"max_rows": state.MAX_COUNT_ROWS}))


def recount(collection: TrackedCollection) -> AsRole:
    """Count the records, and correct the sum of counts if it differs."""
    tables = collection.tables
    text = render(
        _RECOUNT,
        counts=tables.counts,
        records=tables.records,
        log=tables.log_literal,
        sum_of_counts=tables.record_count,
    )
    return AsRole(collection.role, Statement(text))


def vacuum(collection: TrackedCollection, *, cleans_indexes: bool) -> Statement:
    """Free the space of dead embeddings, and remove them from the indexes if wanted."""
    text = "vacuum (index_cleanup {cleanup}, parallel 0) {vectors}"
    cleanup = sql.SQL("on" if cleans_indexes else "off")
    return Statement(render(text, vectors=collection.tables.vectors, cleanup=cleanup))


def analyze(collection: TrackedCollection) -> Steps[None]:
    """Update the planner's statistics of a collection's tables."""
    tables = collection.tables
    yield Statement(render("analyze {records}", records=tables.records))
    if collection.dimension is not None:
        yield analyze_vectors(collection)


def analyze_vectors(collection: TrackedCollection) -> Statement:
    """Update the planner's statistics of the positions of embeddings."""
    # Statistics of the embeddings themselves are of no use, and take long to collect.
    text = "analyze {vectors} (pos, seq)"
    return Statement(render(text, vectors=collection.tables.vectors))


def set_for_session(name: str, value: str) -> Statement:
    """Change a setting of the compactor's own session."""
    return Statement(_SET, {"name": name, "value": value})


_SET = render("select set_config(%(name)s, %(value)s, false)")

_DELETE_ORPHANS: LiteralString = """
delete from {vectors} as v
where v.pos >= %(start)s::bigint and not exists (
    select from {records} as r where r.seq = v.seq and r.pos = v.pos
)
"""

_MERGE_COUNTS: LiteralString = """
with folded as (
    delete from {counts} where (select count(*) from {counts}) > %(max_rows)s
    returning change, operations
)
insert into {counts} (place, change, operations)
select nextval({log}), sum(change), sum(operations) from folded having count(*) > 0
"""

# One snapshot has both numbers, and each write changes both at once.
_RECOUNT: LiteralString = """
insert into {counts} (place, change)
select nextval({log}), counted.records - counted.added
from (
    select
        (select count(*) from {records}) as records,
        ({sum_of_counts}) as added
) as counted
where counted.records <> counted.added
"""
