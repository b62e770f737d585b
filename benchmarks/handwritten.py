"""The limit: the same tables and the same work, written by hand in psycopg.

The code that a careful user of psycopg and pgvector would write for one collection whose tables are
known: a pool, binary parameters and results, prepared statements, rows turned into the same
columns. The difference to the direct client is the cost of its checks and its generality.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from psycopg import pq
from psycopg.adapt import Dumper
from psycopg_pool import ConnectionPool

from pgchroma.embedded import EmbeddedPostgres
from workload import BATCH, CHANGED, DIMENSION, batch, text_filters, timed

SCHEMA = """
create extension if not exists vector;
create sequence log;
create table records (
    seq bigint primary key, pos bigint, id text collate "C" unique not null, document text,
    uri text, metadata jsonb, created_at timestamptz not null, updated_at timestamptz not null
);
create table vectors (
    pos bigint primary key, seq bigint not null,
    embedding vector({dimension}) storage plain not null
);
"""

ADD = """
with input as materialized (
    select nextval('log') as place, n, id, document, metadata::jsonb as metadata, embedding
    from unnest(%b::text[], %b::text[], %b::text[], %b::vector[])
        with ordinality as given (id, document, metadata, embedding, n)
),
added as (
    insert into records (seq, pos, id, document, metadata, created_at, updated_at)
    select place, place, id, document, metadata, now(), now() from input order by id, n
    on conflict (id) do nothing
    returning seq
)
insert into vectors (pos, seq, embedding)
select place, place, embedding from input where place in (select seq from added) order by place
"""

UPSERT = """
with input as materialized (
    select nextval('log') as place, id, embedding
    from unnest(%(ids)b::text[], %(embeddings)b::vector[]) as given (id, embedding)
),
old as materialized (
    select seq, pos, id from records where id = any(%(ids)b::text[]) order by id for update
),
updated as (
    update records as r set pos = i.place, updated_at = now()
    from old join input as i on i.id = old.id
    where r.seq = old.seq
    returning r.seq, i.place, old.pos as replaced
),
replaced as (delete from vectors as v using updated as u where v.pos = u.replaced)
insert into vectors (pos, seq, embedding)
select u.place, u.seq, i.embedding from updated as u join input as i on i.place = u.place
"""

UPDATE = """
update records as r
set metadata = coalesce(r.metadata, '{}') || i.metadata::jsonb, updated_at = now()
from unnest(%b::text[], %b::text[]) as i (id, metadata)
where r.id = i.id
"""

DELETE = """
with removed as (delete from records where id = any(%b::text[]) returning pos),
cleared as (delete from vectors as v using removed where v.pos = removed.pos)
select count(*) from removed
"""

COLUMNS = "r.id, r.document, r.metadata::text"

QUERY = f"""
select v.distance, {COLUMNS}
from (
    select seq, vector_l2_squared_distance(embedding, %b::vector) as distance
    from vectors order by distance, seq limit 10
) as v
join records as r on r.seq = v.seq order by v.distance, v.seq
"""

QUERY_FILTERED = f"""
select v.distance, {COLUMNS}
from (
    select seq, vector_l2_squared_distance(embedding, %(q)b::vector) as distance
    from vectors
    where pos = any(array(select pos from records where metadata @> %(where)s::jsonb))
    order by distance, seq limit 10
) as v
join records as r on r.seq = v.seq order by v.distance, v.seq
"""


class Binary(bytes):
    """A vector, or an array of them, in PostgreSQL's binary format."""


class BinaryDumper(Dumper):
    """Hands it over as it is."""

    format = pq.Format.BINARY
    oid = 0

    def dump(self, obj: Binary) -> bytes:
        """Return the bytes."""
        return obj


def measure(directory: Path, data: dict[str, Any]) -> dict[str, float]:
    """Time the operations of the core benchmark."""
    with EmbeddedPostgres.open(directory) as postgres:
        pool = ConnectionPool(postgres.conninfo, kwargs={"autocommit": True}, min_size=1)
        with pool.connection() as connection:
            connection.execute(SCHEMA.format(dimension=DIMENSION).encode())
        with pool:
            return _measure(pool, data)


def _measure(pool: ConnectionPool[Any], data: dict[str, Any]) -> dict[str, float]:
    with pool.connection() as connection:
        row = connection.execute("select 'vector'::regtype::oid").fetchone()
        connection.adapters.register_dumper(Binary, BinaryDumper)
    assert row
    oid = int(row[0])

    def run(statement: str, parameters: Any = None) -> list[Any]:
        with pool.connection() as connection, connection.cursor(binary=True) as cursor:
            cursor.adapters.register_dumper(Binary, BinaryDumper)
            cursor.execute(statement.encode(), parameters)
            return cursor.fetchall() if cursor.description else []

    def get(condition: str, parameters: Any = None, page: str = "") -> dict[str, list[Any]]:
        rows = run(
            f"select {COLUMNS} from (select * from records as r where {condition} "
            f"order by r.seq {page}) as r order by r.seq",
            parameters,
        )
        return {
            "ids": [row[0] for row in rows],
            "documents": [row[1] for row in rows],
            "metadatas": [orjson.loads(row[2]) for row in rows],
        }

    count = len(data["ids"])
    results = {"insert": _insert(run, data, oid)}
    ids = data["ids"][:: count // 10][:10]
    where = '{"category":"c3"}'
    query = Binary(vector(data["embeddings"][count // 3]))
    calls: dict[str, tuple[Callable[[], Any], int]] = {
        "get by ids": (lambda: get("r.id = any(%s::text[])", [ids]), 100),
        "get with metadata filter": (lambda: get("r.metadata @> %s::jsonb", [where]), 15),
        "page at half": (lambda: get("true", [100, count // 2], "limit %s offset %s"), 30),
        **{
            name: (partial(get, *text_condition(where)), 15)
            for name, where in text_filters(data).items()
        },
        "count": (lambda: run("select count(*) from records"), 50),
        "query": (lambda: run(QUERY, [query]), 30),
        "query with filter": (lambda: run(QUERY_FILTERED, {"q": query, "where": where}), 15),
    }
    for name, (call, repeats) in calls.items():
        results[name] = timed(call, repeats)
    return results | _changes(run, data, oid)


def _insert(run: Callable[..., Any], data: dict[str, Any], oid: int) -> float:
    count = len(data["ids"])
    begin = time.perf_counter()
    for first in range(0, count, BATCH):
        part = batch(data, first, BATCH)
        metadatas = [orjson.dumps(metadata).decode() for metadata in part["metadatas"]]
        embeddings = vectors(part["embeddings"], oid)
        run(ADD, [part["ids"], part["documents"], metadatas, embeddings])
    return (time.perf_counter() - begin) / count


def _changes(run: Callable[..., Any], data: dict[str, Any], oid: int) -> dict[str, float]:
    changed = batch(data, 0, CHANGED)
    versions = iter(range(10**6))

    def update() -> None:
        metadatas = [orjson.dumps({"n": next(versions)}).decode() for _ in changed["ids"]]
        run(UPDATE, [changed["ids"], metadatas])

    def upsert() -> None:
        embeddings = vectors(changed["embeddings"] + np.float32(0.1), oid)
        run(UPSERT, {"ids": changed["ids"], "embeddings": embeddings})

    parts = iter(range(1, 8))

    def delete() -> None:
        first = next(parts) * CHANGED
        run(DELETE, [data["ids"][first : first + CHANGED]])

    return {
        "update metadata": timed(update, 5),
        "upsert existing": timed(upsert, 3) / CHANGED,
        "delete": timed(delete, 3),
    }


def vector(embedding: np.ndarray) -> bytes:
    """Write a vector as PostgreSQL sends it."""
    return struct.pack(">hh", len(embedding), 0) + embedding.astype(">f4").tobytes()


def vectors(matrix: np.ndarray, oid: int) -> Binary:
    """Write an array of vectors, whose type has the given oid, as PostgreSQL sends it."""
    dimension = matrix.shape[1]
    element = np.dtype([("n", ">i4"), ("d", ">i2"), ("u", ">i2"), ("v", ">f4", (dimension,))])
    elements = np.zeros(len(matrix), dtype=element)
    elements["n"], elements["d"], elements["v"] = 4 + 4 * dimension, dimension, matrix
    return Binary(struct.pack(">iiIii", 1, 0, oid, len(matrix), 1) + elements.tobytes())


def text_condition(where: dict[str, str]) -> tuple[str, list[str]]:
    r"""Translate a document filter for PostgreSQL, where a word boundary is \y."""
    ((operator, text),) = where.items()
    if operator == "$contains":
        return "strpos(r.document, %s) > 0", [text]
    return "r.document ~ %s", [text.replace(r"\b", r"\y")]
