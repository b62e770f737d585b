"""Handlers that read records."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, LiteralString

import numpy as np
from psycopg import sql

from pgchroma.model.operations import CountRecords, GetRecords, QueryRecords
from pgchroma.model.records import QueriedRecords, RecordColumns
from pgchroma.store.conditions import bounded, compile_conditions
from pgchroma.store.handlers import handles
from pgchroma.store.json import decode_metadata
from pgchroma.store.layout import CollectionTables
from pgchroma.store.locations import Environment, Location, locate, locate_fitting
from pgchroma.store.statement import Exchange, Rendered, Statement, Step, render
from pgchroma.store.vectors import pack_vectors, unpack_vectors

__all__ = ("count_records", "get_records", "query_records")

LONGEST_REMEMBERED = 4_000
"""Bytes of a condition above which a statement's text is composed anew each time."""


@handles(CountRecords)
def count_records(operation: CountRecords, environment: Environment) -> Exchange[int]:
    """Count the records."""
    location = yield from locate(operation.collection, environment)
    rows = yield Statement(
        render("select count(*) from {records}", records=location.tables.records)
    )
    return int(rows[0][0])


@handles(GetRecords)
def get_records(operation: GetRecords, environment: Environment) -> Exchange[RecordColumns]:
    """Read a page of records in insertion order."""
    location = yield from locate(operation.collection, environment)
    location.indexed.check(operation.filter)
    parameters, condition = compile_conditions(operation.ids, operation.filter)
    columns = _columns_of(operation.include, location)
    text = _text(_GET, location.tables, columns, condition.as_bytes(None))
    parameters |= {"limit": operation.limit, "offset": operation.offset or 0}
    rows = yield bounded((Statement(text, parameters),), operation.filter, environment)
    return _shape(rows, columns, operation.include, location)


@handles(QueryRecords)
def query_records(
    operation: QueryRecords, environment: Environment
) -> Exchange[list[QueriedRecords]]:
    """Find the nearest records to each query by the exact distance to all that match.

    Without a condition the nearest rows of vectors are taken first and their records after
    them. Should one of those rows be no record's any more, the answer could be one short, and
    the query runs again over the records' own positions.
    """
    if not len(operation.embeddings):
        yield from locate(operation.collection, environment)
        return []
    dimension = operation.embeddings.shape[1]
    location = yield from locate_fitting(operation.collection, environment, dimension)
    location.indexed.check(operation.filter)
    if location.dimension is None or operation.n_results == 0:
        return _shape_query((), operation, location)
    if operation.ids is None and operation.filter is None:
        rows = yield _query(_QUERY_ALL, operation, location, environment)
        if all(row[_ID] is not None for row in rows):
            return _shape_query(rows, operation, location)
    rows = yield _query(_QUERY_MATCHING, operation, location, environment)
    return _shape_query(rows, operation, location)


def _query(
    template: LiteralString,
    operation: QueryRecords,
    location: Location,
    environment: Environment,
) -> Step:
    parameters, condition = compile_conditions(operation.ids, operation.filter)
    columns = _columns_of(operation.include, location)
    distance: LiteralString = _DISTANCES[location.space]
    text = _text(template, location.tables, columns, condition.as_bytes(None), distance)
    parameters |= {
        "queries": pack_vectors(operation.embeddings, None, environment.vector_oid),
        "limit": operation.n_results,
    }
    return bounded((Statement(text, parameters),), operation.filter, environment)


def _text(
    template: LiteralString,
    tables: CollectionTables,
    columns: tuple[str, ...],
    condition: bytes,
    distance: LiteralString = "",
) -> bytes:
    # Composing a statement takes half as long as a small one runs, and shapes come back; those
    # of very long filters hardly do, and would fill the memory.
    compose = _remembered_text if len(condition) <= LONGEST_REMEMBERED else _compose_text
    return compose(template, tables, columns, condition, distance)


def _compose_text(
    template: LiteralString,
    tables: CollectionTables,
    columns: tuple[str, ...],
    condition: bytes,
    distance: LiteralString,
) -> bytes:
    embeddings: LiteralString = _EMBEDDINGS if "embeddings" in columns else ""
    return render(
        template,
        records=tables.records,
        vectors=tables.vectors,
        columns=sql.SQL(", ").join(sql.SQL(_COLUMNS[column]) for column in columns),
        condition=Rendered(condition),
        distance=sql.SQL(distance),
        embeddings=sql.SQL(embeddings).format(vectors=tables.vectors),
    )


_remembered_text = lru_cache(maxsize=4096)(_compose_text)


def _columns_of(include: frozenset[str], location: Location) -> tuple[str, ...]:
    has_vectors = location.dimension is not None
    wanted = (c for c in _COLUMNS if c in include and (has_vectors or c != "embeddings"))
    return ("ids", *wanted)


def _shape(
    rows: Sequence[Sequence[Any]],
    columns: tuple[str, ...],
    include: frozenset[str],
    location: Location,
) -> RecordColumns:
    values: dict[str, Any] = {
        column: [row[index] for row in rows] for index, column in enumerate(columns)
    }
    if "metadatas" in values:
        values["metadatas"] = [decode_metadata(text) for text in values["metadatas"]]
    if "embeddings" in values and location.dimension is not None:
        values["embeddings"] = unpack_vectors(values["embeddings"], location.dimension)
    elif "embeddings" in include:
        values["embeddings"] = np.empty((len(rows), 0), dtype=np.float32)
    return RecordColumns(**values)


def _shape_query(
    rows: Sequence[Sequence[Any]], operation: QueryRecords, location: Location
) -> list[QueriedRecords]:
    columns = _columns_of(operation.include, location)
    groups: list[list[Sequence[Any]]] = [[] for _ in operation.embeddings]
    for row in rows:
        groups[row[_QUERY] - 1].append(row)
    return [
        QueriedRecords(
            _shape([row[_ID:] for row in group], columns, operation.include, location),
            [row[_DISTANCE] for row in group],
        )
        for group in groups
    ]


_QUERY, _DISTANCE, _ID = 0, 1, 2
"""Where these stand in a row of a query's answer; the columns asked for follow the id."""

_COLUMNS: dict[str, LiteralString] = {
    "ids": "r.id",
    "documents": "r.document",
    "uris": "r.uri",
    # A record with a uri and no metadata shows an empty object, one without both shows null.
    "metadatas": "coalesce(r.metadata, case when r.uri is not null then '{}'::jsonb end)::text",
    "embeddings": "vector_send(v.embedding)",
}

# Chroma's distances are float32: as such they are returned, and as such they are equal.
_DISTANCES: dict[str, LiteralString] = {
    "l2": "vector_l2_squared_distance(v.embedding, q.embedding)",
    "ip": "1 + (v.embedding <#> q.embedding)",
    # A zero vector has no direction: pgvector says NaN, Chroma says as far as a right angle.
    "cosine": "coalesce(nullif(v.embedding <=> q.embedding, 'NaN'), 1)",
}

# The page is cut before columns are computed: what is skipped costs no work on its metadata.
_GET: LiteralString = """
select {columns}
from (
    select * from {records} as r
    where {condition}
    order by r.seq
    limit %(limit)s::bigint offset %(offset)s::bigint
) as r
{embeddings}
order by r.seq
"""

_EMBEDDINGS: LiteralString = "left join {vectors} as v on v.pos = r.pos"

_QUERY_ALL: LiteralString = """
select q.n, v.distance, {columns}
from unnest(%(queries)b::vector[]) with ordinality as q (embedding, n)
cross join lateral (
    select v.pos, v.seq, v.embedding, ({distance})::real as distance
    from {vectors} as v
    order by distance, v.seq
    limit %(limit)s::bigint
) as v
left join {records} as r on r.seq = v.seq and r.pos = v.pos
order by q.n, v.distance, v.seq
"""

_QUERY_MATCHING: LiteralString = """
with matching as materialized (
    select r.pos from {records} as r where r.pos is not null and {condition}
)
select q.n, v.distance, {columns}
from unnest(%(queries)b::vector[]) with ordinality as q (embedding, n)
cross join lateral (
    select v.pos, v.seq, v.embedding, ({distance})::real as distance
    from {vectors} as v
    where v.pos = any(array(select pos from matching))
    order by distance, v.seq
    limit %(limit)s::bigint
) as v
join {records} as r on r.seq = v.seq
order by q.n, v.distance, v.seq
"""
