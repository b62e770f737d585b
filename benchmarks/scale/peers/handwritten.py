"""The limit: one table of records, one of vectors with one HNSW index, and the SQL for them.

What `handwritten` does for the core benchmark, with the index, and with indexes on the metadata
keys that are filtered by, which the author of SQL for specific tables knows.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from psycopg import Connection
from psycopg.types.json import Jsonb
from psycopg_pool import ConnectionPool

from handwritten import (
    ADD,
    COLUMNS,
    DELETE,
    SCHEMA,
    UPSERT,
    Binary,
    BinaryDumper,
    text_condition,
    vector,
    vectors,
)
from pgchroma.embedded import EmbeddedPostgres
from scale.filters import Condition
from scale.peers.interface import EF_SEARCH

INDEXES = (
    "create index on vectors using hnsw (embedding vector_l2_ops)"
    " with (m = 16, ef_construction = 100)",
    "create index on records using gin (metadata jsonb_path_ops)",
    "create index on records (((metadata ->> 'n')::bigint))",
    "analyze records, vectors",
)

NEAREST = f"""
select v.distance ^ 2, {COLUMNS}
from (
    select seq, embedding <-> %b::vector as distance from vectors order by distance limit 10
) as v
join records as r on r.seq = v.seq order by v.distance, v.seq
"""

NEAREST_TO_EACH = f"""
select given.n, v.distance ^ 2, {COLUMNS}
from unnest(%b::vector[]) with ordinality as given (query, n)
cross join lateral (
    select seq, embedding <-> given.query as distance from vectors order by distance limit 10
) as v
join records as r on r.seq = v.seq order by given.n, v.distance, v.seq
"""

NEAREST_WHERE = """
select v.distance, {columns}
from (
    select seq, vector_l2_squared_distance(embedding, {query}::vector) as distance
    from vectors
    where pos = any(array(select pos from records as r where {condition}))
    order by distance, seq limit 10
) as v
join records as r on r.seq = v.seq order by v.distance, v.seq
"""

GET = f"select {COLUMNS} from records as r where r.id = any(%b::text[]) order by r.seq"
SET_EF_SEARCH = "select set_config('hnsw.ef_search', %s, true)"
COPY_HEADER, COPY_END = b"PGCOPY\n\xff\r\n\0" + bytes(8), b"\xff\xff"
BARE = """
create table bare_records (
    seq bigint, pos bigint, id text collate "C", document text, metadata jsonb
);
create table bare_vectors (
    pos bigint, seq bigint, embedding vector({dimension}) storage plain
);
"""


class Handwritten:
    """psycopg with a pool, prepared statements, binary parameters and results."""

    biggest_batch = 5_000
    most_added = None
    many_processes = True
    searches_documents = True

    def __init__(self, directory: Path) -> None:
        self._postgres = EmbeddedPostgres.open(directory)
        self._ef_search = EF_SEARCH
        # The type's oid is known once the extension exists.
        with Connection.connect(self._postgres.conninfo, autocommit=True) as connection:
            connection.execute("create extension if not exists vector")
            row = connection.execute("select 'vector'::regtype::oid").fetchone()
        self._oid = row[0] if row else 0
        self._pool = ConnectionPool(
            self._postgres.conninfo,
            kwargs={"autocommit": True},
            configure=_configure,
            min_size=1,
            max_size=16,
            open=True,
        )

    def create(self, dimension: int) -> None:
        """Make the tables."""
        with self._pool.connection() as connection:
            connection.execute(SCHEMA.format(dimension=dimension).encode())

    def drop(self) -> None:
        """Drop the tables."""
        with self._pool.connection() as connection:
            connection.execute("drop table records, vectors; drop sequence log")

    def add(self, batch: dict[str, Any]) -> None:
        """Add records with the statement of the core benchmark."""
        metadatas = [orjson.dumps(metadata).decode() for metadata in batch["metadatas"]]
        embeddings = vectors(batch["embeddings"], self._oid)
        self._run(ADD, [batch["ids"], batch["documents"], metadatas, embeddings])

    load_rest = add

    def build_index(self) -> None:
        """Make the indexes."""
        for statement in INDEXES:
            self._run(statement)

    def wait_until_indexed(self) -> None:
        """Do nothing: an index is complete as soon as it exists."""

    def upsert(self, ids: list[str], embeddings: np.ndarray) -> None:
        """Replace embeddings with the statement of the core benchmark."""
        self._run(UPSERT, {"ids": ids, "embeddings": vectors(embeddings, self._oid)})

    def delete(self, ids: list[str]) -> None:
        """Delete records with the statement of the core benchmark."""
        self._run(DELETE, [ids])

    def count(self) -> int:
        """Count the records."""
        return int(self._run("select count(*) from records")[0][0])

    def search(self, query: np.ndarray) -> Callable[[], list[str]]:
        """Return a search by the index."""
        return lambda: _ids(self._search(NEAREST, [Binary(vector(query))]))

    def search_where(self, query: np.ndarray, condition: Condition) -> Callable[[], list[str]]:
        """Return a search of all records that match the condition, found by its index."""
        text, values = _condition(condition)
        statement = NEAREST_WHERE.format(columns=COLUMNS, query="%b", condition=text)
        return lambda: _ids(self._run(statement, [Binary(vector(query)), *values]))

    def search_many(self, queries: np.ndarray) -> Callable[[], list[list[str]]]:
        """Return one statement for all queries."""

        def call() -> list[list[str]]:
            found: list[list[str]] = [[] for _ in queries]
            for row in self._search(NEAREST_TO_EACH, [vectors(queries, self._oid)]):
                found[row[0] - 1].append(row[2])
                orjson.loads(row[4])
            return found

        return call

    def get(self, condition: Condition) -> Callable[[], int]:
        """Return a select of all records that match the condition."""
        text, values = _condition(condition)
        statement = f"select {COLUMNS} from records as r where {text} order by r.seq"
        return lambda: len([orjson.loads(row[2]) for row in self._run(statement, values)])

    def get_by_ids(self, ids: list[str]) -> Callable[[], int]:
        """Return a select by the ids' index."""
        return lambda: len([orjson.loads(row[2]) for row in self._run(GET, [ids])])

    def set_ef_search(self, ef_search: int) -> None:
        """Keep the setting for each search's transaction."""
        self._ef_search = ef_search

    def limit(self, data: Any) -> float:
        """Copy the data in binary format into bare tables."""
        with self._pool.connection() as connection:
            connection.execute(BARE.format(dimension=data.dimension).encode())
            begin = time.perf_counter()
            with connection.transaction(), connection.cursor() as cursor:
                with cursor.copy("copy bare_records from stdin with (format binary)") as copy:
                    copy.set_types(["int8", "int8", "text", "text", "jsonb"])
                    for n, row in enumerate(
                        zip(data.ids, data.documents, data.metadatas, strict=True)
                    ):
                        copy.write_row((n, n, row[0], row[1], Jsonb(row[2], orjson.dumps)))
                with cursor.copy("copy bare_vectors from stdin with (format binary)") as copy:
                    copy.write(COPY_HEADER)
                    for first in range(0, len(data), 1_000):
                        copy.write(_copied(data.embeddings[first : first + 1_000], first))
                    copy.write(COPY_END)
            seconds = time.perf_counter() - begin
            connection.execute("drop table bare_records, bare_vectors")
        return seconds

    def close(self) -> None:
        """Leave the server, which stops then."""
        self._pool.close()
        self._postgres.close()

    def _run(self, statement: str, parameters: Any = None) -> list[Any]:
        with self._pool.connection() as connection, connection.cursor(binary=True) as cursor:
            cursor.execute(statement.encode(), parameters)
            return cursor.fetchall() if cursor.description else []

    def _search(self, statement: str, parameters: list[Any]) -> list[Any]:
        """Run a statement with the setting in one round trip: a pipeline is one transaction."""
        with (
            self._pool.connection() as connection,
            connection.pipeline(),
            connection.cursor(binary=True) as cursor,
        ):
            connection.execute(SET_EF_SEARCH, [str(self._ef_search)], prepare=True)
            cursor.execute(statement.encode(), parameters, prepare=True)
            return cursor.fetchall()


def _configure(connection: Connection[Any]) -> None:
    connection.adapters.register_dumper(Binary, BinaryDumper)


def _ids(rows: list[Any]) -> list[str]:
    """Turn rows into result columns, as all peers do; return the ids."""
    ids = [row[1] for row in rows]
    for row in rows:
        orjson.loads(row[3])
    return ids


def _condition(condition: Condition) -> tuple[str, list[Any]]:
    """Spell a condition of this benchmark in SQL."""
    if condition.where_document is not None:
        return text_condition(condition.where_document)
    match condition.where:
        case {"$and": [{"n": {"$gte": first}}, {"n": {"$lt": end}}]}:
            return "(r.metadata ->> 'n')::bigint >= %s and (r.metadata ->> 'n')::bigint < %s", [
                first,
                end,
            ]
        case where:
            return "r.metadata @> %s::jsonb", [orjson.dumps(where).decode()]


def _copied(matrix: np.ndarray, first: int) -> bytes:
    """Write rows of number, number and vector in the binary format of `copy`."""
    count, dimension = matrix.shape
    row = np.dtype(
        [
            ("columns", ">i2"),
            *(("pos_length", ">i4"), ("pos", ">i8"), ("seq_length", ">i4"), ("seq", ">i8")),
            *(("length", ">i4"), ("dimension", ">i2"), ("unused", ">i2")),
            ("embedding", ">f4", (dimension,)),
        ]
    )
    rows = np.zeros(count, dtype=row)
    rows["columns"], rows["pos_length"], rows["seq_length"] = 3, 8, 8
    rows["pos"] = rows["seq"] = np.arange(first, first + count)
    rows["length"], rows["dimension"], rows["embedding"] = 4 + 4 * dimension, dimension, matrix
    return rows.tobytes()
